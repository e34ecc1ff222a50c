"""Shares that choose their own blocks: by the formulas, written out once more, and by what they are for."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conceptattention_core.maps import ConceptAttentionMaps
from conceptattention_core.reading import auto_shares, block_weights, scale_free, with_prototypes
from conceptattention_core.storage import load_maps, save_maps

SHAPE = (2, 4, 2, 3, 5, 6)  # steps, blocks, pictures, concepts, rows, columns
SCORES = 7 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(axis=0))
    return powers / powers.sum(axis=0)


def by_hand(scores: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights and shares of one picture, ``(steps, blocks, C, h, w)``, as the docstrings have them, in loops."""
    steps, blocks, concepts, *_ = scores.shape
    relative = scores - scores.mean(axis=2, keepdims=True)
    shares, clear = np.zeros_like(scores), np.zeros((steps, blocks))
    spread = np.sqrt((relative**2).mean(axis=(2, 3, 4)))
    alike = relative / spread[..., None, None, None]
    for step in range(steps):
        for block in range(blocks):
            shares[step, block] = softmax(alike[step, block] / (0.3 * temperature))
            flat = shares[step, block].reshape(concepts, -1)
            mean = flat.mean(axis=1)
            entropy = -(flat * np.log(flat)).sum(axis=0).mean()
            clear[step, block] = 1 - entropy / -(mean * np.log(mean)).sum()
    maps = relative.mean(axis=0)
    maps = (maps - maps.mean(axis=(2, 3), keepdims=True)).reshape(blocks, -1)
    maps /= np.linalg.norm(maps, axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(np.maximum(0, maps @ maps.T))
    weights = np.maximum(clear, 1e-3) ** 4 * np.abs(vectors[:, values.argmax()]) ** 4
    weights /= weights.sum()
    voices = clear * np.minimum(spread / (weights * spread).sum(), 1) ** 2
    voices /= voices.sum()
    mixed, trusted, heard = (
        np.tensordot(part, values, axes=2).reshape(concepts, -1)
        for part, values in ((weights, shares), (weights, alike), (voices, alike))
    )
    likeness, lost = np.corrcoef(trusted), np.zeros(concepts)
    for one in range(concepts):
        own = mixed[one] ** 4 / (mixed[one] ** 4).sum()
        leads = [own @ (heard[other] - heard[one]) for other in range(concepts)]
        lost[one] = max(max(0, likeness[one, other]) * max(0, leads[other]) for other in range(concepts))
    mixed = mixed * np.exp(-4 / temperature * lost)[:, None]
    return weights, (mixed / mixed.sum(axis=0)).reshape(scores.shape[2:])


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_weights_and_shares_are_those_of_the_formulas(temperature: float) -> None:
    common = 5 * torch.randn(SHAPE[2:], generator=torch.Generator().manual_seed(1))  # what all blocks have seen
    common[:, 1] = common[:, 0] - 2  # alike, and behind
    loud = torch.tensor([1.0, 3.0, 0.2, 1.0])[None, :, None, None, None, None]
    scores = loud * (SCORES + common)
    assert not torch.allclose(auto_shares(scores, temperature), auto_shares(SCORES, temperature), atol=0.1)
    for picture in range(2):
        weights, shares = by_hand(scores[:, :, picture].double().numpy(), temperature)
        assert np.allclose(block_weights(scores, temperature)[picture].numpy(), weights, atol=1e-4)
        assert np.allclose(auto_shares(scores, temperature)[picture].numpy(), shares, atol=1e-4)
    assert torch.allclose(auto_shares(scores).sum(dim=1), torch.ones(2, 5, 6))


def test_of_two_that_are_alike_the_one_that_all_blocks_prefer_is_meant() -> None:
    """Blocks that see the thing take one sky for the other; one that sees no thing knows which. The thing stays."""
    generator = torch.Generator().manual_seed(7)
    sky, thing = torch.ones(12, 12), torch.zeros(12, 12)
    thing[4:7, 4:7], sky[4:7, 4:7], sky[8:] = 1, 0, 0
    scores = 0.1 * torch.randn(1, 4, 1, 4, 12, 12, generator=generator)
    ground = 1 - sky - thing
    scores[0, :3, 0] += torch.stack([sky, 1.05 * sky, ground, 2 * thing])  # the thing, and the wrong sky a little more
    scores[0, 3, 0] += torch.stack([2 * (1 - ground), 1 - ground, 2 * ground, 0 * thing])
    names = ("night sky", "sky", "ground", "moon")
    maps = ConceptAttentionMaps(scores, names, 0, tuple(range(4)), (0.5,), (192, 192))
    found = maps.shares("auto").argmax(dim=1)[0]
    truth = ground * 2 + thing * 3
    assert (found == truth).float().mean() > 0.98
    before = maps.shares("auto", 0, 2).argmax(dim=1)[0]
    assert (before[sky > 0] == 1).float().mean() > 0.5


def test_no_scale_and_no_level_matters() -> None:
    """Neither a block's scale nor what it gives to all concepts alike."""
    scales = torch.tensor([1.0, 100.0, 1e-3, 5.0])[None, :, None, None, None, None]
    level = 30 * torch.randn(2, 4, 2, 1, 5, 6, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(scale_free(SCORES * scales), scale_free(SCORES), atol=1e-4)
    assert torch.allclose(scale_free(SCORES + level), scale_free(SCORES), atol=1e-4)
    assert not scale_free(torch.full(SHAPE, 3.0)).any()


def test_blocks_of_noise_count_for_nothing() -> None:
    truth = torch.zeros(3, 8, 8)
    truth[0, :, :3], truth[1, :, 3:6], truth[2, :, 6:] = 1, 1, 1
    scores = torch.randn(2, 6, 1, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    scores[:, 1:3] = truth + 0.3 * scores[:, 1:3]
    maps = ConceptAttentionMaps(scores, ("a", "b", "c"), 0, tuple(range(6)), (1.0, 0.5), (128, 128))
    weights = maps.block_weights()
    assert weights.shape == (1, 2, 6) and weights[:, :, 1:3].sum() > 0.95
    right = (maps.shares("auto").argmax(dim=1)[0] == truth.argmax(dim=0)).float().mean()
    assert right > 0.98 > (maps.saliency(0, -1).argmax(dim=1)[0] == truth.argmax(dim=0)).float().mean()
    assert torch.equal(maps.shares(), maps.saliency())
    alone = maps.shares("auto", 4, 5)
    assert torch.allclose(alone, auto_shares(scores[:, 4:]))
    with pytest.raises(ValueError, match="no reading 'best': choose paper or auto"):
        maps.shares("best")  # type: ignore[arg-type]


def test_a_prototype_speaks_for_what_looks_alike() -> None:
    """By the formula in loops; and a place that the scores are in doubt of goes with its likes."""
    generator = torch.Generator().manual_seed(4)
    kinds = torch.arange(8).repeat(8, 1).div(4, rounding_mode="floor")  # left and right
    looks = torch.randn(2, 3, 16, generator=generator)
    features = looks[kinds].permute(2, 3, 0, 1) + 0.3 * torch.randn(3, 16, 8, 8, generator=generator)
    left = 0.3 + 0.4 * (1 - kinds) + 0.1 * torch.rand(8, 8, generator=generator)
    left[2, 1] = 0.5
    shares = torch.stack([left, 1 - left])
    weights = torch.tensor([0.2, 0.5, 0.3])
    made = with_prototypes(shares, features, weights, 1.5)

    flat = (features - features.mean(dim=(2, 3), keepdim=True)).double().numpy()
    scaled = [one / math.sqrt((one**2).mean()) * math.sqrt(part) for one, part in zip(flat, weights, strict=True)]
    tokens = np.concatenate(scaled).reshape(48, 64).T
    tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
    given = shares.reshape(2, 64).double().numpy()
    near = []
    for own in given:
        surest = np.argsort(-own)[:2]  # at least two, where 2 % of 64 are one
        kind = (own[surest, None] * tokens[surest]).sum(axis=0)
        near.append(tokens @ kind / np.linalg.norm(kind))
    wanted = softmax(0.85 * np.log(given) + 0.15 * np.log(softmax(np.array(near) / (0.3 * 1.5))))
    assert np.allclose(made.reshape(2, 64).numpy(), wanted, atol=1e-4)
    assert made[0, 2, 1] > 0.6 and torch.allclose(made.sum(dim=0), torch.ones(8, 8))


def test_features_are_those_of_the_trusted_blocks() -> None:
    features = torch.randn(6, 1, 16, 5, 6, generator=torch.Generator().manual_seed(5)).half()
    scores = torch.randn(2, 6, 1, 3, 5, 6, generator=torch.Generator().manual_seed(6))
    maps = ConceptAttentionMaps(scores, ("a", "b", "c"), 0, tuple(range(6)), (1.0, 0.5), (80, 96), features=features)
    weights = block_weights(scores[:, 2:5])[0].sum(dim=0)
    alone = auto_shares(scores[:, 2:5])[0]
    assert torch.equal(maps.shares("auto", 2, 4)[0], with_prototypes(alone, features[2:5, 0], weights))
    assert torch.equal(maps.shares(), maps.saliency()) and not torch.equal(maps.shares("auto", 2, 4)[0], alone)


def test_blocks_are_trusted_as_other_runs_trust_them(tmp_path: Path) -> None:
    """Two words say little of the blocks; two other runs know, by name or not, and a file remembers it."""
    generator = torch.Generator().manual_seed(8)
    noise = torch.randn(3, 2, 4, 1, 3, 6, 6, generator=generator)
    seen = torch.tensor([0.3, 4.0, 0.3, 0.3])[:, None, None, None, None]  # by one block more than by others
    noise += seen * torch.randn(3, 1, 1, 1, 3, 6, 6, generator=generator)
    lists = (("d", "e"), ("a", "b", "c"), ("f", "g", "h"))
    few, *others = (
        ConceptAttentionMaps(scores[:, :, :, : len(names)], names, 0, tuple(range(4)), (1.0, 0.5), (96, 96))
        for scores, names in zip(noise, lists, strict=True)
    )
    told = few.trusting(others)
    learnt = torch.stack([one.block_weights(0, -1).sum(dim=1)[0] for one in others]).mean(dim=0)
    assert torch.allclose(told.block_weights().sum(dim=1)[0], learnt) and learnt.argmax() == 1
    assert torch.allclose(told.block_weights(0, 1)[0, 0], learnt[:2] / learnt[:2].sum() / 2)
    assert not torch.allclose(told.shares("auto"), few.shares("auto"), atol=1e-2)
    assert torch.equal(told.shares("paper"), few.shares("paper"))
    save_maps(told, tmp_path / "maps.safetensors")
    again = load_maps(tmp_path / "maps.safetensors")
    assert again.trust == told.trust and torch.equal(again.shares("auto"), told.shares("auto"))
    assert told.trusting([few]).trust != told.trust and told.trusting([told]).trust == told.trusting([few]).trust
    for wrong in ([], [replace(few, blocks=(0, 1, 2, 5))], [replace(few, projection="value")]):
        with pytest.raises(ValueError, match="of the same model"):
            few.trusting(wrong)
