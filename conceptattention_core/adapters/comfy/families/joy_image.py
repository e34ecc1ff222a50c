"""JoyImage: double blocks with the picture first, a learnt table beside the timestep, and text without places."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from comfy.model_base import BaseModel
from einops import rearrange
from torch import Tensor

from ....concepts import Concepts
from ....stream import ModulatedBlock, Modulation
from ..call import Call
from ..pieces import TextEncoder, template_pieces
from .base import Family, Layout, is_a, pool_behind


class JoyImage(Family):
    name = "JoyImage"
    models = "JoyImage Edit, with reference pictures"
    text = TextEncoder(("qwen3vl_8b",), "CLIPLoader with type 'joyimage'", template_pieces, causal=True)
    frames = True
    block_name = "Double block"
    vae = "JoyImage's VAE, which is Wan 2.1's"

    def owns(self, model: BaseModel, dit: Any) -> bool:
        return is_a(dit, "comfy.ldm.joyimage.model.JoyImageTransformer3DModel")

    def depth(self, dit: Any) -> int:
        return len(dit.double_blocks)

    def patch(self, dit: Any) -> int:
        return dit.patch_size[-1]

    def context_width(self, dit: Any) -> int:
        return dit.condition_embedder.text_embedder.linear_1.in_features

    def layout(self, call: Call, count: int) -> Layout:
        references = [
            math.prod(math.ceil(side / part) for side, part in zip(one.shape[-3:], call.dit.patch_size, strict=True))
            for one in call.references()
        ]
        return Layout(call.text_tokens, count, first=True, behind=sum(references))

    def tokens(self, call: Call, concepts: Concepts) -> Tensor:
        return pool_behind(concepts, call, call.dit.condition_embedder.text_embedder)

    def stream(self, call: Call, concepts: Concepts) -> Callable[[int], ModulatedBlock]:
        embedder = call.dit.condition_embedder
        time = embedder.time_embedder(embedder.timesteps_proj(call.timestep()).to(call.dtype))
        six = embedder.time_proj(embedder.act_fn(time)).unflatten(1, (6, -1))
        return lambda index: text_stream(call.dit.double_blocks[index], six)

    def replaced_after(self, dit: Any, last_block: int) -> list[tuple[str, int]]:
        return [("double_block", index) for index in range(last_block + 1, self.depth(dit))]


def text_stream(block: Any, six: Tensor) -> ModulatedBlock:
    """Point at the text stream of one block. six: ``(B, 6, D)``, to which each block adds its own table."""
    attention = block.attn
    shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = (part[:, None] for part in block.txt_mod(six))

    def qkv(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        heads = attention.num_attention_heads
        query, key, value = rearrange(attention.txt_attn_qkv(x), "b c (k h d) -> k b h c d", k=3, h=heads)
        return attention.txt_attn_q_norm(query), attention.txt_attn_k_norm(key), value

    return ModulatedBlock(
        Modulation(shift, scale, gate),
        Modulation(mlp_shift, mlp_scale, mlp_gate),
        block.txt_norm1,
        block.txt_norm2,
        qkv,
        attention.txt_attn_proj,
        block.txt_mlp,
    )
