"""Colours: from OKLCh to sRGB, and the palette of concepts."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

GOLDEN_ANGLE = 137.508
"""Degrees between neighbouring concepts' hues: no two of the first dozens come close."""


def oklch_to_rgb(lightness: np.ndarray, chroma: np.ndarray, hue: np.ndarray) -> np.ndarray:
    """OKLCh (lightness 0..1, chroma, hue in degrees), each ``(n,)``, to sRGB ``(n, 3)`` 0..1, clipped to the gamut."""
    linear = np.clip(_linear_rgb(lightness, chroma, hue), 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def fit_chroma(lightness: np.ndarray, chroma: np.ndarray, hue: np.ndarray) -> np.ndarray:
    """The chroma, lowered where sRGB has no such colour, so that lightness and hue come out as asked. All ``(n,)``."""
    low, high = np.zeros_like(chroma), np.ones_like(chroma)
    for _ in range(20):
        middle = (low + high) / 2
        linear = _linear_rgb(lightness, middle * chroma, hue)
        inside = ((linear >= -1e-9) & (linear <= 1 + 1e-9)).all(axis=-1)
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    whole = _linear_rgb(lightness, chroma, hue)
    return np.where(((whole >= 0) & (whole <= 1)).all(axis=-1), chroma, low * chroma)


def _linear_rgb(lightness: np.ndarray, chroma: np.ndarray, hue: np.ndarray) -> np.ndarray:
    """OKLCh, each ``(n,)``, to linear RGB ``(n, 3)``, below 0 or above 1 outside sRGB's gamut.

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
    return cone**3 @ to_linear_rgb.T


def concept_colors(count: int, background_count: int) -> Tensor:
    """One colour a concept, ``(count, 3)`` float32 0..1; background concepts are greys."""
    wanted = np.arange(count - background_count)
    vivid = oklch_to_rgb(0.72 - 0.12 * (wanted % 2), np.full(len(wanted), 0.17), 30 + GOLDEN_ANGLE * wanted)
    grey = oklch_to_rgb(0.42 - 0.2 * np.arange(background_count) / max(background_count, 1), *np.zeros((2, 1)))
    return torch.from_numpy(np.concatenate([vivid, grey])).float()
