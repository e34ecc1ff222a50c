"""Three ways to the same numbers: the authors' own code, this pack in ComfyUI, and this library in diffusers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conceptattention_core.adapters.diffusers import ConceptAttention, Concepts
from einops import rearrange
from torch.testing import assert_close

from .conftest import recipe_weights
from .helpers import APPLY, READ, conditioning, run_sampler, table_clip


def diffusers_flux(config: dict[str, Any]) -> Any:
    """The golden case's weights in diffusers' transformer, by diffusers' own converter."""
    from diffusers import FluxTransformer2DModel
    from diffusers.loaders.single_file_utils import convert_flux_transformer_checkpoint_to_diffusers as convert

    hidden, heads = config["hidden_size"], config["num_heads"]
    weights = recipe_weights(config)
    # The converter splits the single blocks' first linear for Flux's own width only: give it its parts in its order.
    model = FluxTransformer2DModel(
        num_layers=config["depth"],
        num_single_layers=config["depth_single_blocks"],
        attention_head_dim=hidden // heads,
        num_attention_heads=heads,
        joint_attention_dim=config["context_in_dim"],
        pooled_projection_dim=config["vec_in_dim"],
        guidance_embeds=config["guidance_embed"],
        axes_dims_rope=tuple(config["axes_dim"]),
    ).eval()
    model.load_state_dict(convert(weights))
    return model
