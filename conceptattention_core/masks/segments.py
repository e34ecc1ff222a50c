"""Segments: a mask's regions as detailers take them, each with its box, its surroundings, a label and a confidence.

The form is the one that ComfyUI's detailer packs have agreed on as `SEGS`: the picture's size, and for each region a
named tuple of these fields. They read them by name, so the class need not be theirs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from .regions import each_region

SURROUNDINGS = 3.0
"""How many times as wide and high as its box a segment's crop is: what detectors of those packs begin with."""


class Segment(NamedTuple):
    """A region of a mask.

    cropped_mask: ``(h, w)`` float32 0..1, the region within crop_region. confidence: 0..1.
    crop_region, bbox: left, top, right, bottom in pixels, the last two exclusive. label: the concept.
    cropped_image, control_net_wrapper: for those who come later in a workflow.
    """

    cropped_image: Any
    cropped_mask: np.ndarray
    confidence: float
    crop_region: list[int]
    bbox: list[int]
    label: str
    control_net_wrapper: Any = None


Segments = tuple[tuple[int, int], list[Segment]]
"""One picture's size ``(H, W)`` and its segments, the largest first."""


def segments(mask: Tensor, label: str, confidence: Tensor) -> list[Segments]:
    """The regions of each picture's mask; none where it is empty.

    mask: ``(B, H, W)`` float 0..1. label: of all of them. confidence: ``(B,)`` 0..1, of a picture's.
    """
    return [_of_picture(one, label, float(sure)) for one, sure in zip(mask.split(1), confidence, strict=True)]


def _of_picture(mask: Tensor, label: str, confidence: float) -> Segments:
    size = (mask.shape[1], mask.shape[2])
    regions = [region[0].numpy() for region in each_region(mask)]
    return size, [_segment(region, label, confidence) for region in regions if region.any()]


def _segment(region: np.ndarray, label: str, confidence: float) -> Segment:
    rows, columns = (np.flatnonzero(region.any(axis=axis)) for axis in (1, 0))
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    (above, below), (before, behind) = (
        _around(*ends, side) for ends, side in zip(((top, bottom), (left, right)), region.shape, strict=True)
    )
    crop = region[above:below, before:behind].astype(np.float32)
    return Segment(None, crop, confidence, [before, above, behind, below], [left, top, right, bottom], label)


def _around(start: int, stop: int, side: int) -> tuple[int, int]:
    """An interval with its surroundings, shifted into 0..side."""
    length = min(side, round(SURROUNDINGS * (stop - start)))
    first = min(max((start + stop - length) // 2, 0), side - length)
    return first, first + length
