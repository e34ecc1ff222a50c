"""torch.compile, stock and block by block, before and behind Apply Concept Attention: every run samples.

Without a compiler behind the tracing ("eager"): the tracing is what could trip over the pack.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from .graphs import apply, ksampler, prompt, read_maps, tiny_flux, tiny_weights

DEPTH = 2


def compiled(model: Any, how: str) -> Any:
    """ComfyUI's Torch Compile Model on a clone; `blocks`: each double block for itself, as KJNodes' node does it."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    keys = [f"diffusion_model.double_blocks.{index}" for index in range(DEPTH)] if how == "blocks" else None
    model = model.clone()
    set_torch_compile_wrapper(model, backend="eager", **({"keys": keys} if keys else {}))
    return model


@pytest.fixture(autouse=True)
def fresh_compiler() -> Any:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["whole", "blocks"])
@pytest.mark.parametrize("order", ["before", "behind"])
def test_every_run_samples(pack: dict[str, Any], how: str, order: str) -> None:
    base = tiny_flux(weights=tiny_weights(depth=DEPTH))
    picture = ksampler(base, prompt(1), steps=2)
    before = compiled(base, how) if order == "before" else base

    for concepts in ("house, sky", "house, sky, grass", "house"):  # another number of concepts, with what was compiled
        plain, expected = apply(pack, base, concepts)
        patched, attention = apply(pack, before, concepts)
        model = patched if order == "before" else compiled(patched, how)
        made = ksampler(model, prompt(1), steps=2)
        assert torch.equal(made, picture)
        reference = read_maps(pack, expected, ksampler(plain, prompt(1), steps=2))
        assert_close(read_maps(pack, attention, made).scores, reference.scores, atol=1e-3, rtol=1e-4)
    # And without the pack's nodes, what was compiled with them still around.
    assert torch.equal(ksampler(compiled(base, how), prompt(1), steps=2), picture)
