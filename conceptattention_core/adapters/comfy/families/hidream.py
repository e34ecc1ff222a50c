"""HiDream I1 and E1: the picture before the text, T5's rows beside Llama's, text without places."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from comfy.model_base import BaseModel
from einops import rearrange
from torch import Tensor

from ....concepts import Concepts
from ....stream import ModulatedBlock, Modulation
from ..call import Call
from ..pieces import TextEncoder, t5_pieces
from .base import Family, Layout, is_a, placed


class HiDream(Family):
    name = "HiDream I1"
    models = "I1 full, dev and fast, E1"
    text = TextEncoder(
        ("t5xxl",),
        "QuadrupleCLIPLoader with a CLIP-L, a CLIP-G, a T5-XXL and a Llama 3.1 8B file",
        t5_pieces,
        beside=frozenset({"l", "g", "llama"}),
        alone=True,
    )
    stops_early = False  # ComfyUI has no block replacements here
    block_name = "Double block"
    vae = "FLUX.1's VAE (Load VAE with ae.safetensors)"

    def owns(self, model: BaseModel, dit: Any) -> bool:
        return is_a(dit, "comfy.ldm.hidream.model.HiDreamImageTransformer2DModel")

    def encoder(self, clip: Any) -> TextEncoder:
        """Raises ValueError where T5 is missing: the model works without it, on zeros in the place of T5's rows."""
        loaded = clip.cond_stage_model
        if getattr(loaded, "t5xxl", loaded) is None:
            raise ValueError(
                f"{self.name}'s concepts are read by T5-XXL, and this CLIP was loaded without it. Load it with "
                f"{self.text.hint}."
            )
        return self.text

    def depth(self, dit: Any) -> int:
        return len(dit.double_stream_blocks)

    def context_width(self, dit: Any) -> int:
        return dit.caption_projection[-1].linear.in_features

    def pooled_width(self, dit: Any) -> int:
        return dit.p_embedder.pooled_embedder.linear_1.in_features

    def layout(self, call: Call, count: int) -> Layout:
        # T5's rows, Llama's last layer, and the layer that belongs to the block.
        text = call.text_tokens + 2 * call.conds["encoder_hidden_states_llama3"].shape[2]
        calls = self.depth(call.dit) + len(call.dit.single_stream_blocks)
        source = call.conds.get("image_cond")
        if source is None:
            return Layout(text, count, first=True, calls=calls)
        # E1's source picture stands beside the noised one, so that each row of tokens holds a row of both.
        patch = self.patch(call.dit)
        own = math.ceil(call.x.shape[-1] / patch)
        both = math.ceil((call.x.shape[-1] + source.shape[-1]) / patch)
        places = torch.arange(count // own * both, device=call.device)
        places = rearrange(places, "(h w) -> h w", w=both)[:, :own].flatten()
        return Layout(text, count, first=True, behind=count // own * (both - own), calls=calls, own=places)

    def tokens(self, call: Call, concepts: Concepts) -> Tensor:
        # Pooling before a linear layer is the same as behind it.
        return call.dit.caption_projection[-1](placed(concepts.embeddings, call))

    def stream(self, call: Call, concepts: Concepts) -> Callable[[int], ModulatedBlock]:
        """Concepts have the prompt's time, and zero for its pooled text. They never meet Llama's rows: prompt."""
        vec = call.dit.t_embedder(call.timestep(), call.dtype)
        vec = vec + call.dit.p_embedder(vec.new_zeros(len(vec), self.pooled_width(call.dit)))
        return lambda index: text_stream(call.dit.double_stream_blocks[index].block, vec)


def text_stream(block: Any, vec: Tensor) -> ModulatedBlock:
    """The text stream of one of the double blocks. vec: time and pooled text, ``(B, D)``.

    Query and key are normalised over all heads at once.
    """

    def qkv(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        attn = block.attn1
        parts = attn.q_rms_norm_t(attn.to_q_t(x)), attn.k_rms_norm_t(attn.to_k_t(x)), attn.to_v_t(x)
        query, key, value = (rearrange(part, "b c (h d) -> b h c d", h=attn.heads) for part in parts)
        return query, key, value

    # The picture's six come first.
    text = block.adaLN_modulation(vec)[:, None].chunk(12, dim=-1)[6:]
    attention, mlp = Modulation(*text[:3]), Modulation(*text[3:])
    return ModulatedBlock(attention, mlp, block.norm1_t, block.norm3_t, qkv, block.attn1.to_out_t, block.ff_t)
