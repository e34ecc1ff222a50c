"""What a maps file says of itself, read strictly: every field's kind and range, and that they agree with each other.

A file comes from anybody. Nothing of the tensor is read before all of this holds, so that a hostile or damaged file
costs no memory.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, NoReturn

from .features import CHANNELS
from .letters import printable, quoted

VERSION = 2
"""1: pictures, and their scores alone; 2: videos, too, which have an axis of frames, and times; and features."""

MAX_CONCEPTS = 64
"""As many as a run records."""

MAX_NAME = 1000
"""Letters in a name; files of earlier versions hold longer ones than are taken now."""

MAX_FRAMES = 2**14
"""Pictures of a video: eleven minutes at 24 a second."""

PICTURES_OF_A_FRAME = 32
"""More than any video model decodes one of its frames to."""

MAX_PIXELS = 2**28
"""Pixels of a picture: 16,384 x 16,384. A mask of that size is 1 GiB."""


Kind = tuple[tuple[int, ...], str]
"""Of a tensor in a file: its shape, and its dtype by its name in safetensors."""


def read_description(text: str, tensors: dict[str, Kind]) -> dict[str, Any]:
    """The fields of `ConceptAttentionMaps`, less the tensors, that a file's JSON describes.

    tensors: what the file says of them, by name, `scores` at least. Raises ValueError, without the file's name, where
    the JSON is none, lacks a field, holds one of another kind or out of its range, or contradicts a tensor.
    """
    try:
        description = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"does not describe its maps: {printable(str(error))[:200]}. Save them again.") from error
    if not isinstance(description, dict):
        raise ValueError("does not describe its maps: its description is no JSON object. Save them again.")
    if _whole_field(description, "version", 1, 2**31) > VERSION:
        raise ValueError(
            f"was written by a later version of Concept Attention (format {description['version']}, this one reads up "
            f"to {VERSION}). Update this package."
        )
    fields = {name: read(description, name) for name, read in FIELDS.items()}
    fields |= {name: read(description, name) for name, read in LATER_FIELDS.items() if name in description}
    _agree(fields, *tensors["scores"])
    if "features" in tensors:
        _agree_features(tensors["scores"][0], *tensors["features"])
    return fields


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is no number")


def _refuse(field: str, value: Any, wanted: str) -> NoReturn:
    raise ValueError(f"does not describe its maps: {field} is {quoted(repr(value))}, not {wanted}. Save them again.")


def _field(description: dict[str, Any], name: str) -> Any:
    if name not in description:
        raise ValueError(f"does not describe its maps: {name} is missing. Save them again.")
    return description[name]


def _whole_field(description: dict[str, Any], name: str, low: int, high: int) -> int:
    """A whole number between two ends, both allowed."""
    return _whole(_field(description, name), name, low, high)


def _whole(value: Any, name: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        _refuse(name, value, f"a whole number between {low} and {high}")
    return value


def _number(value: Any, name: str, low: float, high: float) -> float:
    kind = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not kind or not low <= value <= high or not math.isfinite(value):
        _refuse(name, value, f"a number between {low:g} and {high:g}")
    return float(value)


def _list(description: dict[str, Any], name: str, most: int) -> list[Any]:
    value = _field(description, name)
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        _refuse(name, value, f"a list of 1 to {most}")
    return value


def _words(value: Any, name: str, most: int) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > most or printable(value) != value:
        _refuse(name, value, f"a word or a few, at most {most} letters, that can be shown")
    return value


def _pair(description: dict[str, Any], name: str, low: int, high: int) -> tuple[int, int]:
    value = _list(description, name, 2)
    if len(value) != 2:
        _refuse(name, value, "two whole numbers")
    return _whole(value[0], name, low, high), _whole(value[1], name, low, high)


def _one_of(description: dict[str, Any], name: str, words: tuple[str, ...]) -> str:
    value = _field(description, name)
    if value not in words:
        _refuse(name, value, " or ".join(words))
    return str(value)


def _concepts(description: dict[str, Any], name: str) -> tuple[str, ...]:
    names = tuple(_words(value, name, MAX_NAME) for value in _list(description, name, MAX_CONCEPTS))
    for one in names:
        if one != one.strip() or names.count(one) > 1:
            _refuse(name, one, "a name of its own without blanks around it")
    return names


def _blocks(description: dict[str, Any], name: str) -> tuple[int, ...]:
    blocks = tuple(_whole(value, name, 0, 4095) for value in _list(description, name, 4096))
    if list(blocks) != sorted(set(blocks)):
        _refuse(name, list(blocks), "rising indices of blocks")
    return blocks


FIELDS: dict[str, Callable[[dict[str, Any], str], Any]] = {
    "concepts": _concepts,
    "background_count": lambda given, name: _whole_field(given, name, 0, MAX_CONCEPTS - 1),
    "blocks": _blocks,
    "sigmas": lambda given, name: tuple(_number(value, name, 0, 1e6) for value in _list(given, name, 100_000)),
    "image_size": lambda given, name: _pair(given, name, 1, MAX_PIXELS),
    "projection": lambda given, name: _words(_field(given, name), name, 100),
}

LATER_FIELDS: dict[str, Callable[[dict[str, Any], str], Any]] = {
    "token_pixels": lambda given, name: _whole_field(given, name, 1, 256),
    "family": lambda given, name: _words(_field(given, name), name, 100),
    "default_blocks": lambda given, name: _pair(given, name, -4096, 4095),
    "reading": lambda given, name: _one_of(given, name, ("paper", "auto")),
    "trusted_blocks": lambda given, name: _pair(given, name, -4096, 4095),
    "temperature": lambda given, name: _number(_field(given, name), name, 1e-6, 1e9),
    "softness": lambda given, name: _number(_field(given, name), name, 1e-6, 1e9),
    "trust": lambda given, name: tuple(_number(value, name, 1e-9, 1) for value in _list(given, name, 4096)),
    "times": lambda given, name: tuple(_number(value, name, 0, MAX_FRAMES) for value in _list(given, name, MAX_FRAMES)),
}
"""What files of the first kind lack: they are FLUX.1's, and the fields' defaults say so. Pictures have no times."""


def _agree(fields: dict[str, Any], shape: tuple[int, ...], dtype: str) -> None:
    """Raise ValueError where a file's fields contradict its tensor, or each other."""
    size, token = fields["image_size"], fields.get("token_pixels", 16)
    counts = (len(fields["sigmas"]), len(fields["blocks"]), len(fields["concepts"]))
    times = fields.get("times", ())
    if (
        len(shape) != (7 if times else 6)
        or dtype != "F32"
        or 0 in shape
        or (shape[0], shape[1], shape[3]) != counts
        or len(fields.get("trust", fields["blocks"])) != len(fields["blocks"])
        or fields["background_count"] >= len(fields["concepts"])
        or size[0] * size[1] > MAX_PIXELS
        or any(abs(count - math.ceil(side / token)) > 1 for side, count in zip(size, shape[-2:], strict=True))
        or (times and (max(times) > shape[4] - 1 or len(times) > PICTURES_OF_A_FRAME * shape[4]))
    ):
        pictures = f"{len(times)} pictures" if times else "a picture"
        raise ValueError(
            f"contradicts itself: {dtype} scores of shape {shape} for (steps, blocks, concepts) {counts}, "
            f"{fields['background_count']} of them background, {pictures} of {size} in tokens of {token} pixels. Save "
            "it again."
        )


def _agree_features(scores: tuple[int, ...], shape: tuple[int, ...], dtype: str) -> None:
    """Raise ValueError where a file's features are not those of its scores' blocks, pictures and places."""
    wanted = (scores[1], scores[2], CHANNELS, *scores[4:])
    if shape != wanted or dtype != "F16":
        raise ValueError(
            f"contradicts itself: {dtype} features of shape {shape} beside scores that want F16 {wanted}. Save it "
            "again."
        )
