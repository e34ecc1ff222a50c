"""Charts, lines and bars with an axis in percent, drawn with Pillow alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from ..pictures.colors import concept_colors
from ..pictures.legend import INK, PAPER

GRID = (222, 222, 218)
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM, FONT = 760, 460, 74, 24, 60, 62, 15
FINE = 3
"""Shapes are drawn that much larger and then reduced, which smooths them."""
TICK_WIDTH = 34
"""Pixels that a number below the axis needs: where there are more, some are left out."""
BAR, BAR_GAP = 22, 12


@dataclass(frozen=True)
class Line:
    """name: for the legend. points: ``(x, y)``, y 0..1."""

    name: str
    points: tuple[tuple[float, float], ...]


def line_plot(lines: Sequence[Line], title: str, x_label: str, y_label: str, log: bool = False) -> Image.Image:
    """A line for each method with a mark at every point; y in percent, its axis from a round number to a round number.

    log: x, which is above 0, on a logarithmic axis. Raises ValueError where there is nothing to draw.
    """
    points = [point for line in lines for point in line.points]
    if not points:
        raise ValueError("There are no points to plot.")
    xs = sorted({x for x, _ in points})
    ticks = percent_ticks([y for _, y in points])
    low, high = ticks[0], ticks[-1]
    scale: Callable[[float], float] = math.log10 if log else float
    left, right = (scale(xs[0]), scale(xs[-1])) if len(xs) > 1 else (scale(xs[0]) - 1, scale(xs[0]) + 1)

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + 14 + (scale(x) - left) / (right - left) * (WIDTH - LEFT - RIGHT - 28)
        return across, HEIGHT - BOTTOM - (100 * y - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    image = Image.new("RGB", (FINE * WIDTH, FINE * HEIGHT), PAPER)
    draw = ImageDraw.Draw(image)
    for tick in ticks:
        y = place(xs[0], tick / 100)[1]
        _stroke(draw, [(LEFT, y), (WIDTH - RIGHT, y)], GRID, 1)
    for x in xs:
        across = place(x, 0)[0]
        _stroke(draw, [(across, HEIGHT - BOTTOM), (across, HEIGHT - BOTTOM + 5)], INK, 1)
    _stroke(draw, [(LEFT, TOP), (LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, HEIGHT - BOTTOM)], INK, 1.4)
    colors = _colors(len(lines))
    for line, color in zip(lines, colors, strict=True):
        path = [place(x, y) for x, y in sorted(line.points)]
        _stroke(draw, path, color, 2.4)
        for x, y in path:
            draw.ellipse([FINE * (x - 4), FINE * (y - 4), FINE * (x + 4), FINE * (y + 4)], fill=color)
    image = image.reduce(FINE)
    draw = ImageDraw.Draw(image)
    font, small = ImageFont.load_default(FONT), ImageFont.load_default(FONT - 3)
    draw.text((LEFT, 10), title, font=font, fill=INK)
    across = LEFT
    for line, color in zip(lines, colors, strict=True):
        draw.rectangle((across, 37, across + 12, 49), fill=color)
        draw.text((across + 18, 43), line.name, font=small, fill=INK, anchor="lm")
        across += 18 + round(small.getlength(line.name)) + 22
    free = 0.0
    for x in xs:
        at = place(x, 0)[0]
        if at >= free:
            draw.text((at, HEIGHT - BOTTOM + 9), f"{x:g}", font=small, fill=INK, anchor="mt")
            free = at + TICK_WIDTH
    for tick in ticks:
        draw.text((LEFT - 8, place(xs[0], tick / 100)[1]), f"{tick} %", font=small, fill=INK, anchor="rm")
    draw.text(((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 24), x_label, font=font, fill=INK, anchor="mt")
    upright = Image.new("RGB", (round(font.getlength(y_label)) + 2, FONT + 6), PAPER)
    ImageDraw.Draw(upright).text((1, 1), y_label, font=font, fill=INK)
    upright = upright.rotate(90, expand=True)
    image.paste(upright, (6, (TOP + HEIGHT - BOTTOM - upright.height) // 2))
    return image


def bar_plot(bars: Sequence[tuple[str, float]], title: str, label: str) -> Image.Image:
    """A bar for each name, its value (0..1) in percent behind it, all from 0; the longest is the best one.

    label: what the values are. Raises ValueError where there is nothing to draw.
    """
    if not bars:
        raise ValueError("There are no bars to plot.")
    font, small = ImageFont.load_default(FONT), ImageFont.load_default(FONT - 3)
    left = 20 + max(round(small.getlength(name)) for name, _ in bars)
    full, step = WIDTH - left - RIGHT - 60, BAR + BAR_GAP
    image = Image.new("RGB", (WIDTH, TOP + step * len(bars) + BAR_GAP), PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((LEFT, 10), f"{title}: {label}", font=font, fill=INK)
    best = max(value for _, value in bars)
    for index, (name, value) in enumerate(bars):
        top = TOP + step * index
        color = _colors(1)[0] if value == best else (170, 170, 166)
        draw.rectangle((left, top, left + round(full * value), top + BAR), fill=color)
        draw.text((left - 8, top + BAR // 2), name, font=small, fill=INK, anchor="rm")
        words = f"{100 * value:.1f} %"
        draw.text((left + full * value + 8, top + BAR // 2), words, font=small, fill=INK, anchor="lm")
    draw.line([(left, TOP - 6), (left, image.height - BAR_GAP + 6)], fill=INK, width=1)
    return image


def percent_ticks(values: Sequence[float]) -> list[int]:
    """Round percentages that enclose the values 0..1: at most seven, in steps of 1, 2, 5, 10 or 20."""
    low, high = 100 * min(values), 100 * max(values)
    for step in (1, 2, 5, 10, 20):
        first, last = math.floor(low / step), max(math.ceil(high / step), math.floor(low / step) + 1)
        if last - first <= 6:
            break
    return [step * count for count in range(first, last + 1)]


def _colors(count: int) -> list[tuple[int, ...]]:
    return [tuple((color * 255).int().tolist()) for color in concept_colors(count, 0)]


def _stroke(
    draw: ImageDraw.ImageDraw, path: Sequence[tuple[float, float]], color: tuple[int, ...], width: float
) -> None:
    draw.line([(FINE * x, FINE * y) for x, y in path], fill=color, width=round(FINE * width), joint="curve")
