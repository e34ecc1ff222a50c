"""Plots of the ablations, drawn with Pillow alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ..pictures.colors import concept_colors
from ..pictures.legend import INK, PAPER

GRID = (222, 222, 218)
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM, FONT = 760, 460, 74, 24, 60, 62, 15
FINE = 3
"""Lines are drawn that much larger and then reduced, which smooths them."""


@dataclass(frozen=True)
class Line:
    """name: for the legend. points: ``(x, y)``, y 0..1 or None."""

    name: str
    points: tuple[tuple[float, float], ...]


def line_plot(lines: Sequence[Line], title: str, x_label: str, y_label: str) -> Image.Image:
    """A line for each method with a mark at every point; y in percent, its axis from a round number to a round number.

    Raises ValueError where there is nothing to draw.
    """
    points = [point for line in lines for point in line.points]
    if not points:
        raise ValueError("There are no points to plot.")
    xs = sorted({x for x, _ in points})
    ticks = percent_ticks([y for _, y in points])
    low, high = ticks[0], ticks[-1]
    left, right = (xs[0], xs[-1]) if len(xs) > 1 else (xs[0] - 1, xs[0] + 1)

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + 14 + (x - left) / (right - left) * (WIDTH - LEFT - RIGHT - 28)
        return across, HEIGHT - BOTTOM - (100 * y - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    image = Image.new("RGB", (FINE * WIDTH, FINE * HEIGHT), PAPER)
    draw = ImageDraw.Draw(image)

    def stroke(path: Sequence[tuple[float, float]], color: tuple[int, ...], width: float) -> None:
        draw.line([(FINE * x, FINE * y) for x, y in path], fill=color, width=round(FINE * width), joint="curve")

    for tick in ticks:
        y = place(left, tick / 100)[1]
        stroke([(LEFT, y), (WIDTH - RIGHT, y)], GRID, 1)
    for x in xs:
        across = place(x, 0)[0]
        stroke([(across, HEIGHT - BOTTOM), (across, HEIGHT - BOTTOM + 5)], INK, 1)
    stroke([(LEFT, TOP), (LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, HEIGHT - BOTTOM)], INK, 1.4)
    colors = [tuple((color * 255).int().tolist()) for color in concept_colors(len(lines), 0)]
    for line, color in zip(lines, colors, strict=True):
        path = [place(x, y) for x, y in sorted(line.points)]
        stroke(path, color, 2.4)
        for x, y in path:
            draw.ellipse([FINE * (x - 4), FINE * (y - 4), FINE * (x + 4), FINE * (y + 4)], fill=color)
    image = image.reduce(FINE)
    _write_texts(image, lines, colors, title, x_label, y_label, [(place(x, 0)[0], x) for x in xs], ticks, place)
    return image


def percent_ticks(values: Sequence[float]) -> list[int]:
    """Round percentages that enclose the values 0..1: at most seven, in steps of 1, 2, 5, 10 or 20."""
    low, high = 100 * min(values), 100 * max(values)
    for step in (1, 2, 5, 10, 20):
        first, last = math.floor(low / step), max(math.ceil(high / step), math.floor(low / step) + 1)
        if last - first <= 6:
            break
    return [step * count for count in range(first, last + 1)]


def _write_texts(
    image: Image.Image,
    lines: Sequence[Line],
    colors: Sequence[tuple[int, ...]],
    title: str,
    x_label: str,
    y_label: str,
    x_ticks: Sequence[tuple[float, float]],
    y_ticks: Sequence[int],
    place: Any,
) -> None:
    draw = ImageDraw.Draw(image)
    font, small = ImageFont.load_default(FONT), ImageFont.load_default(FONT - 3)
    draw.text((LEFT, 10), title, font=font, fill=INK)
    across = LEFT
    for line, color in zip(lines, colors, strict=True):
        draw.rectangle((across, 37, across + 12, 49), fill=color)
        draw.text((across + 18, 43), line.name, font=small, fill=INK, anchor="lm")
        across += 18 + round(small.getlength(line.name)) + 22
    for at, value in x_ticks:
        draw.text((at, HEIGHT - BOTTOM + 9), f"{value:g}", font=small, fill=INK, anchor="mt")
    for tick in y_ticks:
        draw.text((LEFT - 8, place(0, tick / 100)[1]), f"{tick} %", font=small, fill=INK, anchor="rm")
    draw.text(((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 24), x_label, font=font, fill=INK, anchor="mt")
    upright = Image.new("RGB", (round(font.getlength(y_label)) + 2, FONT + 6), PAPER)
    ImageDraw.Draw(upright).text((1, 1), y_label, font=font, fill=INK)
    upright = upright.rotate(90, expand=True)
    image.paste(upright, (6, (TOP + HEIGHT - BOTTOM - upright.height) // 2))


def write_plots(folder: Path, settings: dict[str, Any], rows: Sequence[dict[str, Any]]) -> list[Path]:
    """Accuracy and true mIoU by block and by noise level, where the run has asked for them. Returns the files."""
    written = []
    for question, axis, x_label in (
        ("blocks", "first_block", "double block"),
        ("noise", "noise_level", "noise level (0: clean, 1: noise only)"),
    ):
        chosen = [rows[index] for index in settings["ablate"].get(question, ())]
        if question == "blocks":
            chosen = [row for row in chosen if row["method"]["first_block"] == row["method"]["last_block"]]
        for measure, y_label in (("accuracy", "accuracy"), ("true_miou", "true mIoU")):
            lines = [
                Line(name, tuple((row["method"][axis], row[measure]) for row in chosen if row["name"] == name))
                for name in dict.fromkeys(row["name"] for row in chosen)
            ]
            if lines:
                path = folder / f"{question}-{measure.replace('_', '-')}.png"
                title = f"{settings['dataset']}, {Path(settings['model']).name}"
                line_plot(lines, title, x_label, y_label).save(path)
                written.append(path)
    return written
