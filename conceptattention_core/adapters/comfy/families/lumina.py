"""Z-Image and Lumina 2, by ComfyUI's NextDiT: one stream, the caption before the picture, both with places."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from comfy.ldm.flux.math import apply_rope
from comfy.model_base import BaseModel
from torch import Tensor

from ....concepts import Caption, Concepts
from ....stream import Entry, clamp_half
from ..call import Call
from ..pieces import TextEncoder, template_pieces
from .base import Family, Layout, is_a, pool_behind

MODULE = "comfy.ldm.lumina.model"


class NextDiTFamily(Family):
    """What both have in common. A caption's pieces pass an embedder and a refiner of their own before the layers."""

    whole_captions = True
    stops_early = False  # ComfyUI has no block replacements here
    vae = "FLUX.1's VAE (Load VAE with ae.safetensors)"

    def owns(self, model: BaseModel, dit: Any) -> bool:
        # Those of pixel space, and NewBie with its second text encoder, were never checked.
        return (
            is_a(dit, f"{MODULE}.NextDiT")
            and not is_a(dit, f"{MODULE}.NextDiTPixelSpace")
            and getattr(dit, "clip_text_pooled_proj", None) is None
        )

    def depth(self, dit: Any) -> int:
        return len(dit.layers)

    def context_width(self, dit: Any) -> int:
        return dit.cap_embedder[1].in_features

    def layout(self, call: Call, count: int) -> Layout:
        multiple = call.dit.pad_tokens_multiple or 1
        return Layout(call.text_tokens + -call.text_tokens % multiple, count, behind=-count % multiple)

    def tokens(self, call: Call, concepts: Concepts) -> Tensor:
        start = caption_start(call)

        def refine(caption: Tensor) -> Tensor:
            """Captions of their own, ``(n, T, width)``, padded and refined as the prompt's: ``(n, T or more, D)``."""
            (rows,), (rope,), _ = call.dit.embed_cap(caption, start, len(caption), call.device, call.dtype)
            for layer in call.dit.context_refiner:
                rows = layer(rows, None, rope)
            return rows

        return pool_behind(concepts, call, refine)

    def stream(self, call: Call, concepts: Concepts) -> Callable[[int], NextDiTBlock]:
        time = call.dit.t_embedder((1.0 - call.timestep()) * call.dit.time_scale, dtype=call.dtype)
        start = caption_start(call)
        ids = torch.zeros(1, len(concepts.captions), 3, device=call.device)
        ids[0, :, 0] = torch.tensor([place(one) + start for one in concepts.captions], device=call.device)
        rope = call.dit.rope_embedder(ids)
        return lambda index: NextDiTBlock.of(call.dit.layers[index], time, rope)


class ZImage(NextDiTFamily):
    name = "Z-Image"
    models = "Turbo, Base"
    text = TextEncoder(("qwen3_4b",), "CLIPLoader with type 'lumina2' and qwen_3_4b", template_pieces, causal=True)
    # FreeFuse (arXiv 2510.23515) reads layer 18 of 30, and divides by 4000.
    default_blocks = (14, 22)
    temperature = 4000.0

    def owns(self, model: BaseModel, dit: Any) -> bool:
        return super().owns(model, dit) and dit.pad_tokens_multiple is not None


class Lumina2(NextDiTFamily):
    name = "Lumina 2"
    models = "Lumina Image 2.0, NetaYume"
    text = TextEncoder(("gemma2_2b",), "CLIPLoader with type 'lumina2' and gemma_2_2b", template_pieces, causal=True)

    def owns(self, model: BaseModel, dit: Any) -> bool:
        return super().owns(model, dit) and dit.pad_tokens_multiple is None


def place(caption: Caption) -> float:
    """Where a concept stands on the text's axis, which begins at 1."""
    return caption.position + 1.0


def caption_start(call: Call) -> int:
    """How far reference pictures (Z-Image Omni) shift the prompt's caption on the text's axis."""
    start, contexts, looks = 0, call.conds.get("ref_contexts") or [], call.conds.get("siglip_feats") or []
    for index, reference in enumerate(call.references()):
        context = contexts[index] if index < len(contexts) else None
        look = looks[index] if index < len(looks) else None
        given = (None if one is None else one.to(call.device, call.dtype) for one in (reference, context, look))
        start = call.dit.embed_all(*given, offset=start, omni=True)[2]
    return start


@dataclass(frozen=True)
class NextDiTBlock:
    """One layer: scale before, norm and tanh gate behind attention and MLP; no shift.

    scale, gate, mlp_scale, mlp_gate: ``(B, 1, D)``, the gates behind their tanh. rope: ``(1, 1, C, d/2, 2, 2)``.
    """

    layer: Any
    scale: Tensor
    gate: Tensor
    mlp_scale: Tensor
    mlp_gate: Tensor
    rope: Tensor

    @classmethod
    def of(cls, layer: Any, time: Tensor, rope: Tensor) -> NextDiTBlock:
        """time: the timestep's embedding, ``(B, width)``."""
        scale, gate, mlp_scale, mlp_gate = layer.adaLN_modulation(time)[:, None].chunk(4, dim=-1)
        return cls(layer, scale, gate.tanh(), mlp_scale, mlp_gate.tanh(), rope)

    def enter(self, tokens: Tensor) -> Entry:
        attention = self.layer.attention
        heads, shared = attention.n_local_heads, attention.n_local_kv_heads
        parts = attention.qkv((1 + self.scale) * self.layer.attention_norm1(tokens))
        parts = parts.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
        query, key, value = parts.split([heads, shared, shared], dim=1)
        query, key = attention.q_norm(query), attention.k_norm(key)
        key, value = (one.repeat_interleave(heads // shared, dim=1) for one in (key, value))
        query, key = apply_rope(query, key, self.rope)
        return Entry(query, key, value)

    def leave(self, tokens: Tensor, entry: Entry, output: Tensor) -> Tensor:
        layer = self.layer
        tokens = tokens + self.gate * layer.attention_norm2(clamp_half(layer.attention.out(output)))
        hidden = layer.feed_forward((1 + self.mlp_scale) * layer.ffn_norm1(tokens))
        return tokens + self.mlp_gate * layer.ffn_norm2(clamp_half(hidden))
