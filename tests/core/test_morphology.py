"""Round growing and shrinking against scipy's slow definition; blur that keeps floor and core exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.testing import assert_close

from conceptattention_core.masks.morphology import blur, grow


@pytest.mark.parametrize("radius", [0, 1, 2, 5, 17, 50])
def test_grow_is_dilation_by_a_disk(radius: int) -> None:
    mask = torch.rand(2, 40, 23, generator=torch.Generator().manual_seed(radius))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = x * x + y * y <= radius * radius
    largest = [ndimage.grey_dilation(one, footprint=disk, mode="constant", cval=-9) for one in mask.numpy()]
    smallest = [ndimage.grey_erosion(one, footprint=disk, mode="constant", cval=9) for one in mask.numpy()]
    assert_close(grow(mask, radius), torch.from_numpy(np.stack(largest)))
    assert_close(grow(mask, -radius), torch.from_numpy(np.stack(smallest)))


def test_the_pictures_edge_is_no_edge_of_the_mask() -> None:
    half = torch.zeros(1, 20, 20)
    half[..., 10:] = 1
    for changed in (grow(half, -3), blur(half, 4)):
        assert (changed == changed[:, :1]).all() and changed[..., -1].eq(1).all() and changed[..., 0].eq(0).all()


@pytest.mark.parametrize("pixels", [1, 4, 9])
def test_blur_fades_over_as_many_pixels_as_it_says(pixels: int) -> None:
    mask = torch.zeros(1, 64, 64)
    mask[..., 20:44, 16:48] = 1
    blurred = blur(mask, pixels)
    square = np.ones((2 * pixels + 1, 2 * pixels + 1), dtype=bool)
    outside = ndimage.grey_dilation(mask[0].numpy(), footprint=square) == 0
    inside = ndimage.grey_erosion(mask[0].numpy(), footprint=square, mode="nearest") == 1
    assert (blurred[0][outside] == 0).all() and (blurred[0][inside] == 1).all()
    row = blurred[0, 32, 16 - pixels : 16 + pixels]
    assert (row.diff() > 0).all() and (row > 0).sum() >= 2 * pixels - 2
    assert_close(row + row.flip(0), torch.ones(2 * pixels))


def test_blur_of_nothing_and_of_everything() -> None:
    for value in (0.0, 1.0):
        flat = torch.full((2, 9, 5), value)
        assert torch.equal(blur(flat, 30), flat)
