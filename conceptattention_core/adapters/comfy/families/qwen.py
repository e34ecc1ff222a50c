"""Qwen-Image and its Edit models: double blocks, and text on the diagonal behind the picture's places."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from comfy.ldm.flux.math import apply_rope1
from comfy.model_base import BaseModel
from torch import Tensor

from ....concepts import Concepts
from ....stream import ModulatedBlock, Modulation
from ..call import Call
from ..pieces import TextEncoder, template_pieces
from .base import Family, Layout, is_a, pool_behind

Rotate = Callable[[Tensor], Tensor]


class QwenImage(Family):
    name = "Qwen-Image"
    models = "Qwen-Image, 2512, Edit, Edit 2509 and 2511"
    text = TextEncoder(("qwen25_7b",), "CLIPLoader with type 'qwen_image'", template_pieces, causal=True)
    # Nobody has said which of its 60 blocks are good.
    default_blocks = (0, -1)
    frames = True
    block_name = "Double block"
    vae = "Qwen-Image's VAE (Load VAE with qwen_image_vae.safetensors)"

    def owns(self, model: BaseModel, dit: Any) -> bool:
        return is_a(dit, "comfy.ldm.qwen_image.model.QwenImageTransformer2DModel")

    def depth(self, dit: Any) -> int:
        return len(dit.transformer_blocks)

    def context_width(self, dit: Any) -> int:
        return dit.txt_in.in_features

    def layout(self, call: Call, count: int) -> Layout:
        patch = self.patch(call.dit)
        references = [
            (one.shape[2] if one.ndim == 5 else 1) * math.ceil(one.shape[-2] / patch) * math.ceil(one.shape[-1] / patch)
            for one in call.references()
        ]
        return Layout(call.text_tokens, count, behind=sum(references))

    def tokens(self, call: Call, concepts: Concepts) -> Tensor:
        return pool_behind(concepts, call, lambda rows: call.dit.txt_in(call.dit.txt_norm(rows)))

    def stream(self, call: Call, concepts: Concepts) -> Callable[[int], ModulatedBlock]:
        dit, rotate = call.dit, self.own_places(call, concepts)
        # Where references stand at timestep zero, text keeps the picture's own.
        vec = dit.time_text_embed(call.timestep(), call.x[:0].to(call.dtype), call.cond("additional_t_cond"))
        return lambda index: text_stream(dit.transformer_blocks[index], vec, rotate)

    def own_places(self, call: Call, concepts: Concepts) -> Rotate:
        """Rotate each concept to the row of its own conditioning, counted on all axes from half the longer side on."""
        patch = self.patch(call.dit)
        start = max((side + patch // 2) // patch // 2 for side in call.x.shape[-2:])
        places = torch.tensor([float(start + one.position) for one in concepts.captions], device=call.device)
        pe = call.dit.pe_embedder(places[None, :, None].expand(-1, -1, 3)).to(call.dtype)  # the host rounds it, too
        return lambda x: apply_rope1(x, pe)

    def replaced_after(self, dit: Any, last_block: int) -> list[tuple[str, int]]:
        return [("double_block", index) for index in range(last_block + 1, self.depth(dit))]


def text_stream(block: Any, vec: Tensor, rotate: Rotate) -> ModulatedBlock:
    """Point at the text stream of one block. vec: ``(B, D)``."""
    attention = block.attn
    shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = block.txt_mod(vec)[:, None].chunk(6, dim=-1)

    def qkv(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = (
            project(x).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
            for project in (attention.add_q_proj, attention.add_k_proj, attention.add_v_proj)
        )
        query, key = attention.norm_added_q(query.contiguous()), attention.norm_added_k(key.contiguous())
        return rotate(query), rotate(key), value

    return ModulatedBlock(
        Modulation(shift, scale, gate),
        Modulation(mlp_shift, mlp_scale, mlp_gate),
        block.txt_norm1,
        block.txt_norm2,
        qkv,
        attention.to_add_out,
        block.txt_mlp,
    )
