"""Three ways to the same numbers: the authors' own code, this pack in ComfyUI, and this library in diffusers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline
from torch.testing import assert_close

from conceptattention_core.adapters.diffusers import ConceptAttention, Concepts
from conceptattention_core.adapters.diffusers.families.flux import image_ids
from conceptattention_core.adapters.diffusers.families.stream import pack as to_tokens
from conceptattention_core.adapters.diffusers.weights import build_flux

from .conftest import recipe_weights
from .helpers import APPLY, READ, conditioning, run_sampler, table_clip


def from_diffusers(golden: Any, projection: str) -> tuple[Any, torch.Tensor]:
    """The golden case through diffusers' transformer: maps, and velocity as tokens ``(B, N, 64)``."""
    config, given = golden.config, golden.tensors
    transformer = build_flux(recipe_weights(config))
    parts: Any = dict.fromkeys(["tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2"])
    pipe = FluxPipeline(FlowMatchEulerDiscreteScheduler(), AutoencoderKL(), transformer=transformer, **parts)
    concepts = Concepts(tuple(f"concept{i}" for i in range(config["concepts"])), 0, given["concepts"])
    batch = config["batch"]
    attention = ConceptAttention(pipe, concepts, projection=projection)  # type: ignore[arg-type]
    with torch.no_grad(), attention:
        (velocity,) = transformer(
            hidden_states=to_tokens(given["latent"]),
            encoder_hidden_states=given["context"],
            pooled_projections=given["pooled"],
            timestep=torch.full((batch,), config["timestep"]),
            img_ids=image_ids((config["latent_h"] // 2, config["latent_w"] // 2)),
            txt_ids=torch.zeros(config["text_tokens"], 3),
            guidance=torch.full((batch,), config["guidance"]) if config["guidance_embed"] else None,
            return_dict=False,
        )
    return attention.maps().raw, velocity


def from_comfyui(golden: Any, pack_nodes: dict[str, Any], projection: str) -> Any:
    """The golden case through the pack's nodes on ComfyUI's Flux."""
    config, given = golden.config, golden.tensors
    words = [f"concept{index}" for index in range(config["concepts"])]
    settings = {**APPLY, "projection": projection}
    clip = table_clip(words, given["concepts"][0])
    model, attention = pack_nodes["ConceptAttentionApply"].execute(golden.model, clip, ",".join(words), **settings)
    positive = conditioning(given["context"], given["pooled"], guidance=config["guidance"])
    sample, _ = run_sampler(model, positive, given["latent"], [config["timestep"], 0.0])
    return pack_nodes["ConceptAttention"].execute(attention, {"samples": sample}, **READ)[-1]


@pytest.mark.usefixtures("rounded_exp")
def test_golden_comfyui_and_diffusers_agree(golden: Any, pack: dict[str, Any]) -> None:
    expected = golden.tensors
    in_diffusers, velocity = from_diffusers(golden, "output")
    in_comfyui = from_comfyui(golden, pack, "output")
    assert_close(velocity, to_tokens(expected["velocity"]), atol=1e-5, rtol=0)
    assert_close(in_diffusers.scores[0].flatten(-2), expected["scores"], atol=5e-4, rtol=0)
    saliency = [expected["saliency"], in_diffusers.saliency(0, -1), in_comfyui.saliency(0, -1)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert_close(saliency[one], saliency[other], atol=1e-5, rtol=0)


@pytest.mark.parametrize("projection", ["cross_attention", "value"])
def test_other_projections_agree(projection: str, golden: Any, pack: dict[str, Any]) -> None:
    in_diffusers, _ = from_diffusers(golden, projection)
    in_comfyui = from_comfyui(golden, pack, projection)
    assert_close(in_diffusers.saliency(0, -1), in_comfyui.saliency(0, -1), atol=1e-5, rtol=0)
