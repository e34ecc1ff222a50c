"""Prototypes mixed in more where edges follow: does a larger part of the second opinion help behind `refine_maps`?"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from conceptattention_core.reading import OPINION
from tools.benchmarks.beyond.base import BASES, Question
from tools.benchmarks.beyond.cases import Case
from tools.benchmarks.beyond.judge import Candidate
from tools.benchmarks.beyond.recordings import first_blocks


def opined(case: Case, opinion: float) -> Tensor:
    """`auto` with another part of the second opinion, ``(1, C, h, w)``."""
    maps = first_blocks(case)
    first, mixed = replace(maps, features=None).shares("auto").clamp_min(1e-9).log(), maps.shares("auto").log()
    second = (mixed - (1 - OPINION) * first) / OPINION  # its log shares, but for a constant of each place
    return ((1 - opinion) * first + opinion * second).softmax(dim=1)


def candidate(opinion: float) -> Candidate:
    return Candidate(lambda case: opined(case, opinion))


PARTS = (0.0, 0.25, 0.35, 0.5, 0.7, 1.0)
QUESTION = Question(BASES | {f"opinion {part}": candidate(part) for part in PARTS})
