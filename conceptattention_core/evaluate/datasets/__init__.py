"""Data sets: pictures with label maps, read one at a time. A reader a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...letters import key

BACKGROUND = 0
"""In a label map: a pixel that belongs to none of the names. See also `metrics.UNLABELLED`."""


@dataclass(frozen=True)
class Sample:
    """One picture and its truth.

    image: ``(H, W, 3)`` uint8. labels: ``(H, W)`` int16: k for ``names[k - 1]``, BACKGROUND or UNLABELLED.
    names: what is in the picture. caption: a sentence about it, if the data set has one.
    """

    image: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    caption: str = ""


@dataclass(frozen=True)
class Lexicon:
    """names: every name that a data set's pictures may have. bank: words that together stand for anything."""

    names: tuple[str, ...] = ()
    bank: tuple[str, ...] = ("person", "animal", "plant", "building", "vehicle", "ground", "sky", "water")


@dataclass(frozen=True)
class Dataset:
    """name: for tables. keys: one for each picture, in order. load: reads one; what it raises is about that one.

    words: what else can be asked of its pictures; it may take a while to find out.
    """

    name: str
    keys: tuple[str, ...]
    load: Callable[[str], Sample]
    words: Callable[[], Lexicon] = Lexicon


def relabel(indices: np.ndarray, names: dict[int, str], void: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """A file's own label numbers to a Sample's `labels` and `names`: what is there, in the order of the numbers.

    indices: ``(H, W)`` integers. names: number -> name; "background" stands for what has no name. void: unlabelled,
    as is number 0 where it has no name. Raises ValueError on a number that means nothing.
    """
    from ..metrics import UNLABELLED

    present = [int(number) for number in np.unique(indices) if number != void]
    unknown = [number for number in present if number not in names and number != 0]
    if unknown:
        raise ValueError(f"label {unknown[0]} has no name: the names are for {', '.join(map(str, names))}")
    labels = np.full(indices.shape, UNLABELLED, dtype=np.int16)
    found: dict[str, str] = {}
    for number in present:
        name = names.get(number, "")
        if key(name) == "background":
            labels[indices == number] = BACKGROUND
        elif name:
            found.setdefault(key(name), name)  # two numbers of one name are one class
            labels[indices == number] = 1 + list(found).index(key(name))
    return labels, tuple(found.values())
