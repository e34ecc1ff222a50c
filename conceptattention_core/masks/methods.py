"""Masks: from the concepts' shares of the softmax to 0..1, torch in and torch out.

A threshold function measures one picture's map and gives a number per picture, ``(B, 1, 1)``, that broadcasts over it;
`ramp_mask` and `threshold_mask` apply any threshold, a number or such a tensor.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

MaskMethod = Literal["mean", "otsu", "percentile", "threshold", "soft", "argmax"]

OTSU_BINS = 256

CONSTANT = 1e-4
"""A map whose shares differ by less than this over the whole picture shows nothing but rounding."""


def mean_threshold(share: Tensor) -> Tensor:
    """The map's own mean, the paper's choice. share: ``(B, h, w)``; returns ``(B, 1, 1)``."""
    return share.mean(dim=(-2, -1), keepdim=True)


def otsu_threshold(share: Tensor) -> Tensor:
    """The cut that parts each map's values into two groups as far apart as possible, between the map's own extremes.

    share: ``(B, h, w)``; returns ``(B, 1, 1)``. A constant map's threshold is its value.
    Source: N. Otsu, "A threshold selection method from gray-level histograms" (1979), on 256 bins. Where several cuts
    are equally good (an empty gap between the groups) the middle one is taken.
    """
    values = share.flatten(1).double()
    low, high = values.amin(dim=1, keepdim=True), values.amax(dim=1, keepdim=True)
    bins = ((values - low) / (high - low).clamp_min(1e-12) * OTSU_BINS).long().clamp(0, OTSU_BINS - 1)
    count = torch.zeros(len(values), OTSU_BINS, dtype=values.dtype, device=values.device)
    count.scatter_add_(1, bins, torch.ones_like(values))
    total = torch.zeros_like(count).scatter_add_(1, bins, values)
    below, above = count.cumsum(dim=1), count.flip(1).cumsum(dim=1).flip(1) - count
    sum_below = total.cumsum(dim=1)
    distance = sum_below / below.clamp_min(1) - (values.sum(dim=1, keepdim=True) - sum_below) / above.clamp_min(1)
    between = torch.where(above > 0, below * above * distance**2, 0)[:, :-1]
    best = between >= between.amax(dim=1, keepdim=True) * (1 - 1e-9)
    edges = torch.arange(1, OTSU_BINS, device=values.device) / OTSU_BINS
    middle = (best * edges).sum(dim=1, keepdim=True) / best.sum(dim=1, keepdim=True)
    return (low + (high - low) * middle).to(share.dtype)[..., None]


def percentile_threshold(share: Tensor, percentile: float) -> Tensor:
    """The value that this part of the map's places, 0..100, does not exceed: 80 leaves the strongest fifth above it.

    share: ``(B, h, w)``; returns ``(B, 1, 1)``. Equal values stay on one side, so a constant map has nothing above.
    """
    values = share.flatten(1)
    rank = max(1, math.ceil(values.shape[1] * percentile / 100))
    return values.kthvalue(rank, dim=1).values[:, None, None]


def threshold_mask(share: Tensor, threshold: float | Tensor) -> Tensor:
    """A hard mask: 1 where the share is above the threshold, else 0. Any shape; returns float32, same shape."""
    return (share > threshold).float()


def ramp_mask(share: Tensor, threshold: float | Tensor, softness: float) -> Tensor:
    """A linear ramp of width `softness` centred at `threshold`: exactly 0 below it, exactly 1 above it.

    share: any shape, 0..1. softness 0 cuts hard: 1 where the share reaches the threshold. Returns float32, same shape.
    """
    if softness == 0:
        return (share >= threshold).float()
    return ((share - threshold) / softness + 0.5).clamp(0, 1).contiguous()


def concept_mask(share: Tensor, threshold: float, softness: float) -> Tensor:
    """A ramp as `ramp_mask`'s with ends that each map reaches itself: exactly 0 outside, exactly 1 in the core.

    share: ``(B, h, w)``, 0..1. A ramp that goes on below a map's lowest value or above its highest is cut off there: so
    it becomes steeper, however wide it was to be. A map that reaches the threshold nowhere has no mask at all.
    Returns ``(B, h, w)`` float32.
    """
    floor, peak = share.amin(dim=(-2, -1), keepdim=True), share.amax(dim=(-2, -1), keepdim=True)
    low, high = threshold - softness / 2, threshold + softness / 2
    start = torch.where(floor < threshold, floor.clamp_min(low), low)
    end = peak.clamp_max(high)
    found = peak >= threshold
    ramp = ((share - start) / torch.where(found & (end > start), end - start, 1)).clamp(0, 1)
    return torch.where(found, (share >= threshold).float() if softness == 0 else ramp, 0).float().contiguous()


def levels_mask(share: Tensor, low: float, high: float, gamma: float = 1.0) -> Tensor:
    """A soft mask by levels on the map's own range, as a picture editor's: 0 up to `low`, 1 from `high` on.

    share: ``(B, h, w)``. low, high: parts of the way from each map's lowest to its highest value, 0..1; equal ones cut
    hard. gamma: bends the ramp between them, above 1 outwards (a wider mask), below 1 inwards.
    Returns ``(B, h, w)`` float32: some place of every map is exactly 0 and some exactly 1, whatever the number of
    concepts has made of its peak; a constant map is all 0. Raises ValueError where low is above high.
    """
    if low > high:
        raise ValueError(f"low is {low} and high {high}: the mask is 0 up to low and 1 from high on. Swap them.")
    floor, peak = share.amin(dim=(-2, -1), keepdim=True), share.amax(dim=(-2, -1), keepdim=True)
    part = (share - floor) / (peak - floor).clamp_min(CONSTANT)
    ramp = (part >= high) & (part > 0) if low == high else ((part - low) / (high - low)).clamp(0, 1) ** (1 / gamma)
    return torch.where(peak - floor > CONSTANT, ramp, 0).float().contiguous()


def argmax_mask(shares: Tensor, index: int) -> Tensor:
    """1 where this concept is the strongest of all. shares: ``(B, C, h, w)``; returns ``(B, h, w)`` float32.

    The masks of all concepts, background included, cover the picture without overlap.
    """
    return (shares.argmax(dim=1) == index).float()
