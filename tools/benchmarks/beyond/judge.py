"""What candidates are judged by: mean IoU on the token grid and behind edges, presence, how sure differences are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from conceptattention_core.evaluate.datasets.scenes.scenes import NOUNS
from conceptattention_core.maps import ConceptAttentionMaps, resize_maps
from conceptattention_core.masks.edges import refine_maps
from conceptattention_core.masks.presence import presence
from tools.benchmarks.beyond.cases import BACKGROUND, Case
from tools.benchmarks.presence import auroc
from tools.benchmarks.quality import Agreement

DRAWS = 2000


def ordinary_edges(case: Case, shares: Tensor) -> Tensor:
    """`refine_maps` as it is: ``(1, C, h, w)`` to ``(1, C, H, W)``."""
    return refine_maps(shares, case.picture, case.maps.image_size)


def ordinary_presence(maps: ConceptAttentionMaps) -> Tensor:
    """`presence` by all the blocks that these maps hold, ``(C,)``."""
    return presence(maps, 0, -1)[0]


@dataclass(frozen=True)
class Candidate:
    """A way to read a case. shares: ``(1, C, h, w)``; edges: these in pixels, ``(1, C, H, W)``; presence: ``(C,)``.

    A question that leaves presence as it is has none.
    """

    shares: Callable[[Case], Tensor]
    edges: Callable[[Case, Tensor], Tensor] = ordinary_edges
    presence: Callable[[Case], Tensor] | None = None


@dataclass
class Tally:
    """Pixel counts, ``(scenes, nouns)``: intersection and union of what was found and what is there."""

    both: list[np.ndarray] = field(default_factory=list)
    either: list[np.ndarray] = field(default_factory=list)

    def add(self, shares: Tensor, case: Case) -> None:
        """shares: ``(1, C, H, W)``, of which the greatest wins."""
        agreement = Agreement()
        agreement.add(shares[0].argmax(dim=0).numpy() + 1, case.labels, case.names)
        for counts, kept in ((agreement.both, self.both), (agreement.either, self.either)):
            kept.append(np.array([counts.get(noun, 0) for noun in NOUNS], dtype=float))

    def mean_iou(self, weights: np.ndarray) -> np.ndarray:
        """In percent, ``(draws,)``: of all scenes for each noun, then their mean. weights: ``(draws, scenes)``."""
        both, either = weights @ np.stack(self.both), weights @ np.stack(self.either)
        return 100 * np.nanmean(np.where(either > 0, both / np.maximum(either, 1), np.nan), axis=1)


Found = dict[str, tuple[Tally, Tally]]
"""Each candidate's counts, on the grid and behind edges."""


def judged(cases: Iterable[Case], candidates: dict[str, Candidate]) -> Found:
    """Read every case by every candidate."""
    found: Found = {name: (Tally(), Tally()) for name in candidates}
    for case in cases:
        with torch.inference_mode():
            for name, candidate in candidates.items():
                shares, (grid, edges) = candidate.shares(case), found[name]
                grid.add(resize_maps(shares, case.maps.image_size, case.maps.image_size), case)
                edges.add(candidate.edges(case, shares), case)
    return found


def presences(cases: Iterable[Case], candidates: dict[str, Candidate]) -> dict[str, float]:
    """AUROC of each candidate that says: a noun that is there against one that is not. Reads no case for none."""
    own = {name: one.presence for name, one in candidates.items() if one.presence is not None}
    if not own:
        return {}
    values: dict[str, list[float]] = {name: [] for name in own}
    there: list[bool] = []
    for case in cases:
        labels = set(np.unique(case.labels).tolist())
        there += [label in labels for label, name in enumerate(case.names, start=1) if name != BACKGROUND]
        with torch.inference_mode():
            for name, sure in own.items():
                values[name] += sure(case)[: len(case.names) - 1].tolist()
    return {name: auroc(np.array(each), np.array(there)) for name, each in values.items()}


def draws(scenes: int) -> np.ndarray:
    """How often each scene is drawn, ``(1 + DRAWS, scenes)``: first all of them once, then as the bootstrap has it."""
    drawn = np.random.default_rng(0).multinomial(scenes, np.full(scenes, 1 / scenes), size=DRAWS)
    return np.concatenate([np.ones((1, scenes)), drawn])


def compared(tally: Tally, base: Tally) -> str:
    """Mean IoU, and its difference from the base's with a 95 % interval over scenes."""
    weights = draws(len(tally.both))
    values = tally.mean_iou(weights)
    if tally is base:
        return f"{values[0]:.1f}"
    gains = values - base.mean_iou(weights)
    low, high = np.quantile(gains[1:], (0.025, 0.975))
    return f"{values[0]:.1f} ({gains[0]:+.1f} [{low:.1f}, {high:.1f}])"
