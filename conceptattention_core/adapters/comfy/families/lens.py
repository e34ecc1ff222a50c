"""Lens: double blocks with the picture first, and captions that stack several layers of their encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from comfy.ldm.flux.math import apply_rope
from comfy.model_base import BaseModel
from einops import rearrange
from torch import Tensor

from ....concepts import Concepts
from ....stream import ModulatedBlock, Modulation
from ..call import Call
from ..pieces import TextEncoder, template_pieces
from .base import Family, Layout, is_a, pool_behind


class Lens(Family):
    name = "Lens"
    models = "Lens"
    text = TextEncoder(("gpt_oss",), "CLIPLoader with type 'lens'", template_pieces, causal=True, escape=False)
    # Nobody has said which of its 48 blocks are good.
    default_blocks = (0, -1)
    block_name = "Double block"
    vae = "FLUX.2's VAE (Load VAE with flux2-vae.safetensors)"

    def owns(self, model: BaseModel, dit: Any) -> bool:
        return is_a(dit, "comfy.ldm.lens.model.LensTransformer2DModel")

    def depth(self, dit: Any) -> int:
        return len(dit.transformer_blocks)

    def patch(self, dit: Any) -> int:
        return 1  # its `patch_size` is that of the pixels behind the latent's cells

    def context_width(self, dit: Any) -> int:
        return dit.txt_in.in_features

    def layout(self, call: Call, count: int) -> Layout:
        return Layout(call.text_tokens, count, first=True)

    def tokens(self, call: Call, concepts: Concepts) -> Tensor:
        dit = call.dit
        norms = dit.txt_norm if dit.multi_layer_encoder_feature else [dit.txt_norm]

        def path(rows: Tensor) -> Tensor:
            """``(n, T, layers * width)``: each layer has a norm of its own."""
            layers = rows.chunk(len(norms), dim=-1)
            return dit.txt_in(torch.cat([norm(one) for norm, one in zip(norms, layers, strict=True)], dim=-1))

        return pool_behind(concepts, call, path)

    def stream(self, call: Call, concepts: Concepts) -> Callable[[int], ModulatedBlock]:
        dit = call.dit
        vec = dit.time_text_embed(call.timestep().to(call.dtype), call.x[:0].to(call.dtype))
        # On all three axes text begins behind half of the picture's longer side.
        start = max(side // 2 for side in call.x.shape[-2:])
        places = torch.tensor([float(start + one.position) for one in concepts.captions], device=call.device)
        rope = dit.pos_embed(places[None, :, None].expand(-1, -1, 3))
        return lambda index: text_stream(dit.transformer_blocks[index], vec, rope)

    def replaced_after(self, dit: Any, last_block: int) -> list[tuple[str, int]]:
        return [("double_block", index) for index in range(last_block + 1, self.depth(dit))]


def text_stream(block: Any, vec: Tensor, rope: Tensor) -> ModulatedBlock:
    """Point at the text stream of one block. vec: ``(B, D)``; rope: ``(1, 1, C, d/2, 2, 2)``."""
    attention = block.attn
    shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = block.txt_mod(vec)[:, None].chunk(6, dim=-1)

    def qkv(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = rearrange(attention.txt_qkv(x), "b c (k h d) -> k b h c d", k=3, h=attention.heads)
        return *apply_rope(attention.norm_added_q(query), attention.norm_added_k(key), rope), value

    return ModulatedBlock(
        Modulation(shift, scale, gate),
        Modulation(mlp_shift, mlp_scale, mlp_gate),
        block.txt_norm1,
        block.txt_norm2,
        qkv,
        attention.to_add_out,
        block.txt_mlp,
    )
