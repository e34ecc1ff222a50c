"""Heat maps of several concepts: as a batch, as a labelled grid, or all over one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from einops import rearrange
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..expression import Expression, combine_shares, parse_list
from ..images import image_batch
from ..maps import ConceptAttentionMaps, resize_maps
from .colormaps import color_map
from .colors import concept_colors
from .fonts import make_labels
from .heatmap import heatmap_picture
from .legend import INK, PAPER, color_bar, legend_pictures, pixels, text_size

Layout = Literal["grid", "pictures", "overlay"]
Scale = Literal["shared", "per concept"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
SCALES: tuple[Scale, ...] = get_args(Scale)

GRID_SIDE = 2048
"""A grid of large pictures is made smaller until its longer side has about this many pixels."""
CELL_SIDE = 128
"""A small picture is made larger in a grid until its longer side has this many pixels: there must be room for text."""


@dataclass(frozen=True)
class HeatmapStyle:
    """How heat maps are drawn.

    colors: a name of `colormaps.COLOR_MAPS`; the overlay has a colour for each concept instead.
    scale: ``shared`` runs from 0 to the highest share that any concept reaches in any picture of the batch, drawn or
    not, so that a concept that is not there stays dark. ``per concept`` runs from each concept's own lowest share to
    its own highest: the most contrast, and an absent concept looks like a present one.
    alpha: how opaque the colours are over the picture, 0..1.
    """

    layout: Layout = "grid"
    colors: str = "heat"
    scale: Scale = "shared"
    alpha: float = 0.6


def choose_concepts(text: str, maps: ConceptAttentionMaps) -> list[Expression]:
    """The concepts that `text` names, separated by commas, or several as one: ``tree + house, sky``; all where it is
    empty. Raises ValueError with the nearest names on an unknown one.
    """
    chosen = parse_list(text, maps.concepts)
    return chosen or [Expression((index,)) for index in range(len(maps.concepts))]


def combined(shares: Tensor, chosen: Sequence[Expression]) -> Tensor:
    """The shares of each chosen expression. shares: ``(B, C, h, w)``; returns ``(B, K, h, w)``."""
    signs = torch.stack([one.signs(shares.shape[1]) for one in chosen])
    return torch.stack([combine_shares(shares, one.expand(len(shares), -1)) for one in signs], dim=1)


def draw_heatmaps(
    maps: ConceptAttentionMaps,
    shares: Tensor,
    chosen: Sequence[Expression],
    style: HeatmapStyle,
    image: Tensor | None = None,
) -> Tensor:
    """Draw the chosen concepts' heat maps, over the picture where there is one.

    shares: ``(B, C, h, w)`` on the token grid, from `maps.saliency`. image: ``(1 or B, H, W, 3)`` 0..1; its size is
    that of the result, by default the maps' own. Returns float32 0..1:

    ``pictures``: ``(B K, H, W, 3)`` for K chosen concepts, a picture's heat maps together, in the order of `chosen`.
    ``grid``: ``(B, height, width, 3)``: each heat map under its concept's name and highest share, and the colour scale.
    ``overlay``: ``(B, H + legend, W, 3)``: each place in the colour of its strongest concept, the more opaque the
    higher its share; the picture shows where a concept that is not chosen, or a background concept, wins.
    """
    size = maps.image_size if image is None else (image.shape[1], image.shape[2])
    layout = {"pictures": _pictures, "grid": _grid, "overlay": _overlay}[style.layout]
    return layout(maps, shares, list(chosen), style, image, size)


def scale_ends(shares: Tensor, drawn: Tensor, scale: Scale) -> tuple[Tensor, Tensor]:
    """The shares that the first and the last colour stand for, ``(K,)`` each.

    shares: ``(B, C, h, w)``, of all concepts; drawn: ``(B, K, h, w)``, of what is drawn.
    """
    lowest, highest = drawn.amin(dim=(0, 2, 3)), drawn.amax(dim=(0, 2, 3))
    if scale == "shared":
        return 0 * lowest, torch.maximum(shares.amax(), highest.amax()).expand_as(highest)
    return lowest, highest


def _levels(
    maps: ConceptAttentionMaps, shares: Tensor, chosen: list[Expression], scale: Scale, size: tuple[int, int]
) -> Tensor:
    """Where on its scale each chosen concept is: ``(B, K, *size)`` 0..1; 0 for a map that is constant."""
    drawn = combined(shares, chosen)
    low, high = (end[:, None, None] for end in scale_ends(shares, drawn, scale))
    resized = resize_maps(drawn, maps.image_size, size, maps.token_pixels)
    return ((resized - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)


def _painted(levels: Tensor, style: HeatmapStyle, image: Tensor | None) -> Tensor:
    """``(B, K, H, W)`` levels in colours, over the picture: ``(B, K, H, W, 3)``."""
    painted = heatmap_picture(levels, style.colors)
    if image is None:
        return painted
    batch, _, *size = levels.shape
    return style.alpha * painted + (1 - style.alpha) * image_batch(image, batch, (size[0], size[1]))[:, None]


def _pictures(
    maps: ConceptAttentionMaps,
    shares: Tensor,
    chosen: list[Expression],
    style: HeatmapStyle,
    image: Tensor | None,
    size: tuple[int, int],
) -> Tensor:
    painted = _painted(_levels(maps, shares, chosen, style.scale, size), style, image)
    return rearrange(painted, "b k h w rgb -> (b k) h w rgb")


def _overlay(
    maps: ConceptAttentionMaps,
    shares: Tensor,
    chosen: list[Expression],
    style: HeatmapStyle,
    image: Tensor | None,
    size: tuple[int, int],
) -> Tensor:
    everything = [Expression((index,)) for index in range(len(maps.concepts))]
    wished = list(dict.fromkeys(index for one in chosen for index in one.plus if index not in one.minus))
    levels = _levels(maps, shares, everything, style.scale, size)
    winner = resize_maps(shares, maps.image_size, size, maps.token_pixels).argmax(dim=1)
    colors = concept_colors(len(maps.concepts), maps.background_count)
    opacity = levels.gather(1, winner[:, None]) * torch.isin(winner, torch.tensor(wished))[:, None]
    opacity = rearrange(opacity, "b 1 h w -> b h w 1")
    if image is None:
        painted = opacity * colors[winner]
    else:
        wanted = (winner < len(maps.concepts) - maps.background_count)[..., None]
        opacity = style.alpha * opacity * wanted
        painted = opacity * colors[winner] + (1 - opacity) * image_batch(image, len(shares), size)
    area = torch.stack([(winner == index).flatten(1).float().mean(dim=1) for index in wished], dim=1)
    names = [maps.concepts[index] for index in wished]
    return torch.cat([painted, legend_pictures(names, colors[wished], area, size[1])], dim=1)


def _grid(
    maps: ConceptAttentionMaps,
    shares: Tensor,
    chosen: list[Expression],
    style: HeatmapStyle,
    image: Tensor | None,
    size: tuple[int, int],
) -> Tensor:
    columns, rows, cell = grid_shape(len(chosen), size)
    painted = _painted(_levels(maps, shares, chosen, style.scale, cell), style, image)
    drawn = combined(shares, chosen)
    peaks = drawn.amax(dim=(2, 3))
    width = max(cell[1], CELL_SIDE)
    text = text_size(2 * width)
    gap, line = text, round(text * 1.6)
    names = make_labels([one.text(maps.concepts) for one in chosen], text)
    figures = ImageFont.load_default(text)
    places = [
        (gap + (index // columns) * (line + cell[0] + gap), gap + (index % columns) * (width + gap))
        for index in range(len(chosen))
    ]
    low, high = ("0", f"{float(scale_ends(shares, drawn, 'shared')[1][0]):.2f}")
    ends = ("lowest", "highest") if style.scale == "per concept" else (low, high)
    bar = color_bar(color_map(style.colors), *ends, width=gap + columns * (width + gap), size=text)
    grids = []
    for pictures, highest in zip(painted, peaks.tolist(), strict=True):
        paper = Image.new("RGB", (bar.shape[1], gap + rows * (line + cell[0] + gap)), PAPER)
        draw = ImageDraw.Draw(paper)
        for (top, left), name, peak in zip(places, names, highest, strict=True):
            number = f"{peak:.2f}"
            label = name.shortened(width - text - figures.getlength(number))
            draw.text((left, top + line // 2), label.text, font=label.font, fill=INK, anchor="lm")
            draw.text((left + width, top + line // 2), number, font=figures, fill=INK, anchor="rm")
        grid = pixels(paper)
        for (top, left), picture in zip(places, pictures, strict=True):
            inset = left + (width - cell[1]) // 2
            grid[top + line : top + line + cell[0], inset : inset + cell[1]] = picture
        grids.append(torch.cat([grid, bar]))
    return even(torch.stack(grids))


def even(pictures: Tensor) -> Tensor:
    """``(B, H, W, 3)`` with even sides, as video codecs want them: an odd side gets its last row or column twice."""
    if pictures.shape[1] % 2:
        pictures = torch.cat([pictures, pictures[:, -1:]], dim=1)
    return torch.cat([pictures, pictures[:, :, -1:]], dim=2) if pictures.shape[2] % 2 else pictures


def grid_shape(count: int, size: tuple[int, int]) -> tuple[int, int, tuple[int, int]]:
    """``(columns, rows, (H, W) of a cell)`` of a grid for `count` pictures of a size: about as wide as it is high."""
    height, width = size
    columns = min(count, max(1, math.ceil(math.sqrt(count * height / width))))
    rows = math.ceil(count / columns)
    scale = min(1.0, GRID_SIDE / max(columns * width, rows * height))
    scale = max(scale, CELL_SIDE / max(size))
    return columns, rows, (max(1, round(height * scale)), max(1, round(width * scale)))
