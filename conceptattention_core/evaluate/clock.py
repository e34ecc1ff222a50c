"""What recording costs: the time that a second reading adds to a forward that has one already."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from .datasets import Sample
from .host import Host, Look, Reading

PAIRS = 5
MOST = 0.03
"""Part of a forward that recording may take: the goal of `tools/benchmarks/cost`."""


@dataclass(frozen=True)
class Cost:
    """Seconds of a forward as far as the last block, without recording, and of one reading: concepts and features."""

    forward: float
    reading: float

    @property
    def part(self) -> float:
        return self.reading / self.forward


def time_reading(host: Host, sample: Sample, look: Look, reading: Reading) -> Cost:
    """Medians over pairs of forwards, with one reading and with two, in turns: a shared machine drifts.

    Scores come to the CPU in both, so a GPU's work is done when the clock stops.
    """
    host.read(sample.image, look, [reading])  # loads, compiles and encodes what the others find ready
    pairs = [
        (_seconds(host, sample, look, [reading]), _seconds(host, sample, look, [reading] * 2)) for _ in range(PAIRS)
    ]
    own = max(0.0, median(two - one for one, two in pairs))
    return Cost(max(1e-9, median(one for one, _ in pairs) - own), own)


def _seconds(host: Host, sample: Sample, look: Look, readings: Sequence[Reading]) -> float:
    begin = time.perf_counter()
    host.read(sample.image, look, readings)
    return time.perf_counter() - begin
