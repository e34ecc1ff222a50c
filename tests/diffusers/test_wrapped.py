"""Transformers that are not as they came: LoRA, fused, quantised, offloaded, half precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from conceptattention_core.adapters.diffusers import ConceptAttention, ConceptMaps
from conceptattention_core.adapters.diffusers.families import denoisers

LINEARS = ["add_q_proj", "add_k_proj", "add_v_proj", "to_add_out", "to_k", "to_v", "to_out.0", "linear_1"]
LINEARS += ["context_embedder"]


def record(pipe: Any, paint: Any) -> ConceptMaps:
    """Maps of a run whose result is checked against one without maps."""
    noise = torch.randn(1, 16, 64, generator=torch.Generator().manual_seed(0))
    plain = paint(pipe, latents=noise, output_type="latent")
    with ConceptAttention(pipe, ["dragon", "rock"], max_sequence_length=16) as attention:
        assert torch.equal(paint(pipe, latents=noise, output_type="latent"), plain)
    return attention.maps()


def test_lora(make_pipe: Any, paint: Any) -> None:
    """Beside the linears and merged into them, a LoRA gives the same maps."""
    peft = pytest.importorskip("peft")
    pipe = make_pipe()
    without = record(pipe, paint)
    torch.manual_seed(3)
    denoisers(pipe)[0].add_adapter(
        peft.LoraConfig(r=4, lora_alpha=8, target_modules=LINEARS, init_lora_weights=False), "style"
    )
    beside = record(pipe, paint)
    denoisers(pipe)[0].fuse_lora()
    denoisers(pipe)[0].unload_lora()
    merged = record(pipe, paint)
    assert_close(beside.raw.scores, merged.raw.scores, atol=1e-3, rtol=1e-4)
    assert (beside.raw.scores - without.raw.scores).abs().max() > 0.1


def test_fused_projections(make_pipe: Any, paint: Any) -> None:
    pipe = make_pipe()
    apart = record(pipe, paint)
    denoisers(pipe)[0].fuse_qkv_projections()
    assert_close(record(pipe, paint).raw.scores, apart.raw.scores, atol=1e-3, rtol=1e-4)


class Wrapped(torch.nn.Module):
    """What a quantised linear looks like from outside: no `weight`, only a forward."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.stored = [linear]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.stored[0](x)


def wrap(pipe: Any) -> None:
    for name, module in list(denoisers(pipe)[0].named_modules()):
        if isinstance(module, torch.nn.Linear) and "blocks" in name:
            parent, _, child = name.rpartition(".")
            setattr(denoisers(pipe)[0].get_submodule(parent), child, Wrapped(module))


def torchao_int8(pipe: Any) -> None:
    pytest.importorskip("torchao")
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    quantize_(denoisers(pipe)[0], Int8WeightOnlyConfig())


def bitsandbytes_nf4(pipe: Any) -> None:
    bnb = pytest.importorskip("bitsandbytes")
    for name, module in list(denoisers(pipe)[0].named_modules()):
        if isinstance(module, torch.nn.Linear) and "blocks" in name:
            parent, _, child = name.rpartition(".")
            linear = bnb.nn.Linear4bit(module.in_features, module.out_features, quant_type="nf4")
            linear.load_state_dict(module.state_dict())
            setattr(denoisers(pipe)[0].get_submodule(parent), child, linear.to("cpu"))


@pytest.mark.parametrize("quantise, tolerance", [(wrap, 0.0), (torchao_int8, 0.1), (bitsandbytes_nf4, 0.3)])
def test_quantised(quantise: Callable[[Any], None], tolerance: float, make_pipe: Any, paint: Any) -> None:
    pipe = make_pipe()
    exact = record(pipe, paint).raw
    quantise(pipe)
    scores = record(pipe, paint).raw.scores
    assert (scores - exact.scores).abs().mean() <= tolerance * exact.scores.std()
    assert tolerance == 0.0 or not torch.equal(scores, exact.scores)


def model_offload(pipe: Any) -> None:
    pipe.enable_model_cpu_offload(device="cpu")


def sequential_offload(pipe: Any) -> None:
    """accelerate's hooks, weights on the meta device between calls; the CPU stands for the GPU."""
    accelerate = pytest.importorskip("accelerate")
    accelerate.cpu_offload(denoisers(pipe)[0], torch.device("cpu"))
    assert {weight.device.type for weight in denoisers(pipe)[0].parameters()} == {"meta"}


def group_offload(pipe: Any) -> None:
    cpu = torch.device("cpu")
    denoisers(pipe)[0].enable_group_offload(cpu, cpu, offload_type="leaf_level")


@pytest.mark.parametrize("offload", [model_offload, sequential_offload, group_offload])
def test_offload(offload: Callable[[Any], None], make_pipe: Any, paint: Any) -> None:
    pipe = make_pipe()
    expected = record(pipe, paint).raw.scores
    offload(pipe)
    assert torch.equal(record(pipe, paint).raw.scores, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype, make_pipe: Any, paint: Any, parts: Any) -> None:
    pipe = make_pipe()
    exact = record(pipe, paint).raw
    try:
        pipe.to(dtype=dtype)
        maps = record(pipe, paint).raw
    finally:
        pipe.to(dtype=torch.float32)
    assert maps.scores.dtype == torch.float32
    assert (maps.saliency() - exact.saliency()).abs().max() < 0.1
