"""Concept Explorer: what the screen shows and what the node gives, computed from the same eight-bit maps.

A browser gets the maps as bytes, one a token, or several where they follow the picture's edges, and does in JavaScript
(`web/js/explorer_draw.js`) what `cut` and `painted` do here, in the same order and in double precision: the mask on the
screen is the mask of the node, to the pixel.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from einops import reduce
from torch import Tensor
from torch.nn.functional import interpolate

from .letters import quoted
from .maps import ConceptAttentionMaps, Reading, select_blocks
from .masks.edges import CELLS, cell_colors, walked_maps
from .pictures.weights import step_rows
from .state import Stroke, View

MESSAGE_BYTES = 60 * 1024
"""What travels to a page at once."""

ROUNDING = 1e-9
"""Of a part of the schedule, in steps."""


def maps_key(maps: ConceptAttentionMaps, size: tuple[int, int], colors: Tensor | None = None) -> str:
    """What tells these maps, shown at this size, from all others: the same again after a restart. 32 hex digits.

    colors: of the picture whose edges they follow, see `colors_of`.
    """
    digest = hashlib.blake2b(digest_size=16)
    described = maps.concepts, maps.background_count, maps.blocks, maps.sigmas, maps.image_size, size
    digest.update(repr((*described, maps.times) if maps.times else described).encode())
    digest.update(maps.scores.contiguous().view(-1).numpy().data)
    if colors is not None:
        digest.update(colors.contiguous().view(-1).numpy().data)
    return digest.hexdigest()


def chosen_steps(count: int, start: float, end: float) -> tuple[int, int]:
    """First and last of `count` steps in a part of the schedule, at least one.

    A part that the page wrote as ``step / count`` is that step again, whatever division has left of it.
    """
    first = min(count - 1, math.floor(start * count + ROUNDING))
    return first, max(first, min(count, math.ceil(end * count - ROUNDING)) - 1)


def reading(maps: ConceptAttentionMaps, view: View) -> ConceptAttentionMaps:
    """The maps as this view reads them, for whoever comes next: its steps, its blocks and temperature as their own."""
    first, last = chosen_steps(len(maps.sigmas), view.start, view.end)
    low, high = maps.default_blocks
    blocks = low if view.first_block is None else view.first_block, high if view.last_block is None else view.last_block
    select_blocks(maps.blocks, *blocks)
    trusted = maps.trusted_blocks if view.first_block is None and view.last_block is None else blocks
    return replace(
        maps,
        scores=maps.scores[first : last + 1],
        sigmas=maps.sigmas[first : last + 1],
        default_blocks=blocks,
        reading=cast(Reading, view.reading) if view.reading else maps.reading,
        trusted_blocks=trusted,
        softness=maps.softness * view.temperature,
    )


def colors_of(maps: ConceptAttentionMaps, picture: Tensor) -> Tensor:
    """What `stacks` needs of pictures ``(B, H, W, 3)`` 0..1 to follow their edges: ``(B, 3, n * h, n * w)`` float32.

    A concept's map of n * n bytes a token fits into one message; n is at most what other nodes take.
    """
    cells = max([1, *(n for n in range(1, CELLS + 1) if n * n * math.prod(maps.grid) <= MESSAGE_BYTES)])
    return cell_colors(picture, maps.grid, maps.image_size, cells, maps.token_pixels)


def stacks(maps: ConceptAttentionMaps, colors: Tensor | None = None) -> np.ndarray:
    """Every concept's share in every picture of the batch, ``(B, C, h, w)`` uint8: 255 is all of the competition.

    colors: ``(B, 3, n * h, n * w)``, see `colors_of`: the shares follow edges then, ``(B, C, n * h, n * w)``.
    """
    shares = maps.shares()
    if colors is not None:
        shares = walked_maps(shares, colors)
    return (shares * 255).round().to(torch.uint8).numpy()


def stack(maps: ConceptAttentionMaps, picture: int, colors: Tensor | None = None) -> np.ndarray:
    """The same of one picture, ``(C, h, w)``."""
    return stacks(maps.picture(picture), None if colors is None else colors[picture : picture + 1])[0]


def series(maps: ConceptAttentionMaps, picture: int, concept: int, by: str, most: int) -> np.ndarray:
    """A concept's map of each block or each step, ``(n, h, w)`` uint8, made smaller until all are at most `most` bytes.

    by: ``block`` or ``step``. Raises ValueError on another word.
    """
    one = maps.picture(picture)
    if by == "block":
        each = [one.shares(None, block, block) for block in one.blocks]
    elif by == "step":
        each = [replace(one, scores=one.scores[at : at + 1]).shares() for at in range(len(one.scores))]
    else:
        raise ValueError(f"There are maps by block and by step, not by {quoted(by)}.")
    shares = torch.stack([shares[0, concept] for shares in each])
    while shares.numel() > most and min(shares.shape[1:]) > 1:
        even = shares[:, : shares.shape[1] // 2 * 2, : shares.shape[2] // 2 * 2]
        shares = reduce(even, "n (h 2) (w 2) -> n h w", "mean")
    return (shares * 255).round().to(torch.uint8).numpy()


def weights(maps: ConceptAttentionMaps, picture: int) -> np.ndarray:
    """How much ``auto`` trusts each step and block of a picture, ``(steps, blocks)`` float32, sum 1.

    Blocks that may not be trusted count nothing. Steps that are very many share a row (`pictures.weights`).
    """
    one = maps.picture(picture)
    own = one.frames_in_pictures(one.block_weights())[0]
    whole = torch.zeros(len(one.sigmas), len(one.blocks))
    whole[:, one.trusted()] = own
    return step_rows(whole, one.sigmas)[0].numpy()


def enlarged(grid: np.ndarray, covered: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """A map ``(h, w)`` uint8 in pixels, ``size`` float64 0..255: bilinear, as `maps.resize_maps`, in double precision.

    covered: what the grid covers at this size (`maps.covered_size`).
    """
    (rows, down, low), (columns, right, high) = (
        _places(side, whole, count) for side, whole, count in zip(size, covered, grid.shape, strict=True)
    )
    values = grid.astype(np.float64)
    upper = values[rows][:, columns] * (1 - high) + values[rows][:, right] * high
    lower = values[down][:, columns] * (1 - high) + values[down][:, right] * high
    return upper * (1 - low[:, None]) + lower * low[:, None]


def _places(side: int, covered: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each pixel: the token before it, the one behind it, and how far it is between them."""
    source = np.maximum((np.arange(side, dtype=np.float64) + 0.5) * count / covered - 0.5, 0.0)
    before = np.minimum(np.floor(source).astype(np.int64), count - 1)
    return before, np.minimum(before + 1, count - 1), source - before


def pixels_of(grids: np.ndarray, covered: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Shares of `stacks`, ``(B, C, h, w)``, in pixels: ``(B, C, *size)`` float32 0..1."""
    shares = interpolate(torch.from_numpy(grids).float() / 255, covered, mode="bilinear", align_corners=False)
    return shares[..., : size[0], : size[1]]


def cut(grid: np.ndarray, threshold: float, covered: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """The mask of a concept, ``size`` bool: where its share reaches the threshold 0..1, and is not nothing."""
    values = enlarged(grid, covered, size)
    return (values >= threshold * 255) & (values > 0)


def painted(mask: np.ndarray, strokes: Sequence[Stroke]) -> np.ndarray:
    """A mask ``(H, W)`` bool with strokes on it, in their order: round brushes along lines. Clicks paint nothing."""
    mask = mask.copy()
    height, width = mask.shape
    for stroke in (one for one in strokes if not one.select):
        radius = stroke.radius * width
        points = [(x * width, y * height) for x, y in stroke.points]
        for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[-1]], strict=True):
            left, right = _span(min(x0, x1) - radius, max(x0, x1) + radius, width)
            top, bottom = _span(min(y0, y1) - radius, max(y0, y1) + radius, height)
            x = np.arange(left, right, dtype=np.float64)[None] + 0.5
            y = np.arange(top, bottom, dtype=np.float64)[:, None] + 0.5
            dx, dy = x1 - x0, y1 - y0
            length = dx * dx + dy * dy
            along = ((x - x0) * dx + (y - y0) * dy) / length if length > 0 else np.zeros((1, 1))
            along = np.minimum(np.maximum(along, 0.0), 1.0)
            off_x, off_y = x - (x0 + along * dx), y - (y0 + along * dy)
            mask[top:bottom, left:right][off_x * off_x + off_y * off_y <= radius * radius] = stroke.add
    return mask


def _span(low: float, high: float, side: int) -> tuple[int, int]:
    return max(0, math.floor(low)), min(side, math.ceil(high) + 1)


def masks_of(
    shares: np.ndarray,
    threshold: float,
    present: Tensor,
    covered: tuple[int, int],
    size: tuple[int, int],
    strokes: Sequence[Stroke] = (),
) -> Tensor:
    """A concept's masks, ``(B, *size)`` float32 0 or 1, of its shares ``(B, h, w)`` uint8 (see `stacks`).

    present: ``(B,)`` bool, pictures without the concept have an empty mask, but for what is painted.
    """
    made = []
    for picture, there in enumerate(present.tolist()):
        mask = cut(shares[picture], threshold, covered, size) if there else np.zeros(size, bool)
        made.append(torch.from_numpy(painted(mask, [one for one in strokes if one.picture == picture])))
    return torch.stack(made).float()
