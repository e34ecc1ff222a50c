"""What a person chose, painted and clicked on in the Concept Explorer: the text that its node keeps, read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .letters import quoted
from .maps import READINGS

THRESHOLD = 0.35
"""What a new explorer has: with it masks lose little of what is there, and mask little of what is not
(`tools/benchmarks/masks.py`)."""

MAX_STATE = 64 * 1024
"""Letters of a node's state."""

MAX_POINTS = 40_000
"""Points of all its strokes."""


@dataclass(frozen=True)
class Stroke:
    """A line that a person painted, or a click. key: the maps it was put on, empty: any; picture: which of the batch.

    add: to the mask, else from it. points ``(x, y)``: in parts of the picture's width and height; radius: of its width.
    select: it is a click on a thing (add) or on what is not the thing, for `masks.select`, and paints nothing.
    """

    key: str
    picture: int
    add: bool
    radius: float
    points: tuple[tuple[float, float], ...]
    select: bool = False


@dataclass(frozen=True)
class View:
    """What a person has chosen. Blocks: None as the maps say; start, end: part of the steps, 0..1.

    edges: follow those of the picture, where there is one. reading: as of `ConceptAttentionMaps`; empty: the maps' own.
    """

    concept: str = ""
    threshold: float = THRESHOLD
    first_block: int | None = None
    last_block: int | None = None
    start: float = 0.0
    end: float = 1.0
    temperature: float = 1.0
    edges: bool = True
    reading: str = ""
    strokes: tuple[Stroke, ...] = field(default=())

    def on(self, key: str) -> tuple[Stroke, ...]:
        """The strokes and clicks that belong to these maps."""
        return tuple(one for one in self.strokes if one.key in ("", key))


@dataclass(frozen=True)
class Clicks:
    """What was clicked on in one picture: pixels ``(x, y)`` of the thing, and of what is not the thing."""

    on: tuple[tuple[int, int], ...] = ()
    off: tuple[tuple[int, int], ...] = ()
    picture: int = 0


def parse_state(text: str) -> View:
    """Read a node's state, JSON as the explorer writes it; empty: the defaults. Raises ValueError on anything else."""
    if not text.strip():
        return View()
    if len(text) > MAX_STATE:
        raise ValueError(f"`state` holds {len(text)} letters; at most {MAX_STATE} are read. Clear some strokes.")
    try:
        data = json.loads(text)
        strokes = tuple(_stroke(one) for one in data.get("strokes", ()))
        view = View(
            concept=str(data.get("concept", "")),
            threshold=_number(data, "threshold", THRESHOLD, 0, 1),
            first_block=_block(data.get("first_block")),
            last_block=_block(data.get("last_block")),
            start=_number(data, "start", 0.0, 0, 1),
            end=_number(data, "end", 1.0, 0, 1),
            temperature=_number(data, "temperature", 1.0, 0.01, 1000),
            edges=data.get("edges", True) is True,
            reading=_reading(data.get("reading", "")),
            strokes=strokes,
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"`state` is not what the explorer wrote ({quoted(str(error))}). Clear it.") from error
    if sum(len(stroke.points) for stroke in strokes) > MAX_POINTS:
        raise ValueError(f"`state` holds more than {MAX_POINTS} painted points. Clear some strokes.")
    return view


def _number(data: dict[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = data.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError(f"{name} must lie between {low} and {high}")
    return float(value)


def _reading(value: Any) -> str:
    if value not in ("", *READINGS):
        raise ValueError("a reading is paper or auto")
    return value


def _block(value: Any) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or abs(value) > 4096):
        raise ValueError("a block is a whole number")
    return value


def _stroke(one: dict[str, Any]) -> Stroke:
    points = tuple((float(x), float(y)) for x, y in one["points"])
    finite = all(abs(number) < 16 for point in points for number in point)
    if not points or not finite:
        raise ValueError("a stroke has points inside the picture")
    radius = _number(one, "radius", 0.02, 0, 1)
    selects = one.get("select", False) is True
    return Stroke(str(one["key"]), int(one.get("picture", 0)), bool(one["add"]), radius, points, selects)


def clicks_of(strokes: Sequence[Stroke], size: tuple[int, int], pictures: int = 1) -> Clicks:
    """The clicks among strokes, in pixels of ``(H, W)``: those of one picture of a batch, the one clicked on last."""
    clicks = [one for one in strokes if one.select and one.picture < pictures]
    if not clicks:
        return Clicks()
    picture = clicks[-1].picture
    height, width = size
    on, off = (
        tuple(
            (min(max(int(x * width), 0), width - 1), min(max(int(y * height), 0), height - 1))
            for one in clicks
            if one.picture == picture and one.add is wanted
            for x, y in one.points
        )
        for wanted in (True, False)
    )
    return Clicks(on, off, picture)
