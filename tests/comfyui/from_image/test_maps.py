"""Concept Attention from Image: the same maps as a sampler's at that noise level, for a third of the work."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from conceptattention_core.evaluate.datasets.scenes.scenes import HELD_OUT, scene

from ..helpers import conditioning
from .common import SETTINGS, pictures, sampler_maps


def count_forwards(monkeypatch: pytest.MonkeyPatch, model: Any) -> dict[str, int]:
    """How often the forward of each block of this model runs from here on."""
    calls: dict[str, int] = {}
    flux = model.model.diffusion_model
    named = [(f"double {i}", block) for i, block in enumerate(flux.double_blocks)]
    named += [(f"single {i}", block) for i, block in enumerate(flux.single_blocks)]

    def counted(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            calls[name] = calls.get(name, 0) + 1
            return forward(*args, **kwargs)

        return run

    for name, block in named:
        monkeypatch.setattr(block, "forward", counted(name, block.forward))
    return calls


@pytest.mark.usefixtures("rounded_exp")
def test_golden_case(golden: Any, pack: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The authors' numbers, their prompt's pooled text included, through the node's own forward."""
    package = pack["ConceptAttention"].__module__.rsplit(".", 2)[0] + ".conceptattention_core"
    encode = sys.modules[f"{package}.adapters.comfy.encode"]
    family = sys.modules[f"{package}.adapters.comfy.families"].require_family(golden.model)
    scores_module, concepts_module = sys.modules[f"{package}.scores"], sys.modules[f"{package}.concepts"]
    seen = []
    real_block = scores_module.concept_block
    monkeypatch.setattr(scores_module, "concept_block", lambda *args: seen.append(real_block(*args)) or seen[-1])
    calls = count_forwards(monkeypatch, golden.model)

    config, expected = golden.config, golden.tensors
    names = tuple(f"concept{index}" for index in range(config["concepts"]))
    concepts = concepts_module.Concepts(names, 0, expected["concepts"])
    level, size = config["timestep"], (8 * config["latent_h"], 8 * config["latent_w"])
    for row in range(config["batch"]):
        seen.clear()
        one = slice(row, row + 1)
        positive = conditioning(expected["context"][one], expected["pooled"][one], guidance=config["guidance"])
        forward = encode.NoisedForward(family, golden.model, positive, concepts, "output", level, config["depth"] - 1)
        # The file holds the noised latent: the noise of an empty picture, then.
        given = expected["latent"][one]
        maps = forward.maps(torch.zeros_like(given), [given / level], size, lambda: None)

        vectors = torch.stack([vectors.output for vectors in seen])
        assert_close(vectors, expected["concept_vectors"][:, one], atol=1e-5, rtol=0)
        assert_close(maps.scores[0].flatten(-2), expected["scores"][:, one], atol=5e-4, rtol=0)
        assert_close(maps.saliency(0, -1), expected["saliency"][one], atol=1e-5, rtol=0)
    assert calls == {f"double {block}": config["batch"] for block in range(config["depth"])}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"prompt": "a house", "noise_level": 0.3, "seed": 7, "guidance": 1.0},
        {"noise_level": 0.0, "projection": "value"},
        {"noise_level": 1.0, "projection": "cross_attention"},
    ],
    ids=["defaults", "prompt", "clean", "noise"],
)
def test_as_a_sampler_sees_it(
    pack: dict[str, Any], look: Any, flux: Any, clip: Any, vae: Any, changes: dict[str, Any]
) -> None:
    image = pictures()
    maps = look(flux, image, **changes)
    expected = sampler_maps(pack, flux, clip, vae.encode(image), **changes)
    assert torch.equal(maps.scores, expected.scores)
    assert maps.sigmas == (changes.get("noise_level", 0.5),) and maps.image_size == (48, 80)
    assert (maps.concepts, maps.background_count) == (("house", "sky", "background"), 1)
    assert maps.blocks == (0, 1, 2) and maps.projection == changes.get("projection", "output")
    assert maps.scores.dtype == torch.float32 and maps.scores.device.type == "cpu"


def test_the_same_as_in_diffusers(pack: dict[str, Any], vae: Any, comfy: Any) -> None:
    from conceptattention_core.adapters.comfy.demo import DEMO_FOLDER, FLUX_FILE
    from conceptattention_core.adapters.diffusers import ConceptAttention
    from conceptattention_core.adapters.diffusers.demo import load_demo_pipeline

    pixels = torch.from_numpy(scene(HELD_OUT, 64).image.copy()).float() / 255
    model = comfy.sd.load_diffusion_model(str(DEMO_FOLDER / FLUX_FILE), model_options={"dtype": torch.float32})
    demo_clip = pack["ConceptAttentionDemoModel"].execute()[1]
    changes = {"prompt": "a house on the grass", "noise_level": 0.4, "seed": 5, "noise_samples": 2}
    maps = pack["ConceptAttentionFromImage"].execute(
        model, demo_clip, vae, pixels[None], "house, sky", **{**SETTINGS, **changes}
    )[0]
    there = ConceptAttention.encode(
        load_demo_pipeline(), pixels, "house, sky", prompt=changes["prompt"], noise_level=0.4, seeds=(5, 6)
    ).raw
    mean = there.scores.mean(dim=0, keepdim=True)
    assert_close(maps.scores, mean, atol=0.01 * float(mean.std()), rtol=0.01)
    assert (maps.concepts, maps.blocks, maps.image_size) == (there.concepts, there.blocks, there.image_size)


@pytest.mark.parametrize(("last_block", "depth"), [(-1, 3), (63, 3), (1, 2), (-2, 2), (0, 1), (-64, 1)])
def test_only_the_blocks_that_are_needed_run(
    look: Any, flux: Any, monkeypatch: pytest.MonkeyPatch, last_block: int, depth: int
) -> None:
    whole = look(flux, pictures())
    calls = count_forwards(monkeypatch, flux)
    maps = look(flux, pictures(), last_block=last_block)
    assert calls == {f"double {block}": 1 for block in range(depth)}
    assert maps.blocks == tuple(range(depth)) and torch.equal(maps.scores, whole.scores[:, :depth])


def test_a_batch_is_its_pictures_one_by_one(look: Any, flux: Any) -> None:
    image = pictures(3)
    before = torch.get_rng_state()
    together = look(flux, image, noise_samples=2, seed=2**64 - 1).scores
    alone = [look(flux, image[row : row + 1], noise_samples=2, seed=2**64 - 1).scores for row in range(3)]
    assert torch.equal(together, torch.cat(alone, dim=2))
    assert torch.equal(together, look(flux, image, noise_samples=2, seed=2**64 - 1).scores)
    assert torch.equal(torch.get_rng_state(), before)
    first, second = (look(flux, image, seed=seed).scores for seed in (2**64 - 1, 0))
    assert not torch.equal(first, second)
    assert_close(together, (first + second) / 2)
