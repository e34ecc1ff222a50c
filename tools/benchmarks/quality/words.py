"""What is asked for in a scene: four lists of words, from all that is there to almost nothing of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from conceptattention_core.evaluate.datasets.scenes.scenes import NOUNS, Scene

BACKGROUND = "background"

LISTS = {
    "A": "all nouns of a scene",
    "B": "all nouns, up to four that are not there, and background",
    "D": "all nouns, up to four look-alikes that are not there, and background",
    "O": "only the objects, and background",
}

LIKE = (
    ("sky", "sunset", "night sky"),
    ("grass", "sand", "snow", "road", "sea"),
    ("sun", "moon", "ball", "balloon"),
    ("tree", "palm tree", "flower"),
    ("house", "lighthouse", "windmill", "snowman"),
    ("car", "boat"),
    ("cloud", "bird", "mountain"),
)
"""Words that are easily taken for one another."""


@dataclass(frozen=True)
class Question:
    """A list of words for one scene. labels: ``(H, W)``, k where `names[k - 1]` is, 0 where no name is."""

    names: tuple[str, ...]
    labels: np.ndarray


def ask(one: Scene, kind: str) -> Question:
    """One of `LISTS` for a scene. With O, what is no object belongs to the background; else it is not counted."""
    if kind == "A":
        return Question(one.names, one.labels)
    if kind == "O":
        around = (one.labels == 0) | (one.labels > len(one.objects))
        return Question((*one.objects, BACKGROUND), np.where(around, len(one.objects) + 1, one.labels))
    absent = strangers(one.names, one.seed) if kind == "B" else look_alikes(one.names, one.seed)
    return Question((*one.names, *absent, BACKGROUND), one.labels)


def strangers(names: tuple[str, ...], seed: int) -> list[str]:
    """Four words that are not in a scene."""
    absent = [noun for noun in NOUNS if noun not in names]
    return np.random.default_rng(seed).permutation(absent)[:4].tolist()


def look_alikes(names: tuple[str, ...], seed: int) -> list[str]:
    """Up to four words that are not in a scene, each like one that is."""
    absent = [word for group in LIKE if set(group) & set(names) for word in group if word not in names]
    return np.random.default_rng(seed).permutation(absent)[:4].tolist()
