"""Grow, shrink and blur masks, soft or hard, without leaving 0..1. The picture's edge is no edge of the mask."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

ROUNDING = 1e-5
"""What float32 sums of a blur may lack of 1, or exceed 0 by."""


def grow(mask: Tensor, pixels: int) -> Tensor:
    """Grow by a disk of this radius (greyscale dilation), or shrink where it is negative (erosion).

    mask: ``(B, H, W)`` 0..1; returns the same shape. Each pixel takes the highest (lowest) value within the disk. What
    lies beyond the picture's edge counts for neither: a mask that reaches the edge does not shrink away from it.
    """
    if pixels < 0:
        return 1 - _dilate(1 - mask, -pixels)
    return _dilate(mask, pixels)


def _dilate(mask: Tensor, radius: int) -> Tensor:
    """Row by row of the disk, from its tips to its middle, the rows' half-widths growing: ``O(radius)`` passes."""
    height, width = mask.shape[-2:]
    row, half = mask.clone(), 0
    result = mask.clone()
    for dy in range(radius, -1, -1):
        wanted = min(math.isqrt(radius * radius - dy * dy), width - 1)
        while half < wanted:
            step = min(wanted - half, 2 * half + 1)  # a wider step would leave a gap
            shifted = row.clone()
            shifted[..., step:] = torch.maximum(shifted[..., step:], row[..., :-step])
            shifted[..., :-step] = torch.maximum(shifted[..., :-step], row[..., step:])
            row, half = shifted, half + step
        if dy < height:
            result[..., dy:, :] = torch.maximum(result[..., dy:, :], row[..., : height - dy, :])
            result[..., : height - dy, :] = torch.maximum(result[..., : height - dy, :], row[..., dy:, :])
    return result


def blur(mask: Tensor, pixels: int) -> Tensor:
    """Fade every edge over this many pixels to both sides: a Gaussian of three standard deviations.

    mask: ``(B, H, W)`` 0..1; returns the same shape. Further than `pixels` from what was above 0 the result is exactly
    0, and where everything within `pixels` was 1 it is exactly 1. Beyond the picture's edge its last pixels go on.
    """
    if pixels == 0:
        return mask
    at = torch.arange(-pixels, pixels + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (3 * at / pixels) ** 2)
    kernel = (kernel / kernel.sum()).float()
    blurred = pad(mask[:, None], (pixels,) * 4, mode="replicate")
    blurred = conv2d(conv2d(blurred, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))[:, 0]
    return (blurred * (1 + 2 * ROUNDING) - ROUNDING).clamp(0, 1)
