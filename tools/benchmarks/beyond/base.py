"""What everything is compared with: the product's two readings."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tools.benchmarks.beyond.judge import Candidate, ordinary_presence
from tools.benchmarks.beyond.recordings import Record, first_blocks, sampled

BASES = {
    "auto": Candidate(lambda case: first_blocks(case).shares("auto")),
    "paper": Candidate(lambda case: first_blocks(case).shares("paper", 0, -1)),
}

WITH_PRESENCE = BASES | {"auto": replace(BASES["auto"], presence=lambda case: ordinary_presence(first_blocks(case)))}
"""For questions that may change it."""


@dataclass(frozen=True)
class Question:
    """candidates: by name, the one named `base` among them. record: how their cases are recorded."""

    candidates: dict[str, Candidate]
    base: str = "auto"
    record: Record = sampled
