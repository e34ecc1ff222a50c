"""Which words a method asks a picture for: its own, one of them and the background, or absent ones besides."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..letters import key
from .datasets import BACKGROUND, Lexicon, Sample

Words = Literal["named", "pair", "absent", "bank"]
ABSENT = 4
"""Words that are asked for in vain."""
ALONE = ("background",)
"""What competes where the data set's own protocol has no background."""


@dataclass(frozen=True)
class Asked:
    """sample: a picture and its truth, whose names are asked for; the last `absent` of them are nowhere in it.

    background: what competes beside them.
    """

    sample: Sample
    background: tuple[str, ...]
    absent: int = 0


def ask(words: Words, sample: Sample, background: tuple[str, ...], lexicon: Lexicon) -> Asked:
    """The names of a sample as a method asks for them.

    named: as they are. pair: the first one and "background", everything else in the picture being background.
    absent: at most `ABSENT` others of the lexicon's names besides. bank: the lexicon's, the same for every picture.
    """
    if words == "pair":
        labels = np.where(sample.labels > 1, BACKGROUND, sample.labels).astype(np.int16)
        return Asked(replace(sample, labels=labels, names=sample.names[:1]), ALONE)
    if words == "absent":
        background = background or ALONE
        others = absent_words(sample, background, lexicon.names)
        return Asked(replace(sample, names=(*sample.names, *others)), background, len(others))
    if words == "bank":
        return Asked(replace(sample, names=lexicon.bank), ())
    return Asked(sample, background)


def absent_words(sample: Sample, background: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """At most `ABSENT` words that are not in a picture: first those that share a word with one that is.

    "night sky" where there is a sky: such pairs are the hardest. Then others, drawn by the picture itself, so that the
    same picture is always asked for the same.
    """
    taken = {key(name) for name in (*sample.names, *background)}
    others = [word for word in dict.fromkeys(names) if key(word) not in taken]
    order = np.random.default_rng(zlib.crc32(sample.image.tobytes())).permutation(len(others))
    there = {piece for name in sample.names for piece in key(name).split()}
    drawn = [others[index] for index in order]
    return tuple(sorted(drawn, key=lambda word: there.isdisjoint(key(word).split()))[:ABSENT])
