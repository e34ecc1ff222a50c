"""What several families' text streams and pictures have in common: heads, places, and the usual form of a block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from ....stream import ModulatedBlock, Modulation


def by_heads(part: Tensor, heads: int) -> Tensor:
    """``(B, N, H*d)`` -> ``(B, H, N, d)``."""
    return rearrange(part, "b n (h d) -> b h n d", h=heads)


def pack(latent: Tensor) -> Tensor:
    """``(B, channels, 2 h, 2 w)`` -> tokens ``(B, h * w, 4 channels)``, each a patch of 2 x 2."""
    return rearrange(latent, "b c (h p) (w q) -> b (h w) (c p q)", p=2, q=2)


def all_heads(part: Tensor, heads: int) -> Tensor:
    """Where several query heads share a key head, each gets its own: ``(B, g, N, d)`` -> ``(B, heads, N, d)``."""
    return part if part.shape[1] == heads else part.repeat_interleave(heads // part.shape[1], dim=1)


Rotate = Callable[[Tensor], Tensor]
"""Query or key, ``(B, H, N, d)``, to their places."""


def unmoved(x: Tensor) -> Tensor:
    """Text without places."""
    return x


def rotation_of_pairs(turn: Tensor) -> Rotate:
    """Neighbouring channels, turned. turn: complex ``(N, d / 2)`` or ``(B, 1, N, d / 2)``."""

    def rotate(x: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * turn).flatten(-2).to(x.dtype)

    return rotate


def text_stream(
    attention: Any,
    modulations: tuple[Modulation, Modulation | None],
    norms: tuple[Any, Any],
    mlp: Any,
    fused: bool,
    normalised: bool = True,
    rotate: Rotate = unmoved,
) -> ModulatedBlock:
    """Point at the text stream of one of diffusers' joint blocks, by its own modules, whatever wraps them.

    modulations: of the attention and of the MLP, if the stream goes on behind it. norms: in front of both.
    fused: query, key and value come from one linear layer. normalised: query and key are.
    """

    def qkv(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if fused:
            parts = attention.to_added_qkv(x).chunk(3, dim=-1)
        else:
            parts = (attention.add_q_proj(x), attention.add_k_proj(x), attention.add_v_proj(x))
        query, key, value = (by_heads(part, attention.heads) for part in parts)
        if normalised:
            query, key = attention.norm_added_q(query), attention.norm_added_k(key)
        return rotate(query), rotate(key), value

    return ModulatedBlock(*modulations, norms[0], norms[1], qkv, attention.to_add_out, mlp)


def halves(parts: Sequence[Tensor]) -> tuple[Modulation, Modulation]:
    """Shift, scale and gate of attention and MLP, each ``(B, 1, D)``."""
    return Modulation(*parts[:3]), Modulation(*parts[3:])


@dataclass(frozen=True)
class GatedLayer:
    """A layer of Lumina's kind: scale before, norm and tanh gate behind attention and MLP; no shift.

    scale, gate, mlp_scale, mlp_gate: ``(B, 1, D)``, the gates behind their tanh. The picture goes through the same
    modules, which are therefore called by their `forward`, past the hooks.
    """

    layer: Any
    scale: Tensor
    gate: Tensor
    mlp_scale: Tensor
    mlp_gate: Tensor
    rotate: Rotate
