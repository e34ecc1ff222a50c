"""Pictures that exist: which noise levels, how many, and how many noises of each?"""

from __future__ import annotations

from dataclasses import replace

from conceptattention_core.maps import ConceptAttentionMaps, Reading
from tools.benchmarks.beyond.base import Question
from tools.benchmarks.beyond.cases import Case
from tools.benchmarks.beyond.judge import Candidate, ordinary_presence
from tools.benchmarks.beyond.recordings import LEVELS, NOISES, looked

LOOKS: tuple[tuple[tuple[float, ...], int], ...] = (
    ((0.5,), 1),
    ((0.5,), 4),
    ((0.4,), 1),
    ((0.3,), 1),
    ((0.3,), 2),
    ((0.3,), 4),
    ((0.2,), 1),
    ((0.1,), 1),
    ((0.2, 0.4), 1),
    ((0.2, 0.4), 2),
    ((0.1, 0.3, 0.5), 1),
    ((0.2, 0.3, 0.4), 1),
    ((0.1, 0.2, 0.3, 0.4, 0.5), 1),
    ((0.1, 0.2, 0.3, 0.4, 0.5, 0.6), 1),
)
"""Levels, and noises of each."""


def seen(case: Case, levels: tuple[float, ...], noises: int) -> ConceptAttentionMaps:
    """The maps as if only these looks had been had: levels as steps, noises of one level averaged, as a record does."""
    first = [LEVELS.index(level) * NOISES for level in levels]
    scores = case.maps.scores.unflatten(0, (len(LEVELS), NOISES))[[at // NOISES for at in first], :noises].mean(dim=1)
    looks = case.parts["looks"].unflatten(0, (len(LEVELS), NOISES))[[at // NOISES for at in first], :noises]
    features = looks.float().mean(dim=(0, 1))[:, None].half()
    return replace(case.maps, scores=scores, sigmas=levels, features=features)


def candidate(reading: Reading, levels: tuple[float, ...], noises: int) -> Candidate:
    return Candidate(
        lambda case: seen(case, levels, noises).shares(reading, 0, -1),
        presence=lambda case: ordinary_presence(seen(case, levels, noises)),
    )


def called(reading: Reading, levels: tuple[float, ...], noises: int) -> str:
    return f"{reading}, {' '.join(map(str, levels))}" + (f" x {noises}" if noises > 1 else "")


READINGS: tuple[Reading, ...] = ("auto", "paper")
QUESTION = Question(
    {called(reading, *look): candidate(reading, *look) for reading in READINGS for look in LOOKS},
    base=called("auto", (0.5,), 1),
    record=looked,
)
