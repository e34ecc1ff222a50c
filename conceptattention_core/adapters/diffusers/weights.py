"""FLUX.1 weights under their original names, as diffusers names them.

diffusers' own converter splits the single blocks for Flux's full width only; this one takes any.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from torch import Tensor

HEAD_AXES = (16, 56, 56)
"""Channels of a head that carry the image number, the row and the column; a head of Flux is 128 wide."""

WHOLE_MODEL = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
DOUBLE_BLOCK = {
    "img_mod.lin": ["norm1.linear"],
    "txt_mod.lin": ["norm1_context.linear"],
    "img_attn.qkv": ["attn.to_q", "attn.to_k", "attn.to_v"],
    "txt_attn.qkv": ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"],
    "img_attn.proj": ["attn.to_out.0"],
    "txt_attn.proj": ["attn.to_add_out"],
    "img_attn.norm.query_norm": ["attn.norm_q"],
    "img_attn.norm.key_norm": ["attn.norm_k"],
    "txt_attn.norm.query_norm": ["attn.norm_added_q"],
    "txt_attn.norm.key_norm": ["attn.norm_added_k"],
    "img_mlp.0": ["ff.net.0.proj"],
    "img_mlp.2": ["ff.net.2"],
    "txt_mlp.0": ["ff_context.net.0.proj"],
    "txt_mlp.2": ["ff_context.net.2"],
}
SINGLE_BLOCK = {
    "modulation.lin": ["norm.linear"],
    "linear1": ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"],
    "linear2": ["proj_out"],
    "norm.query_norm": ["attn.norm_q"],
    "norm.key_norm": ["attn.norm_k"],
}


def flux_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A FLUX.1 state dict under the original names ("double_blocks.0.img_attn.qkv.weight") under diffusers' names.

    Tensors are views of the given ones where they can be. Raises KeyError on a name that FLUX.1 does not have.
    """
    converted: dict[str, Tensor] = {}
    for name, tensor in state.items():
        stem, _, kind = name.rpartition(".")
        kind = "weight" if kind == "scale" else kind
        prefix, *rest = stem.split(".", 2)
        if prefix == "double_blocks":
            targets, place = DOUBLE_BLOCK[rest[1]], f"transformer_blocks.{rest[0]}."
        elif prefix == "single_blocks":
            targets, place = SINGLE_BLOCK[rest[1]], f"single_transformer_blocks.{rest[0]}."
        else:
            targets, place = [WHOLE_MODEL[stem]], ""
        if targets == ["norm_out.linear"]:  # shift and scale stand the other way round there
            tensor = torch.cat(tensor.chunk(2)[::-1])
        # Joined linears: query, key and value, each as wide as the residual stream, and what is left is the MLP's.
        width = state[f"{stem}.weight"].shape[1] if len(targets) > 1 else len(tensor)
        parts = tensor.tensor_split([width * part for part in range(1, len(targets))])
        converted |= {f"{place}{target}.{kind}": part for target, part in zip(targets, parts, strict=True)}
    return converted


def build_flux(state: dict[str, Tensor]) -> FluxTransformer2DModel:
    """A float32 FLUX.1 transformer of any size from weights under their original names, its sizes read off them."""
    head = len(state["double_blocks.0.img_attn.norm.key_norm.scale"])
    hidden, in_channels = state["img_in.weight"].shape

    def depth(blocks: str) -> int:
        return 1 + max(int(name.split(".")[1]) for name in state if name.startswith(blocks))

    sizes: dict[str, Any] = {
        "in_channels": in_channels,
        "out_channels": len(state["final_layer.linear.weight"]),
        "num_layers": depth("double_blocks."),
        "num_single_layers": depth("single_blocks."),
        "attention_head_dim": head,
        "num_attention_heads": hidden // head,
        "joint_attention_dim": state["txt_in.weight"].shape[1],
        "pooled_projection_dim": state["vector_in.in_layer.weight"].shape[1],
        "guidance_embeds": "guidance_in.in_layer.weight" in state,
        "axes_dims_rope": HEAD_AXES,
    }
    model = FluxTransformer2DModel(**sizes)
    model.load_state_dict(flux_weights(state))
    return model.eval()
