"""Small graphs of ComfyUI's own nodes: a tiny Flux of any kind, prompts, and the two samplers that people use."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .conftest import recipe_weights
from .helpers import APPLY, READ, table_clip

TINY = {
    "seed": 21,
    "hidden_size": 128,
    "num_heads": 1,
    "depth": 3,
    "depth_single_blocks": 1,
    "vec_in_dim": 16,
    "context_in_dim": 32,
    "guidance_embed": True,
}
WORDS = ("house", "sky", "grass", "background")
GRID = (6, 10)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tiny_weights(img_channels: int = 64, **changes: Any) -> dict[str, Tensor]:
    """A tiny FLUX.1's state dict; Fill's has 384 input channels."""
    weights = recipe_weights({**TINY, **changes})
    if img_channels != 64:
        weights["img_in.weight"] = randn(TINY["hidden_size"], img_channels, seed=5) / img_channels**0.5
    return weights


def tiny_flux(
    dtype: torch.dtype = torch.float32, weights: dict[str, Tensor] | None = None, **model_options: Any
) -> Any:
    """A tiny FLUX.1 by ComfyUI's own loader, which computes in bf16 where `dtype` is bf16, as on a GPU."""
    import comfy.sd

    model = comfy.sd.load_diffusion_model_state_dict(
        tiny_weights() if weights is None else weights, model_options={"dtype": dtype, **model_options}
    )
    if dtype == torch.bfloat16:
        model.set_model_compute_dtype(torch.bfloat16)
    return model


def tiny_clip() -> Any:
    return table_clip(list(WORDS), randn(len(WORDS), TINY["context_in_dim"], seed=1))


def prompt(seed: int, tokens: int = 7, **extra: Any) -> list[Any]:
    """A made-up CONDITIONING."""
    context = randn(1, tokens, TINY["context_in_dim"], seed=seed)
    return [[context, {"pooled_output": randn(1, TINY["vec_in_dim"], seed=seed + 1), **extra}]]


def empty_latent(batch: int = 1, height: int = 2 * GRID[0], width: int = 2 * GRID[1]) -> dict[str, Tensor]:
    return {"samples": torch.zeros(batch, 16, height, width)}


def apply(pack: dict[str, Any], model: Any, concepts: str = "house, sky", **changes: Any) -> tuple[Any, Any]:
    """Apply Concept Attention: the patched MODEL, and the CONCEPT_ATTENTION."""
    out = pack["ConceptAttentionApply"].execute(
        model, tiny_clip(), concepts, **{**APPLY, "background": "background", **changes}
    )
    return out[0], out[1]


def read(pack: dict[str, Any], attention: Any, latent: Any, **changes: Any) -> Any:
    """Concept Attention: mask, heat map, overlay, maps."""
    samples = latent if isinstance(latent, dict) else {"samples": latent}
    return pack["ConceptAttention"].execute(attention, samples, **{**READ, **changes})


def read_maps(pack: dict[str, Any], attention: Any, latent: Any) -> Any:
    return read(pack, attention, latent)[3]


def ksampler(
    model: Any,
    positive: list[Any],
    negative: list[Any] | None = None,
    latent: dict[str, Tensor] | None = None,
    seed: int = 3,
    steps: int = 2,
    cfg: float = 1.0,
    sampler: str = "euler",
    denoise: float = 1.0,
) -> Tensor:
    """KSampler's LATENT."""
    import nodes

    negative = prompt(90) if negative is None else negative
    latent = empty_latent() if latent is None else latent
    out = nodes.KSampler().sample(
        model, seed, steps, cfg, sampler, "simple", positive, negative, latent, denoise=denoise
    )
    return out[0]["samples"]


def advanced(
    guider: Any, latent: dict[str, Tensor] | None = None, seed: int = 3, steps: int = 2, sampler: str = "euler"
) -> tuple[Tensor, Tensor]:
    """Both LATENTs of SamplerCustomAdvanced."""
    from comfy_extras.nodes_custom_sampler import BasicScheduler, KSamplerSelect, RandomNoise, SamplerCustomAdvanced

    out = SamplerCustomAdvanced.execute(
        RandomNoise.execute(seed)[0],
        guider,
        KSamplerSelect.execute(sampler)[0],
        BasicScheduler.execute(guider.model_patcher, "simple", steps, 1.0)[0],
        empty_latent() if latent is None else latent,
    )
    return out[0]["samples"], out[1]["samples"]


def cfg_guider(model: Any, positive: list[Any], negative: list[Any] | None = None, cfg: float = 1.0) -> Any:
    from comfy_extras.nodes_custom_sampler import CFGGuider

    return CFGGuider.execute(model, positive, prompt(90) if negative is None else negative, cfg)[0]
