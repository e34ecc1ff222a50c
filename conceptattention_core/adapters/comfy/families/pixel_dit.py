"""PixelDiT: double blocks over patches of pixels, without a VAE; text with learnt and with rotary places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from comfy.ldm.flux.math import apply_rope, rope
from comfy.model_base import BaseModel
from einops import rearrange
from torch import Tensor
from torch.nn.functional import silu

from ....concepts import Caption, Concepts, pool_tokens
from ....stream import ModulatedBlock, Modulation
from ..call import Call
from ..pieces import TextEncoder, template_pieces
from .base import Family, Layout, is_a


class PixelDiT(Family):
    name = "PixelDiT"
    models = "PixelDiT text to image"
    text = TextEncoder(("gemma2_2b",), "CLIPLoader with type 'pixeldit'", template_pieces, causal=True)
    default_blocks = (0, -1)
    stops_early = False  # ComfyUI has no block replacements here
    block_name = "Patch block"
    vae = "the VAE named pixel_space (Load VAE)"

    def owns(self, model: BaseModel, dit: Any) -> bool:
        # PiD, which is built on it, restores pictures and was never checked.
        known = is_a(model, "comfy.model_base.PixelDiTT2I") and not is_a(model, "comfy.model_base.PiD")
        return known and is_a(dit, "comfy.ldm.pixeldit.model.PixDiT_T2I")

    def depth(self, dit: Any) -> int:
        return len(dit.patch_blocks)

    def context_width(self, dit: Any) -> int:
        return dit.txt_embed_dim

    def layout(self, call: Call, count: int) -> Layout:
        # The pixel blocks' attention sees the picture alone: its sequence is shorter, and not counted.
        return Layout(min(call.text_tokens, call.dit.txt_max_length), count, calls=self.depth(call.dit))

    def tokens(self, call: Call, concepts: Concepts) -> Tensor:
        dit = call.dit
        learnt = dit.y_pos_embedding.to(device=call.device, dtype=call.dtype)[0]

        def one(caption: Caption) -> Tensor:
            """``(D,)``: own rows, each at its place in its own conditioning, then pooled."""
            rows = dit.y_embedder(caption.tokens[None].to(device=call.device, dtype=call.dtype))[0]
            begin = caption.position - caption.own[0]
            places = torch.arange(begin, begin + len(rows), device=call.device).clamp(0, len(learnt) - 1)
            return pool_tokens(rows + learnt[places], caption.own, concepts.pooling).to(call.dtype)

        return torch.stack([one(caption) for caption in concepts.captions])[None]

    def stream(self, call: Call, concepts: Concepts) -> Callable[[int], ModulatedBlock]:
        dit = call.dit
        condition = silu(dit.t_embedder(call.timestep().view(-1), call.dtype))[:, None]
        places = torch.tensor([[float(one.position) for one in concepts.captions]], device=call.device)
        turn = rope(places, dit.hidden_size // dit.num_groups, dit.text_rope_theta).to(call.dtype)[:, None]
        return lambda index: text_stream(dit.patch_blocks[index], condition, turn if dit.use_text_rope else None)


def text_stream(block: Any, condition: Tensor, turn: Tensor | None) -> ModulatedBlock:
    """Point at the text stream of one block. condition: ``(B, 1, D)``; turn: ``(1, 1, C, d/2, 2, 2)``."""
    attention = block.attn
    shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = block.adaLN_modulation_txt(condition).chunk(6, dim=-1)

    def qkv(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = rearrange(attention.qkv_y(x), "b c (k h d) -> k b h c d", k=3, h=attention.num_heads)
        query, key = attention.q_norm_y(query), attention.k_norm_y(key)
        return *((query, key) if turn is None else apply_rope(query, key, turn)), value

    return ModulatedBlock(
        Modulation(shift, scale, gate),
        Modulation(mlp_shift, mlp_scale, mlp_gate),
        block.norm_y1,
        block.norm_y2,
        qkv,
        attention.proj_y,
        block.mlp_y,
    )
