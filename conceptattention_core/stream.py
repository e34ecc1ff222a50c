"""The concept stream: concept tokens that travel through the double blocks beside the prompt, unseen by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

ConceptKeys = Literal["both", "image", "concepts", "none"]
CONCEPT_KEYS: tuple[ConceptKeys, ...] = ("both", "image", "concepts", "none")
"""What concepts attend to: concepts and image (the method), only one of them, or nothing (the paper's ablation)."""


@dataclass(frozen=True)
class Modulation:
    """Shift, scale and gate of one half of a block, each ``(B, 1, D)``."""

    shift: Tensor
    scale: Tensor
    gate: Tensor


@dataclass(frozen=True)
class TextStream:
    """The text stream of one double block, by its own modules: what an adapter has to point at.

    modulation: vector ``(B, D)`` -> the modulations of the attention half and of the MLP half.
    norm1, norm2: ``(B, C, D)`` -> ``(B, C, D)``, the layer norms before attention and MLP.
    qkv: ``(B, C, D)`` -> query, key, value ``(B, H, C, d)``, query and key RMS-normalised.
    proj, mlp: ``(B, C, D)`` -> ``(B, C, D)``, the attention's output projection and the MLP.
    """

    modulation: Callable[[Tensor], tuple[Modulation, Modulation]]
    norm1: Callable[[Tensor], Tensor]
    norm2: Callable[[Tensor], Tensor]
    qkv: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
    proj: Callable[[Tensor], Tensor]
    mlp: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ConceptVectors:
    """What one double block makes of the concepts, heads merged: each ``(B, C, D)``.

    output is ``o_c``, the attention output before the output projection; tokens is the residual stream after the block.
    """

    query: Tensor
    value: Tensor
    output: Tensor
    tokens: Tensor


def merge_heads(x: Tensor) -> Tensor:
    """``(B, H, N, d)`` -> ``(B, N, H*d)``."""
    return rearrange(x, "b h n d -> b n (h d)")


def concept_attention(
    query: Tensor, key: Tensor, value: Tensor, image_keys: Tensor, image_values: Tensor, attend_to: ConceptKeys
) -> Tensor:
    """The concepts' attention output ``o_c``, heads merged: ``(B, C, D)``.

    query, key, value: the concepts' own, ``(B, H, C, d)``; image_keys, image_values: ``(B, H, N, d)``.
    attend_to: ``none`` hands the concepts' own values on, as if each of them saw nothing but itself.
    """
    if attend_to == "none":
        return merge_heads(value)
    if attend_to == "both":
        key, value = torch.cat((key, image_keys), dim=2), torch.cat((value, image_values), dim=2)
    elif attend_to == "image":
        key, value = image_keys, image_values
    return merge_heads(scaled_dot_product_attention(query, key, value))


def concept_block(
    text: TextStream,
    tokens: Tensor,
    vec: Tensor,
    image_keys: Tensor,
    image_values: Tensor,
    attend_to: ConceptKeys = "both",
) -> ConceptVectors:
    """Send concept tokens through one double block (the paper's section 4.1; ALGORITHM: "per double block").

    tokens: ``(B, C, D)``; vec: ``(B, D)``, the modulation vector with a zero pooled text vector.
    image_keys: ``(B, H, N, d)`` with the block's rotary embedding applied (the concepts' own is the identity, all their
    position ids being 0); image_values: ``(B, H, N, d)``. attend_to: for the paper's ablation of the keys.

    Concepts attend to concepts and image patches and not to the prompt; only their C rows are computed.
    """
    attention_mod, mlp_mod = text.modulation(vec)
    query, key, value = text.qkv((1 + attention_mod.scale) * text.norm1(tokens) + attention_mod.shift)
    output = concept_attention(query, key, value, image_keys, image_values, attend_to)
    tokens = tokens + attention_mod.gate * text.proj(output)
    tokens = tokens + mlp_mod.gate * text.mlp((1 + mlp_mod.scale) * text.norm2(tokens) + mlp_mod.shift)
    if tokens.dtype == torch.float16:  # Flux's text stream overflows in fp16, and its hosts clamp it in the same way
        tokens = tokens.nan_to_num(nan=0.0, posinf=65504, neginf=-65504)
    return ConceptVectors(merge_heads(query), merge_heads(value), output, tokens)
