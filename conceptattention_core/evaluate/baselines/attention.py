"""Relevance from a vision transformer's attention: published formulas, on plain tensors.

T tokens: the class token first, the patches last, in rows; registers, if any, between them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor


def rollout(attentions: Sequence[Tensor]) -> Tensor:
    """Attention rollout (Abnar and Zuidema 2020, section 3): how much of each token reaches each other one.

    attentions: ``(heads, T, T)`` of each layer, rows sum to 1. Each layer counts as half its heads' mean and half the
    identity, for the residual; the layers are multiplied. Returns ``(T, T)``, rows sum to 1.
    """
    reached = identity = torch.eye(attentions[0].shape[-1], device=attentions[0].device)
    for attention in attentions:
        reached = (attention.mean(dim=0) + identity) / 2 @ reached
    return reached


def gradcam(attention: Tensor, gradient: Tensor, grid: int) -> Tensor:
    """Grad-CAM with the heads of one layer as its feature maps (the baseline of Chefer et al., CVPR 2021, section 4).

    attention, gradient: ``(heads, T, T)``, and the answer's gradient by it. What each head's class token sees of the
    patches is weighted with its mean gradient; mean over heads. ``(grid, grid)``, signed: before the ReLU.
    """
    weights = patches(gradient, grid).mean(dim=(1, 2))
    return torch.einsum("a, a h w -> h w", weights, patches(attention, grid)) / len(attention)


def relevance(attentions: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """Generic attention explainability (Chefer et al., ICCV 2021, equations 5 and 6, self-attention).

    attentions, gradients: ``(heads, T, T)`` of each layer, the attention and the answer's gradient by it. The positive
    parts of their products, mean over heads, are gathered through the layers: R = R + A R. Returns R ``(T, T)``.
    """
    gathered = torch.eye(attentions[0].shape[-1], device=attentions[0].device)
    for attention, gradient in zip(attentions, gradients, strict=True):
        gathered = gathered + (gradient * attention).clamp(min=0).mean(dim=0) @ gathered
    return gathered


def patches(rows: Tensor, grid: int) -> Tensor:
    """What the class token has of each patch: ``(..., T, T)`` -> ``(..., grid, grid)``."""
    return rearrange(rows[..., 0, -grid * grid :], "... (h w) -> ... h w", h=grid)


def stretch(maps: Tensor) -> Tensor:
    """``(C, h, w)`` -> the same, cut at 0 (Grad-CAM's ReLU) and brought to 0..1; all 0 where there is one value."""
    positive = maps.clamp(min=0)
    low, high = positive.min(), positive.max()
    return (positive - low) / (high - low).clamp(min=torch.finfo(maps.dtype).tiny)
