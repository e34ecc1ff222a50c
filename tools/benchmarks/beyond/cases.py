"""What is asked of a scene: which words are named, and what the truth then is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from conceptattention_core.evaluate.datasets.scenes.scenes import HELD_OUT, NOUNS, Scene, scene
from conceptattention_core.maps import ConceptAttentionMaps

Words = Literal["all", "objects", "absent"]
"""All nouns of a scene; its objects and `background`; all nouns, four absent ones, and `background`."""

TUNING_FIRST = 500_400_000
"""First seed of the scenes that rules are chosen by."""

HELD_OUT_FIRST = HELD_OUT + 13_000
"""First seed of the scenes that a chosen rule is judged by, once. No other benchmark's."""

BACKGROUND = "background"
ABSENT = 4


@dataclass(frozen=True)
class Case:
    """One scene as one model saw it, with one list of words.

    maps: what the product would record, and `parts` what it would not, as the recording says (`recordings.py`).
    labels: ``(H, W)``, k for the k-th word, 0 for what has none. picture: ``(1, H, W, 3)`` 0..1.
    """

    maps: ConceptAttentionMaps
    parts: dict[str, Tensor]
    labels: np.ndarray
    picture: Tensor

    @property
    def names(self) -> tuple[str, ...]:
        return self.maps.concepts


def words_of(one: Scene, words: Words) -> tuple[str, ...]:
    """The names to ask for, background last."""
    if words == "all":
        return one.names
    if words == "objects":
        return (*one.objects, BACKGROUND)
    rng = np.random.default_rng(one.seed)
    absent = rng.choice([noun for noun in NOUNS if noun not in one.names], ABSENT, replace=False)
    return (*rng.permutation([*one.names, *absent]).tolist(), BACKGROUND)


def labels_of(one: Scene, names: tuple[str, ...]) -> np.ndarray:
    """The scene's labels by the order of these names, ``(H, W)``; only objects being named, the rest is background."""
    order = np.zeros(len(one.names) + 1, dtype=int)
    rest = len(names) if set(names) == {*one.objects, BACKGROUND} else 0
    for label, name in enumerate(one.names, start=1):
        order[label] = names.index(name) + 1 if name in names else rest
    order[0] = rest
    return order[one.labels]


def picture_of(one: Scene) -> Tensor:
    """``(1, H, W, 3)`` 0..1."""
    return torch.from_numpy(one.image.copy()).float()[None] / 255


def scenes(first: int, count: int) -> list[Scene]:
    """The first `count` scenes with an object in them, from a seed on."""
    found: list[Scene] = []
    seed = first
    while len(found) < count:
        one = scene(seed)
        found += [one] * bool(one.objects)
        seed += 1
    return found
