"""Image-to-text attention as a second opinion: what image tokens ask of each concept, beside what the two put out."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from conceptattention_core.maps import ConceptAttentionMaps
from tools.benchmarks.beyond.base import WITH_PRESENCE, Question
from tools.benchmarks.beyond.cases import Case
from tools.benchmarks.beyond.judge import Candidate, ordinary_presence
from tools.benchmarks.beyond.recordings import DOUBLE_BLOCKS, first_blocks


def questions(case: Case) -> ConceptAttentionMaps:
    """The double blocks' maps, scored by image-to-text attention before its softmax."""
    return replace(first_blocks(case), scores=case.parts["asked"][:, :DOUBLE_BLOCKS, None])


def mixed(case: Case, part: float) -> Tensor:
    """`auto` of both, the second as a part of the log shares: ``(1, C, h, w)``."""
    first, second = (one.shares("auto").clamp_min(1e-9).log() for one in (first_blocks(case), questions(case)))
    return ((1 - part) * first + part * second).softmax(dim=1)


def candidate(part: float) -> Candidate:
    return Candidate(lambda case: mixed(case, part))


ALONE = Candidate(lambda case: questions(case).shares("auto"), presence=lambda case: ordinary_presence(questions(case)))
QUESTION = Question(
    WITH_PRESENCE | {"asked alone, auto": ALONE} | {f"asked {part}": candidate(part) for part in (0.05, 0.1, 0.2, 0.35)}
)
