"""The concept stream carried into the first single blocks: do the maps gain by them?"""

from __future__ import annotations

from conceptattention_core.maps import Reading
from tools.benchmarks.beyond.base import WITH_PRESENCE, Question
from tools.benchmarks.beyond.judge import Candidate, ordinary_presence
from tools.benchmarks.beyond.recordings import DOUBLE_BLOCKS, first_blocks


def candidate(reading: Reading, single: int) -> Candidate:
    count = DOUBLE_BLOCKS + single
    return Candidate(
        lambda case: first_blocks(case, count).shares(reading, 0, -1),
        presence=lambda case: ordinary_presence(first_blocks(case, count)),
    )


READINGS: tuple[Reading, ...] = ("auto", "paper")
QUESTION = Question(
    WITH_PRESENCE | {f"{one}, and {single} single": candidate(one, single) for one in READINGS for single in (1, 2, 4)}
)
