"""Boogu: double blocks with tanh gates, whose MLP reads the block's input; fewer key heads; a refiner for captions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from comfy.ldm.flux.math import apply_rope
from comfy.model_base import BaseModel
from torch import Tensor

from ....concepts import Concepts
from ....stream import Entry
from ..call import Call
from ..pieces import TextEncoder, template_pieces
from .base import Family, Layout, is_a, pool_behind
from .flux import VAE, reference_tokens


class Boogu(Family):
    name = "Boogu"
    models = "Boogu Image, with reference pictures"
    text = TextEncoder(("qwen3vl_8b",), "CLIPLoader with type 'boogu'", template_pieces, causal=True)
    whole_captions = True
    default_blocks = (0, -1)
    stops_early = False  # ComfyUI has no block replacements here
    block_name = "Double block"
    vae = VAE

    def owns(self, model: BaseModel, dit: Any) -> bool:
        return is_a(dit, "comfy.ldm.boogu.model.BooguTransformer2DModel")

    def depth(self, dit: Any) -> int:
        return len(dit.double_stream_layers)

    def context_width(self, dit: Any) -> int:
        return dit.time_caption_embed.caption_embedder[1].in_features

    def layout(self, call: Call, count: int) -> Layout:
        # Each double block also has the pictures look at themselves: without the text, so not counted.
        calls = self.depth(call.dit) + len(call.dit.single_stream_layers)
        references = reference_tokens(call, self.patch(call.dit))
        return Layout(call.text_tokens, count, before=references, calls=calls)

    def tokens(self, call: Call, concepts: Concepts) -> Tensor:
        dit = call.dit

        def refine(caption: Tensor) -> Tensor:
            """Captions of their own, ``(n, T, width)``, through the refiner: ``(n, T, D)``."""
            rows = dit.time_caption_embed.caption_embedder(caption)
            places = rotation(call, torch.arange(rows.shape[1], device=call.device)).movedim(1, 2)
            for layer in dit.context_refiner:
                rows = layer(rows, None, places)
            return rows

        return pool_behind(concepts, call, refine)

    def stream(self, call: Call, concepts: Concepts) -> Callable[[int], BooguBlock]:
        embedder = call.dit.time_caption_embed
        time = embedder.timestep_embedder(embedder.time_proj(1.0 - call.timestep()).to(call.dtype))
        rope = rotation(call, torch.tensor([one.position for one in concepts.captions], device=call.device))
        return lambda index: BooguBlock(call.dit.double_stream_layers[index], time, rope)


def rotation(call: Call, places: Tensor) -> Tensor:
    """The rotary embedding of text, which has the same place on all three axes: ``(1, 1, T, d/2, 2, 2)``."""
    return call.dit.rope_embedder.rope_embedder(places[None, :, None].expand(-1, -1, 3))


@dataclass(frozen=True)
class BooguBlock:
    """The text stream of one double block. time: ``(B, width)``; rope: ``(1, 1, C, d/2, 2, 2)``."""

    block: Any
    time: Tensor
    rope: Tensor

    def enter(self, tokens: Tensor) -> Entry:
        block, joint = self.block, self.block.img_instruct_attn
        x, gate, mlp_scale, mlp_gate = block.instruct_norm1(tokens, self.time)
        mlp, mlp_shift, _, _ = block.instruct_norm2(tokens, self.time)
        query, key, value = (
            project(x).unflatten(-1, (-1, joint.dim_head)).transpose(1, 2)
            for project in (joint.processor.instruct_to_q, joint.processor.instruct_to_k, joint.processor.instruct_to_v)
        )
        query, key = apply_rope(joint.norm_q(query), joint.norm_k(key), self.rope)
        key, value = (one.repeat_interleave(joint.heads // joint.kv_heads, dim=1) for one in (key, value))
        mlp = (1 + mlp_scale[:, None]) * mlp + mlp_shift[:, None]
        return Entry(query, key, value, carry=(gate[:, None].tanh(), mlp, mlp_gate[:, None].tanh()))

    def leave(self, tokens: Tensor, entry: Entry, output: Tensor) -> Tensor:
        block, joint = self.block, self.block.img_instruct_attn
        gate, mlp, mlp_gate = entry.carry
        tokens = tokens + gate * block.instruct_attn_norm(joint.to_out[0](joint.processor.instruct_out(output)))
        hidden = block.instruct_feed_forward(block.instruct_ffn_norm1(mlp))
        return tokens + mlp_gate * block.instruct_ffn_norm2(hidden)
