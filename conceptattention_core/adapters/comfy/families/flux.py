"""FLUX.1 and its relatives by ComfyUI's Flux class: LongCat-Image, Ovis-Image."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from comfy.ldm.flux.layers import DoubleStreamBlock, timestep_embedding
from comfy.ldm.flux.math import apply_rope
from comfy.model_base import BaseModel
from einops import rearrange
from torch import Tensor

from ....concepts import Caption, Concepts
from ....stream import ModulatedBlock, Modulation
from ..call import Call
from ..pieces import TextEncoder, t5_pieces, template_pieces
from .base import Family, Layout, is_a, placed, pool_behind

Rotate = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Query and key, ``(B, H, C, d)`` each, to their places."""


FLUX = "comfy.ldm.flux.model.Flux"
VAE = "FLUX.1's VAE (Load VAE with ae.safetensors)"


class FluxFamily(Family):
    """What all models of ComfyUI's Flux class share: a text stream before the picture, references behind it."""

    block_name = "Double block"

    def depth(self, dit: Any) -> int:
        return len(dit.double_blocks)

    def context_width(self, dit: Any) -> int:
        return dit.params.context_in_dim

    def pooled_width(self, dit: Any) -> int | None:
        return dit.params.vec_in_dim

    def why_not_for_pictures(self, model: BaseModel, dit: Any) -> str:
        if dit.in_channels == dit.out_channels:
            return ""
        return (
            "This MODEL is a Fill or Control model, which needs more than a picture. Use a plain FLUX.1: dev, schnell, "
            "Krea or Kontext."
        )

    def layout(self, call: Call, count: int) -> Layout:
        return Layout(call.text_tokens, count, behind=reference_tokens(call, self.patch(call.dit)))

    def tokens(self, call: Call, concepts: Concepts) -> Tensor:
        # Pooling before a linear layer is the same as behind it.
        return call.dit.txt_in(placed(concepts.embeddings, call))

    def vector(self, call: Call) -> Tensor:
        """Modulation vector of the concepts, ``(B, D)``: time and guidance as the prompt's, the pooled text zero."""
        flux = call.dit
        vec = flux.time_in(timestep_embedding(call.timestep(), 256).to(call.dtype))
        guidance = call.cond("guidance")
        if flux.params.guidance_embed and guidance is not None:
            vec = vec + flux.guidance_in(timestep_embedding(guidance, 256).to(call.dtype))
        if flux.vector_in is not None:
            vec = vec + flux.vector_in(vec.new_zeros(len(vec), flux.params.vec_in_dim))
        return vec

    def stream(self, call: Call, concepts: Concepts) -> Callable[[int], Any]:
        vec, rotate = self.vector(call), self.own_places(call, concepts)

        def block(index: int) -> ModulatedBlock:
            double = call.dit.double_blocks[index]
            return text_stream(double, double.txt_mod(vec), rotate)

        return block

    def place(self, caption: Caption, call: Call) -> float:
        """Where a concept stands on the text's axis: at its first own piece, in its own conditioning."""
        return caption.position

    def own_places(self, call: Call, concepts: Concepts) -> Rotate:
        """Rotate each concept to its own place. FLUX.1's text has none: its ids are 0, the rotary embedding is 1."""
        axes = call.dit.params.txt_ids_dims
        if not axes:
            return lambda query, key: (query, key)
        ids = torch.zeros(1, len(concepts.names), len(call.dit.params.axes_dim), device=call.device)
        places = [float(self.place(one, call)) for one in concepts.captions]
        ids[:, :, axes] = torch.tensor(places, device=call.device)[:, None]
        pe = call.dit.pe_embedder(ids)
        return lambda query, key: apply_rope(query, key, pe)

    def replaced_after(self, dit: Any, last_block: int) -> list[tuple[str, int]]:
        double = [("double_block", index) for index in range(last_block + 1, len(dit.double_blocks))]
        return double + [("single_block", index) for index in range(len(dit.single_blocks))]


class Flux1(FluxFamily):
    name = "FLUX.1"
    models = "dev, schnell, Fill, Krea, Kontext"
    text = TextEncoder(
        ("t5xxl",),
        "DualCLIPLoader with type 'flux', with a T5-XXL and a CLIP-L file",
        t5_pieces,
        beside=frozenset({"l"}),
    )
    measured = True
    vae = VAE

    def owns(self, model: BaseModel, dit: Any) -> bool:
        return is_a(dit, FLUX) and not dit.params.global_modulation and dit.vector_in is not None


class LongCat(FluxFamily):
    name = "LongCat-Image"
    models = "LongCat-Image"
    text = TextEncoder(
        ("qwen25_7b",),
        "CLIPLoader with type 'longcat_image'",
        template_pieces,
        causal=True,
        escape=False,
        tail=5,
    )
    vae = VAE

    def owns(self, model: BaseModel, dit: Any) -> bool:
        return is_a(model, "comfy.model_base.LongCatImage") and is_a(dit, FLUX)


class Ovis(FluxFamily):
    name = "Ovis-Image"
    models = "Ovis-Image"
    text = TextEncoder(("qwen3_2b",), "CLIPLoader with type 'ovis'", template_pieces, causal=True)
    vae = VAE

    def owns(self, model: BaseModel, dit: Any) -> bool:
        return is_a(dit, FLUX) and getattr(dit.params, "txt_norm", False)

    def tokens(self, call: Call, concepts: Concepts) -> Tensor:
        return pool_behind(concepts, call, lambda rows: call.dit.txt_in(call.dit.txt_norm(rows)))


def reference_tokens(call: Call, patch: int) -> int:
    """Tokens of all reference pictures."""
    return sum(math.ceil(one.shape[-2] / patch) * math.ceil(one.shape[-1] / patch) for one in call.references())


def text_stream(block: DoubleStreamBlock, modulations: tuple[Any, Any], rotate: Rotate) -> ModulatedBlock:
    """Point at the text stream of one of ComfyUI's double blocks; each module casts and loads its weights itself."""

    def qkv(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = rearrange(block.txt_attn.qkv(x), "b c (k h d) -> k b h c d", k=3, h=block.num_heads)
        return *rotate(*block.txt_attn.norm(query, key, value)), value

    attention, mlp = (Modulation(one.shift, one.scale, one.gate) for one in modulations)
    return ModulatedBlock(
        attention, mlp, block.txt_norm1, block.txt_norm2, qkv, block.txt_attn.proj, block.txt_mlp
    )
