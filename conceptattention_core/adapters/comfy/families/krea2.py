"""Krea 2: one stream, the prompt before the picture, an output gate from the block's input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from comfy.ldm.flux.layers import timestep_embedding
from comfy.model_base import BaseModel
from einops import rearrange
from torch import Tensor

from ....concepts import Concepts
from ....stream import Entry
from ..call import Call
from ..pieces import TextEncoder, template_pieces
from .base import Family, Layout, is_a, pool_behind
from .flux import reference_tokens


class Krea2(Family):
    name = "Krea 2"
    models = "Krea 2, Turbo, with reference pictures"
    text = TextEncoder(("qwen3vl_4b",), "CLIPLoader with type 'krea2'", template_pieces, causal=True)
    # What the first public pack for it reads (rockerBOO's): the last four blocks, and a temperature of 1000.
    default_blocks = (-4, -1)
    temperature = 1000.0
    whole_captions = True
    frames = True
    stops_early = False  # ComfyUI has no block replacements here
    vae = "Krea 2's VAE, which is Qwen-Image's (Load VAE with qwen_image_vae.safetensors)"

    def owns(self, model: BaseModel, dit: Any) -> bool:
        return is_a(dit, "comfy.ldm.krea2.model.SingleStreamDiT")

    def depth(self, dit: Any) -> int:
        return len(dit.blocks)

    def patch(self, dit: Any) -> int:
        return dit.patch

    def context_width(self, dit: Any) -> int:
        return dit.txtlayers * dit.txtdim

    def layout(self, call: Call, count: int) -> Layout:
        # Without a method, which some of its checkpoints lack, the model leaves references out.
        method = call.conds.get("ref_latents_method", call.dit.default_ref_method)
        behind = 0 if method is None else reference_tokens(call, self.patch(call.dit))
        return Layout(call.text_tokens, count, behind=behind)

    def named_block(self, dit: Any, options: dict[str, Any]) -> int | None:
        return options.get("block_index") if options.get("block_type") == "single" else None

    def tokens(self, call: Call, concepts: Concepts) -> Tensor:
        dit = call.dit

        def fuse(caption: Tensor) -> Tensor:
            """Captions of their own, ``(n, T, layers * width)``, through the fusion of the encoder's layers."""
            layers = rearrange(caption, "b t (l d) -> b t l d", l=dit.txtlayers)
            return dit.txtmlp(dit.txtfusion(layers, mask=None, transformer_options={}))

        return pool_behind(concepts, call, fuse)

    def stream(self, call: Call, concepts: Concepts) -> Callable[[int], Krea2Block]:
        dit = call.dit
        time = timestep_embedding(call.timestep(), dit.tdim)[:, None].to(call.dtype)
        vec = dit.tproj(dit.tmlp(time))
        return lambda index: Krea2Block(dit.blocks[index], dit.blocks[index].mod(vec))


@dataclass(frozen=True)
class Krea2Block:
    """One block. Text stands at (0, 0, 0), where the rotary embedding is the identity.

    modulations: scale, shift and gate of attention and of MLP, ``(B, 1, D)`` each.
    """

    block: Any
    modulations: tuple[Tensor, ...]

    def enter(self, tokens: Tensor) -> Entry:
        scale, shift, *_ = self.modulations
        attention = self.block.attn
        x = (1 + scale) * self.block.prenorm(tokens) + shift
        query, key, value = (
            rearrange(one(x), "b c (h d) -> b h c d", d=attention.headdim)
            for one in (attention.wq, attention.wk, attention.wv)
        )
        query, key = attention.qknorm(query, key)
        shared = attention.heads // attention.kvheads
        key, value = (one.repeat_interleave(shared, dim=1) for one in (key, value))
        return Entry(query, key, value, carry=attention.gate(x).sigmoid())

    def leave(self, tokens: Tensor, entry: Entry, output: Tensor) -> Tensor:
        _, _, gate, mlp_scale, mlp_shift, mlp_gate = self.modulations
        tokens = tokens + gate * self.block.attn.wo(output * entry.carry)
        return tokens + mlp_gate * self.block.mlp((1 + mlp_scale) * self.block.postnorm(tokens) + mlp_shift)
