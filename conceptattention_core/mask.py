"""Masks: from a concept's share of the softmax to 0..1 with an exact floor and an exact core."""

from __future__ import annotations

from torch import Tensor


def ramp_mask(share: Tensor, threshold: float, softness: float) -> Tensor:
    """A linear ramp of width `softness` centred at `threshold`: exactly 0 below it, exactly 1 above it.

    share: any shape, 0..1. softness 0 cuts hard: 1 where the share reaches the threshold. Returns float32, same shape.
    """
    if softness == 0:
        return (share >= threshold).float()
    return ((share - threshold) / softness + 0.5).clamp(0, 1).contiguous()
