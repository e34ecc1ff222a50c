"""Segments: a mask's regions for detailers, with nothing lost on the way."""

from __future__ import annotations

import numpy as np
import torch

from conceptattention_core.masks.segments import segments


def test_segments_are_the_mask_in_pieces() -> None:
    mask = torch.zeros(3, 40, 60)
    mask[0, 2:8, 3:15], mask[0, 30:40, 50:60] = 1.0, 0.5  # the second one is larger, and at the corner
    mask[1] = 1.0
    one, whole, empty = segments(mask, "boat + sail", torch.tensor([0.75, 1.0, 0.0]))
    size, (first, second) = one
    assert size == (40, 60) and first.bbox == [50, 30, 60, 40] and second.bbox == [3, 2, 15, 8]
    # Three times as large around the middle, shifted into the picture.
    assert first.crop_region == [30, 10, 60, 40] and second.crop_region == [0, 0, 36, 18]
    assert all(segment.label == "boat + sail" and segment.confidence == 0.75 for segment in (first, second))
    pasted = np.zeros(size, np.float32)
    for segment in (first, second):
        left, top, right, bottom = segment.crop_region
        pasted[top:bottom, left:right] += segment.cropped_mask
    assert np.array_equal(pasted, mask[0].numpy())
    assert whole[1][0].crop_region == whole[1][0].bbox == [0, 0, 60, 40]
    assert empty == ((40, 60), [])
