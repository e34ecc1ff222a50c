"""The concept stream: concept tokens that travel through the blocks beside the prompt, unseen by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

ConceptKeys = Literal["both", "image", "concepts", "none"]
CONCEPT_KEYS: tuple[ConceptKeys, ...] = ("both", "image", "concepts", "none")
"""What concepts attend to: concepts and image (the method), only one of them, or nothing (the paper's ablation)."""


@dataclass(frozen=True)
class Entry:
    """Concept tokens on their way into a block's attention.

    query, key, value: ``(B, H, C, d)`` each, normalised, and rotated to the concepts' own places.
    carry: what the way out needs of the block's input (a parallel MLP's half, an output gate), handed on as it is.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    carry: Any = None


class TextBlock(Protocol):
    """The text stream of one block, by the model's own modules: all that the core knows of a model family."""

    def enter(self, tokens: Tensor) -> Entry:
        """Residual stream ``(B, C, D)`` -> attention."""
        ...

    def leave(self, tokens: Tensor, entry: Entry, output: Tensor) -> Tensor:
        """Attention output ``(B, C, H*d)``, before its projection -> residual stream ``(B, C, D)`` after the block."""
        ...


@dataclass(frozen=True)
class Modulation:
    """Shift, scale and gate of one half of a block, each ``(B, 1, D)``."""

    shift: Tensor
    scale: Tensor
    gate: Tensor

    def __call__(self, tokens: Tensor) -> Tensor:
        return (1 + self.scale) * tokens + self.shift


@dataclass(frozen=True)
class ModulatedBlock:
    """A text stream of the usual form (adaptive layer norm: shift, scale, gate), as Flux's double blocks have it.

    attention, mlp_half: the modulations of the two halves; without the second the stream ends in this block.
    norm1, norm2: ``(B, C, D)`` -> ``(B, C, D)``, the norms before attention and MLP.
    qkv: ``(B, C, D)`` -> query, key, value ``(B, H, C, d)``, query and key normalised and rotated.
    proj, mlp: ``(B, C, H*d)`` or ``(B, C, D)`` -> ``(B, C, D)``, the attention's output projection and the MLP.
    """

    attention: Modulation
    mlp_half: Modulation | None
    norm1: Callable[[Tensor], Tensor]
    norm2: Callable[[Tensor], Tensor]
    qkv: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
    proj: Callable[[Tensor], Tensor]
    mlp: Callable[[Tensor], Tensor]

    def enter(self, tokens: Tensor) -> Entry:
        return Entry(*self.qkv(self.attention(self.norm1(tokens))))

    def leave(self, tokens: Tensor, entry: Entry, output: Tensor) -> Tensor:
        if self.mlp_half is None:
            return tokens
        tokens = tokens + self.attention.gate * self.proj(output)
        tokens = tokens + self.mlp_half.gate * self.mlp(self.mlp_half(self.norm2(tokens)))
        return clamp_half(tokens)


def clamp_half(tokens: Tensor) -> Tensor:
    """Text streams overflow in fp16, where their hosts clamp them in the same way. Any shape."""
    return tokens.nan_to_num(nan=0.0, posinf=65504, neginf=-65504) if tokens.dtype == torch.float16 else tokens


@dataclass(frozen=True)
class ConceptVectors:
    """What one block makes of the concepts, heads merged: each ``(B, C, D)``.

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
    text: TextBlock,
    tokens: Tensor,
    image_keys: Tensor,
    image_values: Tensor,
    attend_to: ConceptKeys = "both",
) -> ConceptVectors:
    """Send concept tokens through one block (the paper's section 4.1; ALGORITHM: "per double block").

    tokens: ``(B, C, D)``. image_keys: ``(B, H, N, d)`` with the block's rotary embedding applied; image_values:
    ``(B, H, N, d)``. attend_to: for the paper's ablation of the keys.

    Concepts attend to concepts and image patches and not to the prompt; only their C rows are computed.
    """
    entry = text.enter(tokens)
    output = concept_attention(entry.query, entry.key, entry.value, image_keys, image_values, attend_to)
    return ConceptVectors(merge_heads(entry.query), merge_heads(entry.value), output, text.leave(tokens, entry, output))
