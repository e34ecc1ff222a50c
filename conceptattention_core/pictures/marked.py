"""Boxes and points over the picture, as a person checks them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .fonts import make_labels
from .legend import pixels, text_size
from .preview import GREY

BOX, ON, OFF, EDGE = (255, 213, 0), (64, 220, 96), (240, 64, 64), (20, 20, 20)
"""Boxes, points on the concept, points off it, and what sets them off from the picture."""


def marked_picture(
    picture: Tensor | None,
    size: tuple[int, int],
    boxes: Sequence[tuple[int, int, int, int, float]],
    positive: Sequence[tuple[int, int]],
    negative: Sequence[tuple[int, int]],
    name: str,
) -> Tensor:
    """One picture with its boxes (x, y, width, height, score), each with name and score, and its points.

    picture: ``(H, W, 3)`` 0..1, or None for plain grey of `size` ``(H, W)``. Returns ``(H, W, 3)`` float32 0..1.
    """
    height, width = size
    ground = torch.full((height, width, 3), GREY) if picture is None else picture
    image = Image.fromarray((ground * 255).round().to(torch.uint8).numpy())
    draw, letters = ImageDraw.Draw(image), text_size(width)
    line, figures = max(1, width // 200), ImageFont.load_default(letters)
    (label,) = make_labels([name], letters)
    for x, y, wide, high, score in boxes:
        for color, thick in ((EDGE, 3 * line), (BOX, line)):
            inset = (3 * line - thick) // 2
            right, bottom = max(x + inset, x + wide - 1 - inset), max(y + inset, y + high - 1 - inset)
            draw.rectangle((x + inset, y + inset, right, bottom), outline=color, width=thick)
        number = f" {score:.2f}"
        text = label.shortened(max(wide, width // 4) - figures.getlength(number))
        length, top = text.font.getlength(text.text), max(0, y - round(1.3 * letters))
        draw.rectangle((x, top, x + length + figures.getlength(number) + letters / 2, top + 1.3 * letters), fill=BOX)
        draw.text((x + letters / 4, top + 0.65 * letters), text.text, font=text.font, fill=EDGE, anchor="lm")
        draw.text((x + letters / 4 + length, top + 0.65 * letters), number, font=figures, fill=EDGE, anchor="lm")
    radius = max(3, width // 90)
    for points, color in ((positive, ON), (negative, OFF)):
        for x, y in points:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color, outline=EDGE, width=line)
    return pixels(image)
