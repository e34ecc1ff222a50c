"""Stages: what may be changed in the reading of maps, one question after another, each with what it is measured by.

What a full-size model has to confirm before a default changes, in the order of the plan that the readings come from. A
change is kept if it gains half a point of accuracy and does not lower the AUROC of presence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .ablate import TEMPERATURES, readings
from .method import Method

LEVELS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
OPINIONS = (0.0, 0.05, 0.15, 0.25, 0.35)
PARTS = (0.01, 0.02, 0.04, 0.08)
GAIN, LOSS = 0.5, 0.0005
"""Points of accuracy that a change has to gain, and AUROC that it may not lose: what three decimals show."""


@dataclass(frozen=True)
class Change:
    """One thing that may be done in another way. Both methods are rows of the run."""

    name: str
    before: Method
    after: Method


@dataclass(frozen=True)
class Stage:
    """number: as the plan has it. changes: what is judged; methods: all rows of its table."""

    number: int
    title: str
    methods: tuple[Method, ...]
    changes: tuple[Change, ...]


def noise_levels(base: Method, depth: int) -> Stage:
    """1: noise levels, ranges of blocks, and readings, each at every level."""
    paper, bare, auto = readings(base)
    tails = {f"the last {count} blocks" if count > 1 else "the last block": count for count in _counts(depth)}
    ranges = {name: replace(base, first_block=depth - count, last_block=depth - 1) for name, count in tails.items()}
    candidates = [paper, *ranges.values(), bare, auto]
    methods = tuple(replace(one, noise_level=level) for level in LEVELS for one in candidates)
    changes = [
        Change(f"noise {level} instead of {base.noise_level}", base, replace(base, noise_level=level))
        for level in LEVELS
        if level != base.noise_level
    ]
    changes += [Change(f"{name} instead of the family's", base, one) for name, one in ranges.items()]
    changes += reading_changes(paper, bare, auto)
    return Stage(1, "Noise levels, blocks and readings", methods, tuple(changes))


def reading_changes(paper: Method, bare: Method, auto: Method) -> list[Change]:
    """Reading auto in its two parts, and as a whole."""
    return [
        Change("auto without prototypes instead of paper", paper, bare),
        Change("prototypes on top of that", bare, auto),
        Change("auto instead of paper", paper, auto),
    ]


def _counts(depth: int) -> list[int]:
    """How many of the last blocks: half and a quarter."""
    return [count for count in dict.fromkeys((depth // 2, depth // 4)) if count > 0]


def two_words(base: Method, depth: int) -> Stage:
    """2: an object and "background", the shortest list that there is."""
    paper, bare, auto = (replace(one, words="pair") for one in readings(base))
    bank = replace(auto, weights="bank")
    changes = (
        *reading_changes(paper, bare, auto),
        Change("blocks weighed by a bank of words instead of the two", auto, bank),
    )
    return Stage(2, 'Lists of two: an object and "background"', (paper, bare, auto, bank), changes)


def trust(base: Method, depth: int) -> Stage:
    """3: whether reading auto trusts the same blocks in all pictures."""
    return Stage(3, "Which blocks reading auto trusts", (readings(base)[1],), ())


def absent_words(base: Method, depth: int) -> Stage:
    """4: words that are not in the picture, those like words that are before all."""
    paper, bare, auto = (replace(one, words="absent") for one in readings(base))
    first = [replace(one, pooling="first" if base.pooling == "mean" else "mean") for one in (paper, auto)]
    pooling = f"{first[0].pooling} pooling instead of {base.pooling}"
    changes = (
        *reading_changes(paper, bare, auto),
        Change(f"{pooling}, paper", paper, first[0]),
        Change(f"{pooling}, auto", auto, first[1]),
    )
    return Stage(4, "Words that are not in the picture", (paper, bare, auto, *first), changes)


def prototypes(base: Method, depth: int) -> Stage:
    """5: how much prototypes say, and how many places make one."""
    auto = readings(base)[2]
    said = [replace(auto, opinion=opinion) for opinion in OPINIONS]
    made = [replace(auto, surest=part) for part in PARTS]
    changes = [
        Change(f"an opinion of {one.opinion} instead of {auto.opinion}", auto, one) for one in said if one != auto
    ]
    changes += [
        Change(f"{one.surest:.0%} of the places, not {auto.surest:.0%}", auto, one) for one in made if one != auto
    ]
    return Stage(5, "Prototypes", (*said, *(one for one in made if one != auto)), tuple(changes))


def temperatures(base: Method, depth: int) -> Stage:
    """7: the family's own scale: reading auto should need no temperature."""
    auto = readings(base)[2]
    paper = [replace(base, temperature=factor) for factor in TEMPERATURES]
    own = [replace(auto, temperature=factor) for factor in (0.316, 1.0, 3.162)]
    changes = [Change(f"paper at temperature x {one.temperature:g}", base, one) for one in paper if one != base]
    changes += [Change(f"auto at temperature x {one.temperature:g}", auto, one) for one in own if one != auto]
    changes.append(Change("auto instead of paper, both at x 1", base, auto))
    return Stage(7, "The family's own scale", (*paper, *own), tuple(changes))


STAGES: dict[int, Callable[[Method, int], Stage]] = {
    1: noise_levels,
    2: two_words,
    3: trust,
    4: absent_words,
    5: prototypes,
    7: temperatures,
}
"""6, graph hops, is not here: the pack has none. 8, the time of recording, is measured beside (`clock.py`)."""
NUMBERS = (*STAGES, 8)


def with_absent(method: Method) -> Method:
    """The row that tells a method's presence: the same with absent words, where it asks for the picture's own."""
    return replace(method, words="absent") if method.words == "named" else method


def stage_methods(stages: Sequence[Stage]) -> list[Method]:
    """Every method that the stages need, each once: their rows, and for what is judged the same with absent words."""
    rows = [method for stage in stages for method in stage.methods]
    judged = [one for stage in stages for change in stage.changes for one in (change.before, change.after)]
    sure = [with_absent(one) for one in (*judged, *(row for stage in stages if stage.changes for row in stage.methods))]
    return list(dict.fromkeys([*rows, *judged, *sure]))


def kept(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Half a point of accuracy more, and no less presence; where that is not known it has no say.

    before, after: rows of a report, with ``presence``.
    """
    if after["accuracy"] - before["accuracy"] < GAIN / 100 - 1e-12:
        return False
    old, new = before["presence"], after["presence"]
    return old is None or new is None or new >= old - LOSS
