"""Colour maps for heat maps. Each is a path through OKLCh whose lightness rises in equal steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .colors import fit_chroma, oklch_to_rgb

STEPS = 256


@dataclass(frozen=True)
class ColorPath:
    """Anchors at even distances; everything between them is interpolated linearly.

    lightness: first and last, 0..1. chroma: as vivid as wished, lowered where sRGB has no such colour.
    hue: degrees, going past 360 rather than jumping back.
    """

    lightness: tuple[float, float]
    chroma: tuple[float, ...]
    hue: tuple[float, ...]


COLOR_MAPS = {
    # near black, violet, red, orange, pale yellow
    "heat": ColorPath((0.13, 0.97), (0.02, 0.15, 0.19, 0.16, 0.05), (285, 310, 378, 415, 468)),
    # navy, blue, teal, green, yellow: told apart with any kind of colour vision
    "ocean": ColorPath((0.13, 0.95), (0.05, 0.13, 0.10, 0.15, 0.17), (280, 265, 205, 150, 108)),
    # near black, blue, cyan, white
    "ice": ColorPath((0.13, 0.98), (0.02, 0.14, 0.13, 0.09, 0.01), (275, 265, 245, 215, 200)),
    "gray": ColorPath((0.13, 1.0), (0.0, 0.0), (0.0, 0.0)),
}


def color_map(name: str) -> Tensor:
    """The 256 colours of a map, ``(256, 3)`` float32 sRGB 0..1, from the lowest value to the highest.

    Oklab lightness rises by the same amount with every colour, so equal steps of the value look like equal steps, also
    in a black-and-white print. Raises KeyError on an unknown name.
    """
    path = COLOR_MAPS[name]
    value = np.linspace(0, 1, STEPS)
    lightness = np.interp(value, (0, 1), path.lightness)
    chroma, hue = (np.interp(value, np.linspace(0, 1, len(at)), at) for at in (path.chroma, path.hue))
    return torch.from_numpy(oklch_to_rgb(lightness, fit_chroma(lightness, chroma, hue), hue)).float()
