"""The scores of a run by noise level, within a bound of bytes: a long schedule's neighbours share a mean."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

RUN_BYTES = 512 * 2**20
"""What one run may hold. FLUX.1 at 1024 x 1024 takes 0.3 MiB a concept and step: 32 concepts of 50 steps fit."""


@dataclass
class Group:
    """Evaluations that are kept as one: the sum of their scores, and how many of each noise level there were."""

    total: Tensor
    evaluations: dict[float, int]

    def sigma(self) -> float:
        """The mean of its noise levels."""
        return sum(self.evaluations) / len(self.evaluations)


@dataclass
class StepScores:
    """Running sums of scores, one for each noise level while there is room.

    limit: bytes. Once another noise level would not fit, neighbours in the order of sampling are added up in pairs, and
    from then on as many together: memory stays below the limit however many steps there are, all steps count, and what
    is lost is only which of the neighbours said what.
    """

    limit: int = RUN_BYTES
    _groups: list[Group] = field(default_factory=list)
    _together: int = 1

    def __len__(self) -> int:
        return len(self._groups)

    def add(self, sigma: float, scores: Tensor) -> None:
        """Take one evaluation's scores, and the tensor with them. Evaluations of one noise level count as one step."""
        group = next((one for one in reversed(self._groups) if sigma in one.evaluations), None)
        if group is None:
            self._make_room(scores.numel() * 4)
            if self._groups and len(self._groups[-1].evaluations) < self._together:
                group = self._groups[-1]
        if group is None:
            self._groups.append(Group(scores, {sigma: 1}))
        else:
            group.total += scores
            group.evaluations[sigma] = group.evaluations.get(sigma, 0) + 1

    def _make_room(self, bytes_of_a_step: int) -> None:
        """Merge in pairs, until another group fits or there is only one."""
        full = not self._groups or len(self._groups[-1].evaluations) >= self._together
        while full and len(self._groups) > 1 and (len(self._groups) + 1) * bytes_of_a_step > self.limit:
            pairs, self._groups = self._groups, []
            while pairs:
                first = pairs.pop(0)
                if pairs:
                    second = pairs.pop(0)
                    first.total += second.total
                    first.evaluations |= second.evaluations
                self._groups.append(first)
            self._together *= 2
            full = len(self._groups[-1].evaluations) >= self._together
        if full and self._groups and (len(self._groups) + 1) * bytes_of_a_step > self.limit:
            self._together = 2**31  # room for a single one

    def means(self, release: bool = False) -> tuple[Tensor, tuple[float, ...]]:
        """``(steps, ...)`` scores, a mean over each group's evaluations, and their noise levels.

        release: one group after another is let go of, so that no second copy of all is ever held.
        """
        sigmas = tuple(group.sigma() for group in self._groups)
        scores = torch.empty(len(sigmas), *self._groups[0].total.shape)
        groups, self._groups = self._groups, [] if release else list(self._groups)
        for at in range(len(sigmas)):
            group = groups.pop(0)
            torch.div(group.total, sum(group.evaluations.values()), out=scores[at])
        return scores, sigmas
