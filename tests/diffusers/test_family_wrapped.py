"""Every family's transformers that are not as they came: LoRA, fused, quantised, offloaded, half precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from conceptattention_core.adapters.diffusers import ConceptAttention, ConceptMaps
from conceptattention_core.adapters.diffusers.families import denoisers, require_family

from .models import make
from .test_families import own_projection, paint
from .test_generate import CONCEPTS
from .test_wrapped import group_offload, model_offload, sequential_offload, wrap

KINDS = [
    "StableDiffusion3Pipeline",
    "ChromaPipeline",
    "Flux2Pipeline",
    "QwenImagePipeline",
    "ZImagePipeline",
    "Krea2Pipeline",
    "LongCatImagePipeline",
    "OvisImagePipeline",
    "Lumina2Pipeline",
    "AuraFlowPipeline",
    "HiDreamImagePipeline",
    "HunyuanImagePipeline",
    "JoyImageEditPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusionPipeline",
    "CogVideoXPipeline",
    "WanPipeline",
    "HunyuanVideoPipeline",
    "HunyuanVideo15Pipeline",
    "LTXPipeline",
    "LTX2Pipeline",
    "Cosmos2TextToImagePipeline",
]


def record(pipe: Any) -> ConceptMaps:
    """Maps of a run whose result is checked against one without maps."""
    settings: dict[str, Any] = {"output_type": "latent", **({"num_frames": 9} if require_family(pipe).video else {})}
    plain = paint(pipe, **settings)
    with ConceptAttention(pipe, CONCEPTS, max_sequence_length=24, projection=own_projection(pipe)) as attention:
        assert torch.equal(paint(pipe, **settings), plain)
    return attention.maps()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", [wrap, model_offload, sequential_offload, group_offload])
def test_the_same_numbers(change: Callable[[Any], None], kind: str) -> None:
    pipe = make(kind)
    expected = record(pipe).raw.scores
    change(pipe)
    assert torch.equal(record(pipe).raw.scores, expected)


ONE_SET = ("ZImage", "Krea2", "Lumina2", "CogVideoX", "Wan", "LTX", "Cosmos2", "StableDiffusionXL")
ONE_SET += ("StableDiffusionPipeline",)
"""They have one set of weights for picture and text, or only read it."""


# diffusers' JoyImage takes none.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if "JoyImage" not in kind])
def test_lora(kind: str) -> None:
    """Beside the linears and merged into them, a LoRA gives the same maps."""
    peft = pytest.importorskip("peft")
    pipe = make(kind)
    without = record(pipe)
    torch.manual_seed(3)
    targets = ["to_q", "to_k", "to_v", "to_out.0"]
    if kind == "HiDreamImagePipeline":
        targets = [f"to_{part}{stream}" for part in ("q", "k", "v", "out") for stream in ("", "_t")]
    elif not kind.startswith(ONE_SET):
        targets += ["add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"]
    denoisers(pipe)[0].add_adapter(
        peft.LoraConfig(r=4, lora_alpha=8, target_modules=targets, init_lora_weights=False), "style"
    )
    beside = record(pipe)
    denoisers(pipe)[0].fuse_lora()
    denoisers(pipe)[0].unload_lora()
    merged = record(pipe)
    assert_close(beside.raw.scores, merged.raw.scores, atol=2e-3, rtol=1e-3)
    assert (beside.raw.scores - without.raw.scores).abs().max() > 0.05


FUSED = [*KINDS[:4], "AuraFlowPipeline", "StableDiffusionXLPipeline", "CogVideoXPipeline", "WanPipeline"]
FUSED += ["LTXPipeline"]


@pytest.mark.parametrize("kind", FUSED)
def test_fused_projections(kind: str) -> None:
    """SD3.5's fused processor leaves the norms out: other pictures, and the maps of those; so here is one without."""
    pipe = make(kind, **({"qk_norm": None, "dual_attention_layers": ()} if "Diffusion3" in kind else {}))
    apart = record(pipe)
    denoisers(pipe)[0].fuse_qkv_projections()
    assert_close(record(pipe).raw.scores, apart.raw.scores, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision(kind: str) -> None:
    pipe = make(kind)
    exact = record(pipe).raw
    pipe.to(dtype=torch.bfloat16)
    maps = record(pipe).raw
    assert maps.scores.dtype == torch.float32
    ours, theirs = (one.saliency(0, -1, 100 / one.temperature) for one in (maps, exact))
    assert (ours - theirs).abs().max() < 0.1
