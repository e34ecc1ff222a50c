"""Select by clicking: the thing that lies under a click, without a name, by what the model makes of each image token.

A token belongs to the thing where its features (`features.py`) are nearer to a click's than to the rest's. The rest is
what a person has clicked away, and what lies along the picture's border unlike the click: most things do not reach it
(a prior of salience, Y. Wei et al., "Geodesic saliency using background priors", 2012). A sky or a floor does; there
the click's even colour runs on to the border, and what it runs over is nearer to it. Then what was found stands for the
thing and all else for the rest, once, as in GrabCut (C. Rother et al., 2004), and edges follow the picture's. Own
rules, chosen on the demo model's tuning scenes and measured on others (`tools/benchmarks/select.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn.functional import interpolate, normalize, pad

from ..features import unit_tokens
from ..maps import ConceptAttentionMaps, covered_size, resize_maps
from ..points import Point
from ..times import in_pictures
from .edges import refine_maps
from .regions import fill_holes, regions_at, remove_small

SHARPNESS = 10.0
"""Of the competition between the thing and the rest, a cosine of 1 apart."""

UNLIKE = 0.2
"""Cosine below which nothing is near to a click, however far the rest is."""

LIKE = 0.5
"""Cosine above which a token of the border is the clicked thing's own, and no rest."""

REACH = 0.5
"""What the picture's longer side takes off a click's cosine: a click says more of what is near to it."""

EVEN = 0.06
"""Steps from token to token, in RGB 0..1, that an even colour runs over; it begins where a click has its token's."""

EVENLY = 0.15
"""What an even colour adds to a click's cosine, however far away."""

PROTOTYPES = 6
"""Kinds that the rest is divided into."""

HOLE = 1
"""Tokens that a hole in a selection may have to be filled."""

SNAP_TOKENS, SNAP_COLOR = 1.0, 0.08
"""How far a click may move to a token of its own colour: tokens, and RGB 0..1, one standard deviation each."""


@dataclass(frozen=True)
class Selected:
    """mask: ``(1, H, W)`` float32, 0 or 1. share: ``(1, H, W)`` 0..1, how surely each place is the thing's."""

    mask: Tensor
    share: Tensor


def select(
    maps: ConceptAttentionMaps,
    points: Sequence[Point],
    negative: Sequence[Point] = (),
    picture: Tensor | None = None,
    size: tuple[int, int] | None = None,
    tolerance: float = 0.5,
) -> Selected:
    """The mask of what `points` lie on, less what `negative` lie on.

    maps: of one picture. points, negative: ``(x, y)`` in pixels of `size` ``(H, W)``, by default the picture's, without
    one the maps' own. picture: ``(1, H, W, 3)`` 0..1, guides edges and says which thing a click on an edge is for.
    tolerance: between 0 and 1; above 0.5 more is selected, below less.
    Raises ValueError without points, for maps without features, and for a batch of several pictures.
    """
    if maps.features is None:
        raise ValueError(
            f"These maps hold no features, which a selection goes by: {maps.family} has none, or they were saved by an "
            "earlier version, or were too large. Sample again, fewer pictures at once, or select by a concept's name."
        )
    if maps.pictures != 1:
        raise ValueError(f"These are the maps of {maps.pictures} pictures, and points are for one. Say which.")
    if not points:
        raise ValueError("No point says what to select. Click on it: write its x, y into `points`.")
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance ({tolerance}) must lie between 0 and 1, both left out.")
    size = size or (maps.image_size if picture is None else (picture.shape[1], picture.shape[2]))
    grid, features = maps.features.shape[-2:], maps.features[:, 0]
    if maps.times:
        features = in_pictures(features.float(), maps.times)
    covered = covered_size((grid[0], grid[1]), maps.image_size, size, maps.token_pixels)
    if picture is None:
        clicked, refused = ([_below(one, grid, covered) for one in some] for some in (points, negative))
        evenly = None
    else:
        colors = token_colors(picture, grid, covered)
        on, off = ([_meant(one, grid, covered, picture, colors) for one in some] for some in (points, negative))
        clicked, refused = [token for token, _ in on], [token for token, _ in off]
        evenly = even_colors(colors, grid, [token for token, pure in on if pure], refused)
    share = token_shares(features, clicked, refused, math.log(tolerance / (1 - tolerance)), evenly)
    both = torch.stack([share, 1 - share])[None]
    if picture is None:
        pixels = resize_maps(both, maps.image_size, size, maps.token_pixels)[:, 0]
    else:
        pixels = refine_maps(both, picture, maps.image_size, maps.token_pixels)[:, 0]
    held = [*points, *(_middle(token, grid, covered) for token in clicked)]
    largest_hole = HOLE * covered[0] * covered[1] // (grid[0] * grid[1])
    mask = _whole(pixels > 0.5, held, negative, largest_hole)
    if not mask.any():  # a thing so thin that nothing of it is left between its neighbours: its tokens as they are
        tokens = interpolate(share[None, None], covered, mode="nearest")[0, :, : size[0], : size[1]]
        mask = _whole(tokens > 0.5, held, negative, largest_hole)
    return Selected(mask.float(), pixels)


def token_shares(
    features: Tensor,
    clicked: Sequence[int],
    refused: Sequence[int] = (),
    bias: float = 0.0,
    evenly: Tensor | None = None,
) -> Tensor:
    """How surely each token belongs to the clicked thing, ``(h, w)`` float32 0..1.

    features: ``(blocks, channels, h, w)``; clicked, refused: places on the grid, row by row, those of the thing and
    those that are not; bias: log-odds in favour of the thing; evenly: as `even_colors` gives it.
    """
    grid = features.shape[-2:]
    tokens, places = unit_tokens(features), _places(grid)
    border = torch.zeros(grid, dtype=torch.bool)
    border[[0, -1]] = border[:, [0, -1]] = True
    alike = _nearest(tokens, tokens[clicked])
    unlike = border.flatten() & (alike < LIKE)
    away = _nearest(tokens, tokens[refused], places, places[refused])
    near = _nearest(tokens, tokens[clicked], places, places[clicked])
    if evenly is not None:
        unlike, near = unlike & ~evenly, torch.where(evenly, torch.maximum(near, alike + EVENLY), near)

    def shares(own: Tensor, other: Tensor) -> Tensor:
        found = (SHARPNESS * (own - torch.maximum(other, away)) + bias).sigmoid()
        found[refused] = found[refused].clamp_max(0.1)
        found[clicked] = found[clicked].clamp_min(0.9)
        held = regions_at((found > 0.5).reshape(1, *grid), [(at % grid[1], at // grid[1]) for at in clicked])
        return torch.where(held.flatten(), found, found.clamp_max(0.49))  # the thing lies in one piece with a click

    first = shares(near, _nearest(tokens, prototypes(tokens[unlike])).clamp_min(UNLIKE))
    thing = normalize(tokens[first > 0.5].mean(dim=0, keepdim=True), dim=1)
    second = shares(torch.maximum(near, _nearest(tokens, thing)), _nearest(tokens, prototypes(tokens[first <= 0.5])))
    return second.reshape(grid)


def prototypes(tokens: Tensor, count: int = PROTOTYPES) -> Tensor:
    """The kinds that tokens fall into, ``(count or fewer, D)`` of unit length: k-means on the sphere (I. Dhillon and
    D. Modha, 2001), begun with the mean and then the token farthest from all before. tokens: ``(N, D)`` of unit length.
    """
    if not len(tokens):
        return tokens
    kinds = normalize(tokens.mean(dim=0, keepdim=True), dim=1)
    while len(kinds) < min(count, len(tokens)):
        kinds = torch.cat([kinds, tokens[_nearest(tokens, kinds).argmin()][None]])
    for _ in range(PROTOTYPES):
        nearest = (tokens @ kinds.T).argmax(dim=1)
        sums = torch.zeros_like(kinds).index_add_(0, nearest, tokens)
        kinds = torch.where(sums.any(dim=1, keepdim=True), normalize(sums, dim=1), kinds)
    return kinds


def _nearest(tokens: Tensor, others: Tensor, places: Tensor | None = None, of_others: Tensor | None = None) -> Tensor:
    """The cosine to the nearest of the others, ``(N,)``, less what they are away where places are given; -1 of none."""
    if not len(others):
        return tokens.new_full((len(tokens),), -1.0)
    cosines = tokens @ others.T
    if places is not None and of_others is not None:
        cosines -= REACH * torch.cdist(places, of_others)
    return cosines.amax(dim=1)


def _places(grid: Sequence[int]) -> Tensor:
    """Middles of all tokens, ``(h * w, 2)`` as y and x, in parts of the longer side."""
    h, w = grid
    rows, columns = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
    return torch.stack([rows.flatten(), columns.flatten()], dim=1) / max(h, w)


def token_colors(picture: Tensor, grid: Sequence[int], covered: tuple[int, int]) -> Tensor:
    """Mean RGB of every token, ``(h * w, 3)``. picture: ``(1, H, W, 3)`` 0..1; covered: `maps.covered_size`."""
    edge = (0, covered[1] - picture.shape[2], 0, covered[0] - picture.shape[1])
    planes = pad(rearrange(picture.float(), "1 h w c -> 1 c h w"), edge, mode="replicate")
    return rearrange(interpolate(planes, tuple(grid), mode="area"), "1 c h w -> (h w) c")


def even_colors(colors: Tensor, grid: Sequence[int], clicked: Sequence[int], refused: Sequence[int]) -> Tensor:
    """Where the colour runs on evenly from a clicked token, and from no refused one: ``(h * w,)`` bool."""
    numbers = torch.arange(len(colors)).reshape(*grid)
    one = torch.cat([numbers[1:].flatten(), numbers[:, 1:].flatten()])
    other = torch.cat([numbers[:-1].flatten(), numbers[:, :-1].flatten()])
    even = (colors[one] - colors[other]).norm(dim=1) < EVEN
    edges = np.ones(int(even.sum())), (one[even].numpy(), other[even].numpy())
    parts = torch.from_numpy(connected_components(coo_matrix(edges, shape=(len(colors), len(colors))))[1])
    return torch.isin(parts, parts[clicked]) & ~torch.isin(parts, parts[refused])


def _below(point: Point, grid: Sequence[int], covered: tuple[int, int]) -> int:
    """The token that a point lies on."""
    return int(point[1] * grid[0] / covered[0]) * grid[1] + int(point[0] * grid[1] / covered[1])


def _meant(
    point: Point, grid: Sequence[int], covered: tuple[int, int], picture: Tensor, colors: Tensor
) -> tuple[int, bool]:
    """The token that a click is for, the one below it or one beside it that has more of the colour under the click, and
    whether it has that colour."""
    (h, w), (x, y) = grid, (int(point[0]), int(point[1]))
    around = max(1, round(covered[0] / h / 8))
    near = picture[0, max(0, y - around) : y + around + 1, max(0, x - around) : x + around + 1].float()
    unlike = (colors - near.flatten(0, 1).median(dim=0).values).norm(dim=1)
    clicked = torch.tensor([point[1] * h / covered[0], point[0] * w / covered[1]])
    away = (_places(grid) * max(h, w) - clicked).norm(dim=1)
    cost = (unlike / SNAP_COLOR).square() + (away / SNAP_TOKENS).square()
    token = int(torch.where(away < 2.25, cost, torch.inf).argmin())
    return token, bool(unlike[token] < EVEN)


def _middle(token: int, grid: Sequence[int], covered: tuple[int, int]) -> Point:
    h, w = grid
    return (token % w + 0.5) * covered[1] / w, (token // w + 0.5) * covered[0] / h


def _whole(mask: Tensor, points: Sequence[Point], negative: Sequence[Point], largest_hole: int) -> Tensor:
    """The regions of a bool mask ``(1, H, W)`` that hold a point, and their small holes but where a person refused one.

    largest_hole: in pixels. A larger one is no flaw but another thing, as the sun in a sky.
    """
    held = regions_at(mask, points)
    holes = fill_holes(held) & ~held
    return held | (holes & ~remove_small(holes, largest_hole + 1) & ~regions_at(holes, negative))
