"""The demo model is the same model in diffusers as in ComfyUI: words, velocity, pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from conceptattention_core.adapters.diffusers.demo import load_demo_pipeline
from conceptattention_core.adapters.diffusers.families.flux import Flux1, image_ids
from conceptattention_core.adapters.diffusers.families.stream import pack
from conceptattention_core.evaluate.datasets.scenes.captions import caption
from conceptattention_core.evaluate.datasets.scenes.scenes import HELD_OUT, scene


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def pipe() -> Any:
    return load_demo_pipeline()


to_tokens = pack


@pytest.fixture(scope="module")
def demo(pack: dict[str, Any]) -> tuple[Any, Any, Any]:
    return tuple(pack["ConceptAttentionDemoModel"].execute().result)


def captions() -> list[str]:
    """Captions of forty scenes, as in training; together they use every known word."""
    draw = np.random.default_rng(0)
    scenes = [scene(HELD_OUT + index, 64) for index in range(40)]
    return ["", *(caption(draw, list(one.objects), list(one.grounds), one.sky) for one in scenes)]


def test_words(demo: tuple[Any, Any, Any], pipe: Any) -> None:
    for text in captions():
        clip = demo[1]
        given = clip.encode_from_tokens(clip.tokenize(text), return_dict=True)
        context, pooled, _ = pipe.encode_prompt(text, text)
        assert_close(context.float(), given["cond"].float(), atol=2e-3, rtol=1e-3)
        assert_close(pooled.float(), given["pooled_output"].float(), atol=2e-3, rtol=1e-3)


def test_velocity_and_pictures(demo: tuple[Any, Any, Any], pipe: Any) -> None:
    draw = torch.Generator().manual_seed(0)
    latent, context = torch.randn(1, 16, 16, 24, generator=draw), torch.randn(1, 32, 128, generator=draw)
    pooled, time = torch.randn(1, 64, generator=draw), torch.tensor([0.3])
    flux = demo[0].model.diffusion_model
    flux.to(torch.float32)
    given = flux(latent, time, context, pooled)
    (velocity,) = pipe.transformer(
        to_tokens(latent), context, pooled, time, image_ids((8, 12)), torch.zeros(32, 3), return_dict=False
    )
    assert_close(velocity, to_tokens(given), atol=2e-4, rtol=1e-3)

    vae = demo[2]
    pixels = torch.from_numpy(scene(HELD_OUT, 64).image).float()[None] / 255
    encoded = Flux1().latent(pipe.vae, 2 * pixels.movedim(-1, 1) - 1)
    assert_close(encoded, demo[0].model.process_latent_in(vae.encode(pixels)).float(), atol=2e-2, rtol=1e-2)
    decoded = pipe.vae.decode(encoded / 0.3611 + 0.1159).sample.clamp(-1, 1)
    again = vae.decode(encoded / 0.3611 + 0.1159)
    assert_close(decoded / 2 + 0.5, again.movedim(-1, 1).float(), atol=2e-2, rtol=1e-2)
