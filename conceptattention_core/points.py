"""Points that a person has clicked, as people and other packs write them: JSON, or one ``x, y`` a line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from .letters import quoted

Point = tuple[float, float]
"""``(x, y)`` from the top left, in pixels: the first pixel's middle is at 0.5."""

MAX_POINTS = 1000

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)")


def read_points(given: str | Sequence[Any], size: tuple[int, int], name: str = "points") -> tuple[Point, ...]:
    """Points of a picture of ``(H, W)`` pixels, in their order; none where nothing is given.

    given: a list of ``(x, y)``; or its text, as JSON (``[{"x": 96, "y": 40}]``, as the points editors of SAM's packs
    write it, or ``[[96, 40]]``) or with a point a line (``96, 40``). Whole numbers name pixels. Where all lie between 0
    and 1, and not all are whole, they are parts of the picture's width and height.
    name: the input's, for errors. Raises ValueError, saying what a point is, on anything else and outside the picture.
    """
    pairs = [_pair(one, name) for one in (_listed(given, name) if isinstance(given, str) else given)]
    if len(pairs) > MAX_POINTS:
        raise ValueError(f"`{name}` holds {len(pairs)} points; at most {MAX_POINTS} are read. Click fewer.")
    numbers = [number for pair in pairs for number in pair]
    height, width = size
    if all(0 <= one <= 1 for one in numbers) and not all(one.is_integer() for one in numbers):
        return tuple((min(x * width, width - 0.5), min(y * height, height - 0.5)) for x, y in pairs)
    for x, y in pairs:
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(
                f"`{name}` holds ({x:g}, {y:g}), outside of a picture of {width} x {height} pixels (width x height). "
                "Points count pixels from the top left; connect the `image` that they were clicked on."
            )
    return tuple((x + 0.5 if x.is_integer() else x, y + 0.5 if y.is_integer() else y) for x, y in pairs)


def read_clicks(
    points: str | Sequence[Any], negative: str | Sequence[Any], size: tuple[int, int], name: str = "negative_points"
) -> tuple[tuple[Point, ...], tuple[Point, ...]]:
    """The points on a thing and those off it, of a picture of ``(H, W)`` pixels.

    points: as `read_points` takes them; those with ``"label": 0``, as SAM counts, are off the thing. negative: all are.
    name: of the input `negative`, for errors. Raises ValueError as `read_points` does, and on another label.
    """
    listed = _listed(points, "points") if isinstance(points, str) else list(points)
    every = read_points(listed, size)
    labels = [one.get("label", 1) if isinstance(one, dict) else 1 for one in listed]
    for one, label in zip(listed, labels, strict=True):
        if label not in (0, 1):
            raise ValueError(
                f"`points` holds {quoted(str(one))}: a label is 1 on the thing and 0 on what is not the thing."
            )
    on, off = (
        tuple(point for point, label in zip(every, labels, strict=True) if label == wanted) for wanted in (1, 0)
    )
    return on, (*off, *read_points(negative, size, name))


def _listed(text: str, name: str) -> list[Any]:
    """What a text lists, each point as it is written."""
    if not text.strip():
        return []
    if not text.lstrip().startswith(("[", "{")):
        return [line.replace(",", " ").split() for line in re.split(r"[\n;]", text) if line.strip()]
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError):
        raise _refused(text, name) from None
    return listed if isinstance(listed, list) else [listed]


def _pair(point: Any, name: str) -> Point:
    if isinstance(point, dict):
        point = [point.get("x"), point.get("y")]
    if not isinstance(point, (list, tuple)) or len(point) != 2:
        raise _refused(point, name)
    x, y = (_number(one) for one in point)
    if x is None or y is None:
        raise _refused(point, name)
    return x, y


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        return float(value) if NUMBER.fullmatch(value) and len(value) < 30 else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e9 or math.isnan(value):
        return None
    return float(value)


def _refused(given: Any, name: str) -> ValueError:
    return ValueError(
        f"`{name}` reads {quoted(given if isinstance(given, str) else str(given))}, which is no point. Write "
        '[{"x": 96, "y": 40}], or one x, y a line: 96, 40.'
    )
