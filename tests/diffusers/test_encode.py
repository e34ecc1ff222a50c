"""Maps of a picture that exists already."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from conceptattention_core.adapters.diffusers import ConceptAttention
from conceptattention_core.adapters.diffusers.families.stream import pack

TEXT = {"max_sequence_length": 16}
PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8))
CONCEPTS = ["cat", "sofa"]


def count_calls(module: torch.nn.Module) -> list[int]:
    calls: list[int] = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize("guided", [True, False], ids=["dev", "schnell"])
def test_only_the_double_blocks_run(guided: bool, make_pipe: Any) -> None:
    """The single blocks never do, and the maps are those of a forward that runs to its end, on the VAE's mean."""
    pipe = make_pipe(guidance_embeds=guided)
    single = count_calls(pipe.transformer.single_transformer_blocks[0].attn)
    double, end = count_calls(pipe.transformer.transformer_blocks[-1]), count_calls(pipe.transformer.proj_out)
    before = torch.get_rng_state()
    maps = ConceptAttention.encode(pipe, PHOTO, CONCEPTS, seeds=[7], **TEXT)
    assert (len(double), len(single), len(end)) == (1, 0, 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert maps.raw.scores.shape == (1, 3, 1, 3, 4, 6) and maps.raw.sigmas == (0.5,) and maps.raw.image_size == (64, 96)

    pixels = torch.from_numpy(np.array(PHOTO)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad(), ConceptAttention(pipe, CONCEPTS, **TEXT) as attention:
        latent = (pipe.vae.encode(pixels).latent_dist.mean - 0.1159) * 0.3611
        noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(7))
        context, pooled, txt_ids = pipe.encode_prompt("", "", **TEXT)
        _, ids = pipe.prepare_latents(1, 16, 64, 96, torch.float32, torch.device("cpu"), None)
        pipe.transformer(
            pack(0.5 * latent + 0.5 * noise),
            context,
            0 * pooled,
            torch.tensor([0.5]),
            ids,
            txt_ids,
            torch.tensor([3.5]) if guided else None,
        )
    assert (len(double), len(single), len(end)) == (2, 1, 1)
    assert_close(attention.maps().raw.scores, maps.raw.scores, atol=1e-4, rtol=1e-4)


def test_seeds_are_averaged(make_pipe: Any) -> None:
    pipe = make_pipe()
    each = [ConceptAttention.encode(pipe, PHOTO, CONCEPTS, seeds=[seed], **TEXT).saliency()["cat"] for seed in (1, 2)]
    both = ConceptAttention.encode(pipe, PHOTO, CONCEPTS, seeds=(1, 2), **TEXT)
    assert not torch.equal(*each) and both.raw.sigmas == (0.5, 0.5)
    assert_close(both.saliency()["cat"], sum(each) / 2, atol=1e-6, rtol=0)


def test_prompt_noise_and_size(make_pipe: Any) -> None:
    pipe = make_pipe("FluxKontextPipeline")
    plain = ConceptAttention.encode(pipe, PHOTO, CONCEPTS, **TEXT).raw.scores
    again = ConceptAttention.encode(pipe, np.array(PHOTO), CONCEPTS, **TEXT).raw.scores
    assert torch.equal(plain, again)
    named = ConceptAttention.encode(pipe, PHOTO, CONCEPTS, prompt="a cat", noise_level=0.3, size=(40, 64), **TEXT)
    assert named.raw.scores.shape[-2:] == (2, 4) and named.raw.sigmas == pytest.approx((0.3,))
    pair = ConceptAttention.encode(pipe, [PHOTO, PHOTO.transpose(Image.Transpose.FLIP_TOP_BOTTOM)], CONCEPTS, **TEXT)
    assert_close(pair[0].raw.scores, plain, atol=1e-4, rtol=1e-4)
    assert not torch.equal(pair[0].raw.scores, pair[1].raw.scores)


def test_early_stop_under_sequential_offload(make_pipe: Any) -> None:
    accelerate = pytest.importorskip("accelerate")
    pipe = make_pipe()
    expected = ConceptAttention.encode(pipe, PHOTO, CONCEPTS, **TEXT).raw.scores
    accelerate.cpu_offload(pipe.transformer, torch.device("cpu"))
    for _ in range(2):
        assert torch.equal(ConceptAttention.encode(pipe, PHOTO, CONCEPTS, **TEXT).raw.scores, expected)
        assert {parameter.device.type for parameter in pipe.transformer.parameters()} == {"meta"}


def test_clear_errors(make_pipe: Any) -> None:
    with pytest.raises(ValueError, match="Fill or Control"):
        ConceptAttention.encode(make_pipe("FluxFillPipeline", in_channels=384), PHOTO, CONCEPTS, **TEXT)
    pipe = make_pipe()
    with pytest.raises(ValueError, match="noise_level"):
        ConceptAttention.encode(pipe, PHOTO, CONCEPTS, noise_level=500, **TEXT)
    with pytest.raises(ValueError, match="of one size"):
        ConceptAttention.encode(pipe, [PHOTO, PHOTO.resize((32, 32))], CONCEPTS, **TEXT)
    with pytest.raises(ValueError, match="seed"):
        ConceptAttention.encode(pipe, PHOTO, CONCEPTS, seeds=[], **TEXT)
