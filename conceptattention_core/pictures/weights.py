"""Which steps and blocks `reading` auto trusts, as a picture: a bar for each block, a cell for each of its steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .colormaps import color_map
from .legend import INK, PAPER, pixels

CELL, BAR, TEXT, LEAST_WIDTH = 28, 96, 13, 320
"""Width of a block's bar and height of a step's row, height of the longest bar, of letters, and width of a picture."""

MOST_ROWS = 30
"""Steps beyond these share a row with their neighbours."""


def weights_picture(
    weights: Tensor, blocks: Sequence[int], sigmas: Sequence[float], colors: str = "heat"
) -> Tensor:
    """Bars and cells of each picture of a batch, ``(B, height, width, 3)`` float32 0..1, all of one size.

    weights: ``(B, steps, blocks)``, >= 0, sum 1, as `ConceptAttentionMaps.block_weights` gives them. blocks, sigmas:
    the names of both axes. The longest bar is the highest block's part, written above it; colours run from 0 to the
    highest cell.
    """
    return torch.stack([_picture(one, blocks, sigmas, color_map(colors)) for one in weights])


def _picture(weights: Tensor, blocks: Sequence[int], sigmas: Sequence[float], colors: Tensor) -> Tensor:
    rows, names = step_rows(weights, sigmas)
    font = ImageFont.load_default(TEXT)
    left, line = round(font.getlength("noise 0.00")) + 2 * TEXT, round(1.6 * TEXT)
    cell = max(CELL, (LEAST_WIDTH - left) // len(blocks))
    top, foot = 2 * line + BAR, 2 * line + BAR + CELL * len(rows)
    image = Image.new("RGB", (left + cell * len(blocks) + TEXT, foot + 2 * line), PAPER)
    draw = ImageDraw.Draw(image)
    parts, highest = rows.sum(dim=0), rows.max().clamp_min(1e-12)
    draw.text((TEXT, line // 2), "what reading auto trusts", font=font, fill=INK, anchor="lm")
    for at, (block, part) in enumerate(zip(blocks, parts.tolist(), strict=True)):
        x, middle = left + at * cell, left + at * cell + cell // 2
        height = max(2, round(BAR * part / float(parts.max().clamp_min(1e-12))))  # one that counts nothing is there
        draw.rectangle((x + 2, top - height, x + cell - 3, top - 2), fill=INK)
        if at == int(parts.argmax()):
            draw.text((middle, top - BAR - line // 2), f"{part:.0%}", font=font, fill=INK, anchor="mm")
        for row, value in enumerate((rows[:, at] / highest).tolist()):
            shade = tuple((colors[round(value * (len(colors) - 1))] * 255).int().tolist())
            draw.rectangle((x, top + row * CELL, x + cell - 1, top + (row + 1) * CELL - 1), fill=shade)
        if at % max(1, -(-30 // cell)) == 0:
            draw.text((middle, foot + line // 2), str(block), font=font, fill=INK, anchor="mm")
    draw.text((left, foot + 3 * line // 2), "block", font=font, fill=INK, anchor="lm")
    for row, name in enumerate(names):
        draw.text((left - TEXT // 2, top + row * CELL + CELL // 2), name, font=font, fill=INK, anchor="rm")
    return pixels(image)


def step_rows(weights: Tensor, sigmas: Sequence[float]) -> tuple[Tensor, list[str]]:
    """``(rows, blocks)`` and their names: steps as they are, or neighbours added up where there are very many."""
    together = -(-len(sigmas) // MOST_ROWS)
    groups = [range(at, min(at + together, len(sigmas))) for at in range(0, len(sigmas), together)]
    rows = torch.stack([weights[list(group)].sum(dim=0) for group in groups])
    return rows, [f"noise {sigmas[group[0]]:.2f}" for group in groups]
