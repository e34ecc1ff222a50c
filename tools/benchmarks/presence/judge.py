"""How good an answer is: AUROC, calibration and its error, and what 0.5 parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from conceptattention_core.masks.presence import calibrated

from .record import Case
from .rules import Rule

BINS = 10


def auroc(values: np.ndarray, present: np.ndarray) -> float:
    """Probability that a present concept's value is above an absent one's, ties counted half. ``(n,)`` each."""
    there, absent = values[present][:, None], values[~present][None]
    return float((there > absent).mean() + 0.5 * (there == absent).mean())


@dataclass(frozen=True)
class Answers:
    """A number for each concept of each scene, background left out, and whether it is there: ``(n,)`` each."""

    found: np.ndarray
    present: np.ndarray

    @property
    def auroc(self) -> float:
        return auroc(self.found, self.present)

    @property
    def balance(self) -> np.ndarray:
        """Weights, sum 1, by which present and absent concepts count the same."""
        return np.where(self.present, 0.5 / self.present.sum(), 0.5 / (~self.present).sum())

    def calibrated(self, slope: float, offset: float) -> Answers:
        return Answers(calibrated(torch.from_numpy(self.found), slope, offset).numpy(), self.present)

    @property
    def calibration_error(self) -> float:
        """Expected: how far a bin's answers are off the part of it that is there, mean over ten even bins of 0..1."""
        bins = np.minimum((self.found * BINS).astype(int), BINS - 1)
        off = self.balance * (self.found - self.present)
        return float(sum(abs(off[bins == one].sum()) for one in range(BINS)))

    @property
    def sensitivity(self) -> float:
        """Part of the present concepts that get more than 0.5."""
        return float((self.found[self.present] > 0.5).mean())

    @property
    def specificity(self) -> float:
        """Part of the absent concepts that get less."""
        return float((self.found[~self.present] < 0.5).mean())


def answers(cases: Sequence[Case], rule: Rule) -> Answers:
    found = [rule(case.maps.scores)[0, : len(case.present)].double() for case in cases]
    return Answers(torch.cat(found).numpy(), np.array([there for case in cases for there in case.present]))


def fit_calibration(each: Sequence[Answers]) -> tuple[float, float]:
    """Slope and offset of a logistic regression on the log-odds of the evidence.

    Every set of answers weighs the same, and so do present and absent concepts in each.
    """
    found, present = np.concatenate([one.found for one in each]), np.concatenate([one.present for one in each])
    balance = np.concatenate([one.balance for one in each])
    odds = np.log(np.clip(found, 1e-3, 1 - 1e-3) / np.clip(1 - found, 1e-3, 1 - 1e-3))
    inputs, weights = np.stack([odds, np.ones_like(odds)], axis=1), np.zeros(2)
    for _ in range(50):  # Newton's method
        answer = 1 / (1 + np.exp(-inputs @ weights))
        gradient = inputs.T @ (balance * (answer - present))
        weights -= np.linalg.solve((inputs * (balance * answer * (1 - answer))[:, None]).T @ inputs, gradient)
    return float(weights[0]), float(weights[1])
