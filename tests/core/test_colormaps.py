"""Equal steps of a value look like equal steps, in every colour map."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from conceptattention_core.pictures.colormaps import COLOR_MAPS, color_map

TO_LMS = np.array([[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566]])
TO_LMS = np.concatenate([TO_LMS, [[0.0883024619, 0.2817188376, 0.6299787005]]])


def linear(rgb: np.ndarray) -> np.ndarray:
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def oklab_lightness(rgb: np.ndarray) -> np.ndarray:
    return np.cbrt(linear(rgb) @ TO_LMS.T) @ [0.2104542553, 0.7936177850, -0.0040720468]


def cielab_lightness(rgb: np.ndarray) -> np.ndarray:
    y = linear(rgb) @ [0.2126, 0.7152, 0.0722]
    return np.where(y > 0.008856, 116 * np.cbrt(y) - 16, 903.3 * y)


@pytest.mark.parametrize("name", COLOR_MAPS)
def test_lightness_rises_in_even_steps(name: str) -> None:
    colors = color_map(name).double().numpy()
    assert colors.shape == (256, 3) and colors.min() >= 0 and colors.max() <= 1
    steps = np.diff(oklab_lightness(colors))
    assert steps.min() > 0 and steps.max() < 1.05 * steps.mean() and steps.min() > 0.95 * steps.mean()
    steps = np.diff(cielab_lightness(colors))[8:]  # CIE's own curve is a straight line near black
    assert steps.min() > 0.5 * steps.mean() and steps.max() < 1.5 * steps.mean()


@pytest.mark.parametrize("name", COLOR_MAPS)
def test_no_jump_between_neighbours(name: str) -> None:
    """Nor two far apart values of one colour: the lightness tells them apart, and 8 bits keep it."""
    colors = color_map(name)
    assert colors.diff(dim=0).abs().max() < 0.04
    assert len(torch.unique((colors * 255).round(), dim=0)) > 230


def test_unknown_names() -> None:
    with pytest.raises(KeyError):
        color_map("jet")
