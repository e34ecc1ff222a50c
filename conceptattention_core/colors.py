"""Colours: one perceptually even colour map for shares, one palette for concepts. Both are built in OKLCh."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

GOLDEN_ANGLE = 137.508
"""Degrees between neighbouring concepts' hues: no two of the first dozens come close."""


def oklch_to_rgb(lightness: np.ndarray, chroma: np.ndarray, hue: np.ndarray) -> np.ndarray:
    """OKLCh (lightness 0..1, chroma, hue in degrees), each ``(n,)``, to sRGB ``(n, 3)`` 0..1, clipped to the gamut.

    Source: Björn Ottosson, "A perceptual color space for image processing" (2020).
    """
    a, b = chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue))
    cone = np.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ],
        axis=-1,
    )
    to_linear_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(cone**3 @ to_linear_rgb.T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def heat_colors() -> Tensor:
    """The heat map's 256 colours, ``(256, 3)`` float32: from near black over violet and red to pale yellow.

    Lightness rises linearly, so equal steps of share look like equal steps.
    """
    share = np.linspace(0, 1, 256)
    rgb = oklch_to_rgb(0.13 + 0.84 * share, 0.155 * np.sin(np.pi * share) + 0.02, 285 + 165 * share)
    return torch.from_numpy(rgb).float()


def concept_colors(count: int, background_count: int) -> Tensor:
    """One colour a concept, ``(count, 3)`` float32 0..1; background concepts are greys."""
    wanted = np.arange(count - background_count)
    vivid = oklch_to_rgb(0.72 - 0.12 * (wanted % 2), np.full(len(wanted), 0.17), 30 + GOLDEN_ANGLE * wanted)
    grey = oklch_to_rgb(0.42 - 0.2 * np.arange(background_count) / max(background_count, 1), *np.zeros((2, 1)))
    return torch.from_numpy(np.concatenate([vivid, grey])).float()
