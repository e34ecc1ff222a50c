"""Legends: which colour is which concept, and which colour is which share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .fonts import Label, make_labels

INK, PAPER = (28, 28, 30), (245, 245, 242)


def text_size(width: int) -> int:
    """Height of the letters, in pixels, below a picture of this width."""
    return max(11, width // 40)


def legend_picture(names: Sequence[str], colors: Tensor, area: Sequence[float], width: int) -> Tensor:
    """Chips with names and percentages, wrapped to `width` pixels: ``(height, width, 3)`` float32 0..1.

    colors: ``(C, 3)`` 0..1; area: part of the picture that each concept wins, 0..1.
    """
    size = text_size(width)
    figures = ImageFont.load_default(size)
    chip, gap, line = size, size // 2, round(size * 1.6)
    entries: list[tuple[Label, str, float]] = []
    for label, part in zip(make_labels(names, size), area, strict=True):
        percent = f"  {part:.0%}"
        label = label.shortened(width - chip - 3 * gap - figures.getlength(percent))
        entries.append((label, percent, label.font.getlength(label.text)))
    places, x, y = [], gap, gap // 2
    for _, percent, length in entries:
        needed = chip + gap + round(length + figures.getlength(percent)) + 2 * gap
        if x > gap and x + needed > width:
            x, y = gap, y + line
        places.append((x, y))
        x += needed
    image = Image.new("RGB", (width, y + line + gap // 2), PAPER)
    draw = ImageDraw.Draw(image)
    for (x, y), (label, percent, length), color in zip(places, entries, colors, strict=True):
        fill = tuple((color * 255).int().tolist())
        draw.rectangle((x, y + (line - chip) // 2, x + chip, y + (line + chip) // 2), fill=fill)
        draw.text((x + chip + gap, y + line // 2), label.text, font=label.font, fill=INK, anchor="lm")
        draw.text((x + chip + gap + length, y + line // 2), percent, font=figures, fill=INK, anchor="lm")
    return pixels(image)


def legend_pictures(names: Sequence[str], colors: Tensor, area: Tensor, width: int) -> Tensor:
    """A legend for each picture of a batch, all as high as the highest: ``(B, height, width, 3)`` float32 0..1.

    area: ``(B, C)``. "9 %" and "10 %" are not equally long, so one picture's legend may take a line more. The height is
    even, as video codecs want it.
    """
    legends = [legend_picture(names, colors, parts, width) for parts in area.tolist()]
    paper = torch.tensor(PAPER) / 255
    highest = max(map(len, legends))
    sheet = paper.expand(len(legends), highest + highest % 2, width, 3).clone()
    for page, legend in zip(sheet, legends, strict=True):
        page[: len(legend)] = legend
    return sheet


def color_bar(colors: Tensor, low: str, high: str, width: int, size: int) -> Tensor:
    """A colour map from its lowest to its highest value, with a word at each end: ``(height, width, 3)`` float32 0..1.

    colors: ``(n, 3)`` 0..1; size: height of the letters.
    """
    font = ImageFont.load_default(size)
    gap, line = size // 2, round(size * 1.6)
    image = Image.new("RGB", (width, line + gap), PAPER)
    draw = ImageDraw.Draw(image)
    middle = (line + gap) // 2
    draw.text((gap, middle), low, font=font, fill=INK, anchor="lm")
    draw.text((width - gap, middle), high, font=font, fill=INK, anchor="rm")
    start, end = (round(2 * gap + font.getlength(low)), round(width - 2 * gap - font.getlength(high)))
    if end > start:
        strip = Image.fromarray((colors[None] * 255).round().to(torch.uint8).numpy())
        image.paste(strip.resize((end - start, size), Image.Resampling.BILINEAR), (start, middle - size // 2))
    return pixels(image)


def pixels(image: Image.Image) -> Tensor:
    """A PIL picture of mode RGB as ``(H, W, 3)`` float32 0..1."""
    return torch.from_numpy(np.array(image)).float() / 255
