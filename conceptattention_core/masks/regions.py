"""Connected regions: fill holes, drop specks, keep the largest. Masks in, masks out; label maps in, label maps out.

A region is a connected component of ``mask > 0``, diagonal neighbours included (8-connectivity), and its area is its
number of pixels, however soft they are. What surrounds it is connected over edges only (4-connectivity), as the
topology of the square grid demands: a diagonal line of pixels parts its two sides. Soft masks keep their soft values
inside the regions that stay. Every picture of a batch is looked at alone, or a whole video at once: its regions are
connected through time as well, to all neighbours in the pictures before and behind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

FOUR = ndimage.generate_binary_structure(2, 1)
"""Neighbours over an edge."""
EIGHT = ndimage.generate_binary_structure(2, 2)
"""Diagonal ones as well."""

HOLE_LEVELS = 16
"""Grey levels at which a soft mask is looked at for holes."""


def fill_holes(mask: Tensor) -> Tensor:
    """Raise every place that is surrounded by higher values to the level of what surrounds it.

    mask: ``(B, H, W)`` float 0..1 or bool; the result has the same shape and type. In a hard mask these are the places
    of 0 that no path over edges joins to the picture's edge; they become 1. In a soft mask the hole's soft rim is
    filled as well, and a hole in a region of 0.8 is filled to 0.8, to within 1/16. Nothing is ever lowered.
    Source: greyscale hole filling, P. Soille, "Morphological Image Analysis" (2003), section 6.3.7.
    """
    return _each(mask, _fill_holes)


def remove_small(mask: Tensor, minimum_area: int, of_a_video: int = 1) -> Tensor:
    """Set every region of fewer than `minimum_area` pixels to 0; 0 and 1 remove nothing.

    mask: ``(B, H, W)`` float 0..1 or bool; the result has the same shape and type. The area is in pixels of this mask.
    of_a_video: so many pictures make up one video; a region's pixels are those of all of them.
    """
    return _videos(mask, of_a_video, lambda one: _keep(one, lambda areas: areas >= minimum_area))


def keep_largest(mask: Tensor, count: int, of_a_video: int = 1) -> Tensor:
    """Keep the `count` regions of each picture that have most pixels, set the others to 0; all where there are fewer.

    mask: ``(B, H, W)`` float 0..1 or bool; the result has the same shape and type. Of equal regions the one that
    begins further up, then further left, is kept. of_a_video: so many pictures make up one video, whose regions count.
    """

    return _videos(mask, of_a_video, lambda one: _keep(one, lambda areas: _ranked(areas, 0, count)))


def only_region(mask: Tensor, number: int, of_a_video: int = 1) -> Tensor:
    """Keep the region that is the `number`-th of its picture by size, 1 the largest; none where there are fewer.

    mask: ``(B, H, W)`` float 0..1 or bool; the result has the same shape and type. The rest as in `keep_largest`.
    """
    return _videos(mask, of_a_video, lambda one: _keep(one, lambda areas: _ranked(areas, number - 1, number)))


def _ranked(areas: np.ndarray, first: int, stop: int) -> np.ndarray:
    """Which regions are among the largest, from one rank, 0 the largest, to another: bool ``(regions,)``."""
    kept = np.zeros(len(areas), dtype=bool)
    kept[np.argsort(-areas, kind="stable")[first:stop]] = True
    return kept


def each_region(mask: Tensor) -> list[Tensor]:
    """Every region of every picture as a mask of its own, ``(1, H, W)`` each: a picture's largest first.

    mask: ``(B, H, W)`` float 0..1. An empty mask has one region, which is empty, so that a list is never empty.
    """
    found = []
    for picture in mask.float().cpu().numpy():
        numbers, count = _components(picture > 0, EIGHT)
        areas = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
        order = np.argsort(-areas, kind="stable") + 1
        found += [torch.from_numpy(picture * (numbers == number))[None] for number in order]
    return found or [torch.zeros_like(mask[:1]).float()]


def regions_at(mask: Tensor, points: Sequence[tuple[float, float]]) -> Tensor:
    """The regions of a bool mask ``(1, H, W)`` that hold one of the points ``(x, y)``, bool of the same shape.

    Points that lie outside of every region, or of the picture, hold none.
    """
    numbers, _ = _components(mask[0].cpu().numpy(), EIGHT)
    height, width = numbers.shape
    held = {int(numbers[int(y), int(x)]) for x, y in points if x < width and y < height} - {0}
    return torch.from_numpy(np.isin(numbers, sorted(held)))[None]


def _each(mask: Tensor, change: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    """Apply a function of one picture ``(H, W)`` to all of ``(B, H, W)``, bool as bool and float as float32."""
    pictures = mask.cpu().numpy() if mask.dtype == torch.bool else mask.float().cpu().numpy()
    return torch.from_numpy(np.stack([change(picture) for picture in pictures])).to(mask.device)


def _videos(mask: Tensor, of_a_video: int, change: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    """Apply a function of a picture ``(H, W)``, or of a video ``(pictures, H, W)``, to all of ``(B, H, W)``."""
    return _each(mask, change) if of_a_video == 1 else _each(mask.unflatten(0, (-1, of_a_video)), change).flatten(0, 1)


def _keep(picture: np.ndarray, choose: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Set regions to 0 unless chosen. choose: areas ``(regions,)``, in reading order, to bool ``(regions,)``."""
    numbers, count = _components(picture > 0, ndimage.generate_binary_structure(picture.ndim, picture.ndim))
    areas = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
    return picture * np.append(False, choose(areas))[numbers]


def _fill_holes(picture: np.ndarray) -> np.ndarray:
    if ((picture == 0) | (picture == 1)).all():
        return _enclosed(picture > 0).astype(picture.dtype)
    filled = picture
    for level in np.arange(1, HOLE_LEVELS + 1, dtype=picture.dtype) / HOLE_LEVELS:
        filled = np.where(_enclosed(picture >= level), np.maximum(filled, level), filled)
    return filled


def _enclosed(mask: np.ndarray) -> np.ndarray:
    """A bool mask ``(H, W)`` and all that it surrounds."""
    numbers, count = _components(~mask, FOUR)
    return mask | ~_reaches_edge(numbers, count)[numbers]


def _components(mask: np.ndarray, neighbours: np.ndarray) -> tuple[np.ndarray, int]:
    """Connected components of a bool mask: ``(H, W)`` numbers from 1, 0 outside, and how many there are."""
    numbers = np.zeros(mask.shape, dtype=np.int32)
    ndimage.label(mask, neighbours, output=numbers)
    return numbers, int(numbers.max())


def _reaches_edge(numbers: np.ndarray, count: int) -> np.ndarray:
    """Which components lie at the picture's edge: bool ``(count + 1,)``."""
    found = np.zeros(count + 1, dtype=bool)
    for edge in (numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]):
        found[edge] = True
    return found


def merge_small(labels: Tensor, shares: Tensor, minimum_area: int) -> Tensor:
    """Give every region of a label map that has fewer than `minimum_area` pixels to a concept beside it.

    labels: ``(B, H, W)`` int64; shares: ``(B, C, H, W)``, how likely each concept is. Of the concepts that a small
    region touches, the one with the largest share in it gets it; the picture stays covered. Returns new labels.
    """
    if minimum_area <= 1:
        return labels
    pictures = zip(labels.cpu().numpy(), shares.float().cpu().numpy(), strict=True)
    return torch.from_numpy(np.stack([_merge_small(*picture, minimum_area) for picture in pictures])).to(labels.device)


def fill_label_holes(labels: Tensor, named: int) -> Tensor:
    """Give holes to the concept that surrounds them: regions of background inside a single named concept.

    labels: ``(B, H, W)`` int64, named concepts are 0 to ``named - 1``, background the rest. A named concept inside
    another one (the sun in the sky) is no hole, and background that reaches the picture's edge or touches two concepts
    stays. Returns new labels.
    """
    pictures = [_fill_label_holes(picture, named) for picture in labels.cpu().numpy()]
    return torch.from_numpy(np.stack(pictures)).to(labels.device)


def _merge_small(labels: np.ndarray, shares: np.ndarray, minimum_area: int) -> np.ndarray:
    while True:  # regions that touch only small ones wait for the next round
        numbers, owners = _label_regions(labels)
        areas = np.bincount(numbers.ravel())
        small = areas < minimum_area
        small[areas.argmax()] = False
        if not small.any():
            return labels
        region, beside = _touching(numbers, numbers)
        wanted = small[region] & ~small[beside]
        possible = np.zeros((len(areas), len(shares)), dtype=bool)
        possible[region[wanted], owners[beside[wanted]]] = True
        sums = np.stack([np.bincount(numbers.ravel(), share.ravel()) for share in shares], axis=1)
        heirs = np.where(possible, sums, -1).argmax(axis=1)
        labels = np.where(possible.any(axis=1), heirs, owners)[numbers]


def _fill_label_holes(labels: np.ndarray, named: int) -> np.ndarray:
    numbers, count = _components(labels >= named, FOUR)
    region, around = _touching(numbers, labels)
    inside = np.zeros((count + 1, named), dtype=bool)
    outer = (around < named) & (region > 0)
    inside[region[outer], around[outer]] = True
    hole = (inside.sum(axis=1) == 1) & ~_reaches_edge(numbers, count)
    return np.where(hole[numbers], inside.argmax(axis=1)[numbers], labels)


def _label_regions(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the regions of every label: ``(H, W)`` from 0, and the label of each, ``(regions,)``."""
    numbers, owners = np.zeros(labels.shape, dtype=np.int64), []
    for label in np.unique(labels):
        own, count = _components(labels == label, EIGHT)
        numbers = np.where(own > 0, own - 1 + len(owners), numbers)
        owners += [label] * count
    return numbers, np.array(owners)


def _touching(these: np.ndarray, those: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values of `these` and of `those` in all pairs of pixels that share an edge, ``(pairs,)`` each."""
    pairs = [(these[1:], those[:-1]), (these[:-1], those[1:]), (these[:, 1:], those[:, :-1])]
    pairs.append((these[:, :-1], those[:, 1:]))
    first, second = zip(*pairs, strict=True)
    return np.concatenate([part.ravel() for part in first]), np.concatenate([part.ravel() for part in second])
