"""A contact sheet: what every block by itself makes of one picture, its score below it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..images import image_batch
from ..maps import ConceptAttentionMaps, resize_maps
from ..pictures.colors import concept_colors
from ..pictures.legend import INK, PAPER, legend_picture
from .datasets import Sample
from .method import Method
from .report import SHEET

CELL, GAP, LINE, TEXT, COLUMNS, LEGEND_WIDTH = 144, 8, 20, 12, 8, 560


def write_sheet(
    folder: Path, maps: ConceptAttentionMaps, sample: Sample, base: Method, rows: Sequence[dict[str, Any]]
) -> Path:
    """``blocks-maps.png`` of one picture, with each block's true mIoU over all pictures where `rows` have it."""
    scores = [
        next((row["true_miou"] for row in rows if row["method"] == one.describe()), None)
        for one in (replace(base, first_block=block, last_block=block) for block in maps.blocks)
    ]
    path = folder / SHEET
    block_sheet(maps, sample, base.temperature, scores).save(path)
    return path


def block_sheet(
    maps: ConceptAttentionMaps, sample: Sample, temperature: float, scores: Sequence[float | None]
) -> Image.Image:
    """The picture, its truth, and for each block its shares: every place in the colour of its strongest concept.

    The less a place is decided, the greyer. maps: of one picture; temperature: as in `ConceptAttentionMaps.saliency`;
    scores: each block's true mIoU, 0..1 or None.
    """
    colors = concept_colors(len(maps.concepts), maps.background_count)
    side = CELL / max(maps.image_size)
    size = max(1, round(maps.image_size[0] * side)), max(1, round(maps.image_size[1] * side))
    picture = image_batch(torch.from_numpy(sample.image.copy()).float()[None] / 255, 1, size)[0]
    cells = [("picture", picture), ("truth", _truth(sample, colors, size))]
    for position, block in enumerate(maps.blocks):
        shares = resize_maps(maps.saliency(block, block, temperature), maps.image_size, size, maps.token_pixels)[0]
        score = scores[position]
        cells.append((f"block {block}" + ("" if score is None else f"  {100 * score:.1f}"), _painted(shares, colors)))
    columns = min(COLUMNS, len(cells))
    rows = math.ceil(len(cells) / columns)
    width = GAP + columns * (CELL + GAP)
    winner = maps.saliency(temperature=temperature)[0].argmax(dim=0).flatten()
    area = torch.bincount(winner, minlength=len(colors)) / len(winner)
    legend = _image(legend_picture(maps.concepts, colors, area.tolist(), min(width, LEGEND_WIDTH)))
    sheet = Image.new("RGB", (width, GAP + rows * (size[0] + LINE + GAP) + legend.height), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT)
    for index, (name, cell) in enumerate(cells):
        left, top = GAP + (index % columns) * (CELL + GAP), GAP + (index // columns) * (size[0] + LINE + GAP)
        sheet.paste(_image(cell), (left, top))
        draw.text((left, top + size[0] + LINE // 2), name, font=font, fill=INK, anchor="lm")
    sheet.paste(legend, (0, sheet.height - legend.height))
    return sheet


def _painted(shares: Tensor, colors: Tensor) -> Tensor:
    """``(C, h, w)`` shares as ``(h, w, 3)``: the winner's colour, as much of it as its share lies above chance."""
    best, winner = shares.max(dim=0)
    chance = 1 / len(shares)
    sure = ((best - chance) / max(1 - chance, 1e-6)).clamp(0, 1)[..., None]
    return sure * colors[winner] + (1 - sure) * torch.tensor(PAPER) / 255


def _truth(sample: Sample, colors: Tensor, size: tuple[int, int]) -> Tensor:
    """The label map in the concepts' colours; what has no name is paper."""
    rows, columns = (((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(size, sample.labels.shape, strict=True))
    labels = torch.from_numpy(sample.labels[np.ix_(rows, columns)].astype(np.int64))
    table = torch.cat([(torch.tensor(PAPER) / 255)[None], colors])
    return table[labels.clamp_min(0)]


def _image(pixels: Tensor) -> Image.Image:
    return Image.fromarray((pixels * 255).round().clamp(0, 255).to(torch.uint8).numpy())
