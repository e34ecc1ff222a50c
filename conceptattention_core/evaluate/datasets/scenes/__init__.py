"""`scenes`: the cartoons that the demo model learnt from, drawn from seeds that it never saw."""

from __future__ import annotations

import numpy as np

from .. import BACKGROUND, Dataset, Lexicon, Sample
from .confusable import confusable_scene
from .scenes import HELD_OUT, NOUNS, scene

WORDS = Lexicon(NOUNS, ("sky", "grass", "sand", "sea", "sun", "tree", "house", "car"))
"""The demo model knows some thirty words, so its bank is of these."""


def open_scenes(count: int, size: int, first: int = 1000) -> Dataset:
    """`count` held-out scenes of `size` pixels. Things that are drawn but named nowhere are unlabelled.

    first: offset into the held-out seeds; 1000 is where `tools/benchmarks/quality` begins, too.
    """
    from ...metrics import UNLABELLED

    def load(key: str) -> Sample:
        one = scene(int(key), size)
        labels = np.where(one.labels == 0, UNLABELLED, one.labels.astype(np.int16)).astype(np.int16)
        return Sample(one.image.copy(), labels, one.names, one.caption)

    return Dataset("scenes", _keys(count, first), load, lambda: WORDS)


def open_confusable(count: int, size: int, first: int = 1000) -> Dataset:
    """`count` held-out scenes of `size` pixels with two things that are easily taken for one another.

    Only the two have names; sky and grounds are background, for the protocol's background concepts to find.
    """

    def load(key: str) -> Sample:
        one = confusable_scene(int(key), size)
        labels = np.where(one.labels <= len(one.objects), one.labels, BACKGROUND).astype(np.int16)
        return Sample(one.image.copy(), labels, one.objects, one.caption)

    return Dataset("confusable", _keys(count, first), load, lambda: WORDS)


def _keys(count: int, first: int) -> tuple[str, ...]:
    return tuple(str(HELD_OUT + first + index) for index in range(count))
