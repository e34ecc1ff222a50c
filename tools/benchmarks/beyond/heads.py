"""Scores by heads: does each know its own concepts?

The demo model has one head, so parts of its channels stand in. What real heads would give cannot be told from them.
"""

from __future__ import annotations

from dataclasses import replace

from einops import rearrange, repeat

from conceptattention_core.maps import ConceptAttentionMaps, Reading
from tools.benchmarks.beyond.base import BASES, Question
from tools.benchmarks.beyond.cases import Case
from tools.benchmarks.beyond.judge import Candidate
from tools.benchmarks.beyond.recordings import first_blocks


def parted(case: Case, count: int) -> ConceptAttentionMaps:
    """Maps in which every part of a block's channels is a block. count: parts, 2 or 4."""
    maps = first_blocks(case)
    assert maps.features is not None
    scores = rearrange(case.parts["groups"].float(), "s b (g k) c h w -> s b g k c h w", g=count).sum(dim=3)
    scores = rearrange(scores, "s b g c h w -> s (b g) 1 c h w")
    features = repeat(maps.features, "b n f h w -> (b g) n f h w", g=count)
    return replace(maps, scores=scores, features=features, blocks=tuple(range(scores.shape[1])))


def candidate(reading: Reading, count: int) -> Candidate:
    return Candidate(lambda case: parted(case, count).shares(reading, 0, -1))


READINGS: tuple[Reading, ...] = ("auto", "paper")
QUESTION = Question(
    BASES
    | {
        f"{reading}, {count} parts of the channels": candidate(reading, count)
        for reading in READINGS
        for count in (2, 4)
    }
)
