"""The paper's measures, as whole pixel counts, so that a sum over pictures does not depend on their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .sure import Ranks, Trust

UNLABELLED = -1
"""In a label map: a pixel whose truth is not known. It counts nowhere."""

UNIT = 10**12
"""Average precisions and leakages are summed as whole multiples of 1e-12."""


@dataclass(frozen=True)
class Counts:
    """One picture's part in the measures.

    right, labelled: pixels. classes: for each class in the picture, pixels in the intersection and in the union of
    prediction and truth. average_precision, leakage: 0..1, or None where the map has no scale on which they are
    defined; leakage also where fewer than two things have names.
    Of the stages only (`judge.py`): stolen: labelled pixels that a word wins which is not in the picture. sure: for
    each word whether it is there, its presence, and its peak, 0..1. weights: of each block, by reading auto.
    """

    right: int
    labelled: int
    classes: dict[str, tuple[int, int]]
    average_precision: float | None
    leakage: float | None = None
    stolen: int | None = None
    sure: tuple[tuple[bool, float, float], ...] = ()
    weights: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data, read back by `from_json` without loss."""
        classes = {name: list(pair) for name, pair in self.classes.items()}
        shares = {"ap": self.average_precision, "leakage": self.leakage}
        extra = {"stolen": self.stolen, "sure": self.sure, "weights": self.weights}
        told = {name: value for name, value in extra.items() if value is not None and value != ()}
        return {"right": self.right, "labelled": self.labelled, "classes": classes, **shares, **told}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Counts:
        """Raises KeyError, TypeError or ValueError on anything that `to_json` did not write."""
        classes = {name: (int(both), int(either)) for name, (both, either) in data["classes"].items()}
        precision, leakage = (None if data[name] is None else float(data[name]) for name in ("ap", "leakage"))
        sure = tuple((bool(there), float(value), float(peak)) for there, value, peak in data.get("sure", ()))
        stolen, weights = data.get("stolen"), tuple(map(float, data.get("weights", ())))
        return cls(
            int(data["right"]),
            int(data["labelled"]),
            classes,
            precision,
            leakage,
            None if stolen is None else int(stolen),
            sure,
            weights,
        )


def count_pixels(
    predicted: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    average_precision: float | None,
    leakage: float | None = None,
) -> Counts:
    """Compare two label maps ``(H, W)`` of indices into `classes`; labels may also be UNLABELLED.

    A class that is neither there nor predicted is left out.
    """
    known = labels != UNLABELLED
    found, true = predicted[known], labels[known]
    overlaps = {}
    for index, name in enumerate(classes):
        here, there = found == index, true == index
        either = int((here | there).sum())
        if either:
            overlaps[name] = (int((here & there).sum()), either)
    return Counts(int((found == true).sum()), int(known.sum()), overlaps, average_precision, leakage)


def leakage_of(shares: np.ndarray, labels: np.ndarray) -> float | None:
    """The share of a concept's mass that lies inside other concepts' true masks, the mean over concepts.

    What AnchorDiff (arXiv 2605.26460) sets out to lessen, measured on known masks: 0 where every concept keeps to
    itself. shares: ``(K, H, W)``, of the concepts that have masks. labels: ``(H, W)``, `k + 1` where concept k is; what
    is 0 or UNLABELLED is in nobody's mask, and mass there counts as the concept's own. None for fewer than two concepts
    in the picture.
    """
    there = [index for index in range(len(shares)) if (labels == index + 1).any()]
    if len(there) < 2:
        return None
    parts = [
        shares[index][(labels > 0) & (labels != index + 1)].sum(dtype=np.float64) / shares[index].sum(dtype=np.float64)
        for index in there
    ]
    return float(np.mean(parts))


def average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """Area under the precision-recall steps: the sum of precision times the gain in recall, thresholds descending.

    scores ``(n,)``: any real numbers, equal ones count as one threshold; truth ``(n,)`` bool. 0 where nothing is true.
    The same definition as scikit-learn's `average_precision_score`.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], truth[order]
    last_of_ties = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    found = np.cumsum(hits)[last_of_ties].astype(np.float64)
    if len(found) == 0 or found[-1] == 0:
        return 0.0
    precision, recall = found / (last_of_ties + 1), found / found[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def two_channel_average_precision(share: np.ndarray, truth: np.ndarray) -> float:
    """The paper's AP of one map: the channels (1 - s, s) against (not truth, truth), all entries ranked together.

    share ``(n,)`` 0..1; truth ``(n,)`` bool.
    """
    return average_precision(np.concatenate([1 - share, share]), np.concatenate([~truth, truth]))


def paper_miou(accuracy: float) -> float:
    """What the paper prints as mIoU on ImageNet-Segmentation: both channels counted as one class, acc / (2 - acc).

    No mean over classes, so it is higher than the true mIoU wherever the smaller class is found worse.
    """
    return accuracy / (2 - accuracy)


@dataclass
class Totals:
    """The measures over a data set: whole numbers, so any order of the pictures gives the same bits."""

    pictures: int = 0
    right: int = 0
    labelled: int = 0
    classes: dict[str, list[int]] = field(default_factory=dict)
    precisions: int = 0
    precision_units: int = 0
    leakages: int = 0
    leakage_units: int = 0
    stolen: int | None = None
    presence: Ranks = field(default_factory=Ranks)
    peak: Ranks = field(default_factory=Ranks)
    trust: Trust = field(default_factory=Trust)

    def add(self, one: Counts) -> None:
        self.pictures += 1
        self.right += one.right
        self.labelled += one.labelled
        for name, (both, either) in one.classes.items():
            sums = self.classes.setdefault(name, [0, 0])
            sums[0] += both
            sums[1] += either
        if one.average_precision is not None:
            self.precisions += 1
            self.precision_units += round(one.average_precision * UNIT)
        if one.leakage is not None:
            self.leakages += 1
            self.leakage_units += round(one.leakage * UNIT)
        if one.stolen is not None:
            self.stolen = (self.stolen or 0) + one.stolen
        for there, presence, peak in one.sure:
            self.presence.add(there, presence)
            self.peak.add(there, peak)
        if one.weights:
            self.trust.add(one.weights)

    @property
    def accuracy(self) -> float:
        """Pixels right / pixels labelled, over the data set."""
        return self.right / max(self.labelled, 1)

    @property
    def class_iou(self) -> dict[str, float]:
        """Intersection / union over the data set for each class, by name."""
        return {name: both / either for name, (both, either) in sorted(self.classes.items())}

    @property
    def true_miou(self) -> float:
        """Mean of `class_iou` over the classes."""
        return sum(self.class_iou.values()) / max(len(self.classes), 1)

    @property
    def mean_average_precision(self) -> float | None:
        """Mean over pictures, None where no picture has one."""
        return self.precision_units / UNIT / self.precisions if self.precisions else None

    @property
    def mean_leakage(self) -> float | None:
        """Mean over pictures, None where no picture has one."""
        return self.leakage_units / UNIT / self.leakages if self.leakages else None
