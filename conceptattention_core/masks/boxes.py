"""Boxes and points: where a concept is, as segmentation models such as SAM take it for a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, find_objects, label
from torch import Tensor

from ..expression import Expression, combine_shares, winner_mask
from ..maps import TOKEN_PIXELS
from .methods import threshold_mask

RegionMethod = Literal["argmax", "threshold"]
REGION_METHODS: tuple[RegionMethod, ...] = get_args(RegionMethod)

NEIGHBORS = np.ones((3, 3), dtype=bool)
"""Pixels that touch at a corner belong to one region."""


@dataclass(frozen=True)
class Region:
    """A connected part of a concept's mask.

    x, y: its box's left and top pixel; width, height: the pixels that the box covers. score: mean share within, 0..1.
    """

    x: int
    y: int
    width: int
    height: int
    score: float


Point = tuple[int, int]
"""A pixel: ``(x, y)`` from the top left."""


@dataclass(frozen=True)
class Prompt:
    """A concept as a segmentation model is asked for it.

    regions: for each picture of the batch, those with the most share (mean times area) first.
    positive, negative: points of one picture.
    """

    regions: list[list[Region]]
    positive: list[Point]
    negative: list[Point]


def concept_prompt(
    shares: Tensor,
    expression: Expression,
    method: RegionMethod = "argmax",
    threshold: float = 0.5,
    min_area: float = 0.002,
    max_regions: int = 10,
    point_counts: tuple[int, int] = (3, 3),
    picture: int = 0,
) -> Prompt:
    """Boxes around the regions where a concept is, and points on it and off it.

    shares: ``(B, C, H, W)``, sum 1 over concepts. expression: the concept, or several (see `expression`). method: it is
    where it is stronger than every other one, or where its share is above `threshold`. min_area: smaller regions are
    dropped, as a part of the picture, 0..1.
    point_counts: how many positive and negative points at most. picture: which of the batch they are for.
    Raises ValueError where the batch has no such picture.
    """
    if picture >= len(shares):
        raise ValueError(f"There is no picture {picture}: `maps` holds {len(shares)}, and counting begins with 0.")
    signs = expression.signs(shares.shape[1]).expand(len(shares), -1)
    share = combine_shares(shares, signs)
    masks = winner_mask(shares, signs) if method == "argmax" else threshold_mask(share, threshold)
    found = [find_regions(*pair, min_area, max_regions) for pair in zip(masks, share, strict=True)]
    positive, negative = prompt_points(
        shares[picture], share[picture], expression.plus, found[picture][1], point_counts
    )
    return Prompt([regions for regions, _ in found], positive, negative)


def padded_region(regions: list[Region], padding: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """One box around all regions and `padding` pixels more, inside the picture: x, y, width, height.

    size: ``(H, W)`` of the picture. Width and height are multiples of `TOKEN_PIXELS`, as far as the picture is large
    enough, so that a crop needs no rounding on its way through a model. Without regions it is the whole picture.
    """
    height, width = size
    if not regions:
        return 0, 0, width, height
    x, wide = _padded(min(one.x for one in regions), max(one.x + one.width for one in regions), padding, width)
    y, high = _padded(min(one.y for one in regions), max(one.y + one.height for one in regions), padding, height)
    return x, y, wide, high


def _padded(start: int, stop: int, padding: int, end: int) -> tuple[int, int]:
    """Start and length of an interval with padding, its length rounded up to whole patches, shifted into 0..end."""
    length = min(stop, end - padding) - max(start, padding) + 2 * padding
    length = min(-(-length // TOKEN_PIXELS) * TOKEN_PIXELS, end)
    return min(max((start + stop - length) // 2, 0), end - length), length


def find_regions(mask: Tensor, share: Tensor, min_area: float, max_regions: int) -> tuple[list[Region], Tensor]:
    """The connected regions of one mask, those with the most share (mean times area) first.

    mask, share: ``(H, W)``. min_area: smaller regions are dropped, as a part of the picture, 0..1.
    Returns at most `max_regions` regions, and the mask of these alone, ``(H, W)`` bool.
    """
    numbers = _numbered(mask.numpy() > 0)
    area = np.bincount(numbers.ravel())
    total = np.bincount(numbers.ravel(), weights=share.numpy().ravel())
    large = [number for number in range(1, len(area)) if area[number] >= min_area * numbers.size]
    kept = sorted(large, key=lambda number: -total[number])[:max_regions]
    places = find_objects(numbers)
    regions = []
    for number in kept:
        rows, columns = places[number - 1]
        width, height = columns.stop - columns.start, rows.stop - rows.start
        regions.append(Region(columns.start, rows.start, width, height, float(total[number] / area[number])))
    return regions, torch.from_numpy(np.isin(numbers, kept))


def _numbered(mask: np.ndarray) -> np.ndarray:
    """Each connected region's own number from 1, and 0 outside. mask: ``(H, W)`` bool."""
    numbers = np.zeros(mask.shape, dtype=np.int32)
    label(mask, structure=NEIGHBORS, output=numbers)
    return numbers


def surest_points(share: Tensor, inside: Tensor, count: int, each_region: bool = False) -> list[Point]:
    """Up to `count` pixels well inside an area, where the share is high, far from each other.

    share: ``(H, W)`` 0..1; inside: ``(H, W)`` bool. Each point in turn has the highest product of share and distance to
    what is nearest of the area's edge, the picture's edge and the points before it. each_region: no connected region
    gets a second point before every one has its first.
    """
    regions = _numbered(inside.numpy())
    distance = np.asarray(distance_transform_edt(np.pad(regions > 0, 1)))[1:-1, 1:-1]
    rows, columns = np.ogrid[: distance.shape[0], : distance.shape[1]]
    waiting = (regions > 0) & each_region
    points: list[Point] = []
    for _ in range(count):
        value = share.numpy() * distance * (waiting if waiting.any() else 1)
        if value.max() <= 0:
            break
        best = np.argwhere(value > 0.98 * value.max())  # a long shape has many: the middle one is the best guess
        y, x = best[((best - best.mean(axis=0)) ** 2).sum(axis=1).argmin()]
        points.append((int(x), int(y)))
        distance = np.minimum(distance, np.hypot(rows - y, columns - x))
        waiting &= regions != regions[y, x]
    return points


def prompt_points(
    shares: Tensor, share: Tensor, wanted: Sequence[int], inside: Tensor, counts: tuple[int, int]
) -> tuple[list[Point], list[Point]]:
    """Points on the concept, one for each of its regions first, and points on what is something else.

    shares: one picture's, ``(C, H, W)``; share: ``(H, W)``, what is looked for; wanted: the concepts that it is made
    of; inside: ``(H, W)`` bool, where it is. Negative points lie where
    another concept, background included, wins outside of it. Without the concept there are no points at all: negative
    ones alone would ask a segmentation model for anything else.
    """
    positive = surest_points(share, inside, counts[0], each_region=True)
    if not positive:
        return [], []
    rest = [index for index in range(len(shares)) if index not in wanted]
    if not rest:
        return positive, []
    others = shares[rest].amax(dim=0)
    return positive, surest_points(others, ~inside & (others > share), counts[1])
