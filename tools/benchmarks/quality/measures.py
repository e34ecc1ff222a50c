"""Measures of one scene's shares against the truth, and their sums over scenes, drawn again for intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from conceptattention_core.evaluate.metrics import average_precision, leakage_of
from conceptattention_core.masks.presence import PLACES

from .words import BACKGROUND, Question

RESAMPLES = 1000


@dataclass
class Agreement:
    """Pixel counts over a data set, by noun."""

    right: int = 0
    labelled: int = 0
    stolen: int = 0
    both: dict[str, int] = field(default_factory=dict)
    either: dict[str, int] = field(default_factory=dict)

    def add(self, predicted: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> None:
        """predicted, labels: `(H, W)` with label k for `names[k - 1]`; label 0 (without a name) is not counted. The
        background has no IoU, and neither have names that are nowhere: what these win is stolen."""
        named, present = labels > 0, {names[label - 1] for label in np.unique(labels) if label > 0}
        absent = [index for index, name in enumerate(names, start=1) if name not in (*present, BACKGROUND)]
        self.stolen += int(np.isin(predicted, absent)[named].sum())
        self.right += int((predicted == labels)[named].sum())
        self.labelled += int(named.sum())
        for index, name in enumerate(names, start=1):
            if name == BACKGROUND or index in absent:
                continue
            self.count(name, (predicted == index) & named, labels == index)

    def count(self, name: str, found: np.ndarray, true: np.ndarray) -> None:
        """Masks of one noun, `(H, W)` bool each."""
        self.both[name] = self.both.get(name, 0) + int((found & true).sum())
        self.either[name] = self.either.get(name, 0) + int((found | true).sum())

    @property
    def accuracy(self) -> float:
        return self.right / self.labelled

    @property
    def iou(self) -> dict[str, float]:
        return {name: self.both[name] / max(count, 1) for name, count in self.either.items()}

    @property
    def mean_iou(self) -> float:
        return float(np.mean(list(self.iou.values())))


def boundary(mask: Tensor) -> Tensor:
    """The part of a mask `(H, W)` within 2 % of the diagonal of its border (B. Cheng et al., "Boundary IoU", 2021)."""
    reach = max(1, round(0.02 * (mask.shape[0] ** 2 + mask.shape[1] ** 2) ** 0.5))
    outside = (1 - mask.float())[None, None]
    for window, margin in (((1, 2 * reach + 1), (0, reach)), ((2 * reach + 1, 1), (reach, 0))):
        outside = max_pool2d(outside, window, stride=1, padding=margin)
    return mask & (outside[0, 0] > 0)


@dataclass(frozen=True)
class Truth:
    """A scene's question with its answer, looked at by many rules."""

    question: Question

    @cached_property
    def present(self) -> tuple[int, ...]:
        """Indices of the names that are there, the background's left out."""
        names, labels = self.question.names, self.question.labels
        return tuple(i for i, name in enumerate(names) if name != BACKGROUND and (labels == i + 1).any())

    @cached_property
    def borders(self) -> dict[int, np.ndarray]:
        """The border of each name that is there."""
        return {i: boundary(torch.from_numpy(self.question.labels == i + 1)).numpy() for i in self.present}


@dataclass(frozen=True)
class Marks:
    """One rule's shares of one scene. border: as `whole`, of the nouns' borders only. precisions: AP of each map of a
    noun that is there; leakage: part of a noun's share that lies on other nouns, the mean over nouns."""

    whole: Agreement
    border: Agreement
    precisions: tuple[float, ...]
    leakage: float | None


def mark(shares: Tensor, truth: Truth, ranked: bool) -> Marks:
    """shares: ``(C, H, W)`` at the picture's size, sum 1. ranked: take the slow AP, too, on every second pixel."""
    names, labels = truth.question.names, truth.question.labels
    predicted = shares.argmax(dim=0).numpy() + 1
    whole, border = Agreement(), Agreement()
    whole.add(predicted, labels, names)
    for i, true in truth.borders.items():
        border.count(names[i], boundary(torch.from_numpy((predicted == i + 1) & (labels > 0))).numpy(), true)
    nouns = len(names) - (names[-1] == BACKGROUND)
    things = np.where(labels > nouns, 0, labels)
    half = shares[:, ::2, ::2].numpy()
    precisions = [
        average_precision(half[i].ravel(), (labels[::2, ::2] == i + 1).ravel()) for i in truth.present if ranked
    ]
    return Marks(whole, border, tuple(precisions), leakage_of(half[:nouns], things[::2, ::2]))


def won(shares: Tensor) -> Tensor:
    """What part of its best places each concept wins, chance taken off: ``(C, h, w)`` on the grid to ``(C,)``."""
    best = shares.flatten(1).topk(max(1, round(PLACES * shares[0].numel())), dim=1).values.mean(dim=1)
    chance = 1 / len(shares)
    return (best - chance) / (1 - chance)


def auroc(present: Sequence[float], absent: Sequence[float]) -> float:
    """Probability that a present concept's number is above an absent one's, ties counted half."""
    there, gone = np.array(present)[:, None], np.array(absent)[None]
    return float((there > gone).mean() + 0.5 * (there == gone).mean())


@dataclass(frozen=True)
class Over:
    """A measure over scenes: numbers that are added, ``(scenes, n)`` twice, then divided, then their mean taken."""

    part: np.ndarray
    of: np.ndarray

    def value(self, draws: np.ndarray | None = None) -> np.ndarray:
        """draws: ``(draws, scenes)``, how often each scene counts. Returns ``(draws,)``; by default all count once."""
        weights = np.ones((1, len(self.part))) if draws is None else draws
        part, of = weights @ self.part, weights @ self.of
        ratio = np.divide(part, of, out=np.full(part.shape, np.nan), where=of > 0)
        return np.nanmean(ratio, axis=1)


def iou_over(agreements: Sequence[Agreement]) -> Over:
    """Mean IoU over nouns, each over all scenes."""
    nouns = sorted({noun for one in agreements for noun in one.either})
    return Over(
        np.array([[one.both.get(noun, 0) for noun in nouns] for one in agreements], dtype=float),
        np.array([[one.either.get(noun, 0) for noun in nouns] for one in agreements], dtype=float),
    )


def mean_over(marks: Sequence[Marks], of: Callable[[Marks], tuple[float, float]]) -> Over:
    """What `of` takes from each scene as a sum and a count."""
    pairs = np.array([of(one) for one in marks], dtype=float)
    return Over(pairs[:, :1], pairs[:, 1:])


def draws(scenes: int) -> np.ndarray:
    """Scenes drawn with replacement, the same for all rules and models: ``(RESAMPLES, scenes)``, how often each."""
    return np.random.default_rng(0).multinomial(scenes, np.full(scenes, 1 / scenes), RESAMPLES).astype(float)


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % of bootstrapped values, ``(draws,)``."""
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return float(low), float(high)
