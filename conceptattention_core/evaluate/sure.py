"""How sure maps are of what is there, over a data set. Whole numbers: any order of pictures gives the same bits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

UNIT = 10**6
"""Values are counted as whole multiples of 1e-6."""


@dataclass
class Ranks:
    """How often a word that is in its picture, and one that is not, got each value."""

    there: Counter[int] = field(default_factory=Counter[int])
    absent: Counter[int] = field(default_factory=Counter[int])

    def add(self, there: bool, value: float) -> None:
        (self.there if there else self.absent)[round(value * UNIT)] += 1

    @property
    def auroc(self) -> float | None:
        """The chance that a word that is there gets more than one that is not, ties counted half; None without both."""
        pairs = self.there.total() * self.absent.total()
        if not pairs:
            return None
        below, won = 0, 0
        for value in sorted({*self.there, *self.absent}):
            won += self.there[value] * (2 * below + self.absent[value])
            below += self.absent[value]
        return won / (2 * pairs)


@dataclass
class Trust:
    """Which blocks `reading` auto trusts, from picture to picture."""

    pictures: int = 0
    sums: list[int] = field(default_factory=list[int])
    units: list[int] = field(default_factory=list[int])
    peaks: Counter[int] = field(default_factory=Counter[int])

    def add(self, weights: Sequence[float]) -> None:
        """weights: of each block, sum 1."""
        length = sum(weight**2 for weight in weights) ** 0.5
        self.sums = self.sums or [0] * len(weights)
        self.units = self.units or [0] * len(weights)
        for block, weight in enumerate(weights):
            self.sums[block] += round(weight * UNIT)
            self.units[block] += round(weight / length * UNIT)
        self.pictures += 1
        self.peaks[max(range(len(weights)), key=lambda block: weights[block])] += 1

    @property
    def mean(self) -> list[float]:
        """Of each block, sum 1."""
        return [total / UNIT / self.pictures for total in self.sums]

    @property
    def stability(self) -> float:
        """The mean cosine of two different pictures' weights: 1 where all pictures trust the same blocks."""
        if self.pictures < 2:
            return 1.0
        squared = sum((total / UNIT) ** 2 for total in self.units)
        return (squared - self.pictures) / (self.pictures * (self.pictures - 1))

    @property
    def peak(self) -> tuple[int, float]:
        """The block that most pictures trust most, and their part of all."""
        block, count = max(self.peaks.items(), key=lambda item: (item[1], -item[0]))
        return block, count / self.pictures
