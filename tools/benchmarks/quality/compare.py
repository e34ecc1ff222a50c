"""Every rule on every scene of a model: what it got right, with the picture's edges followed and without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from conceptattention_core.evaluate.datasets.scenes.scenes import Scene, scene
from conceptattention_core.maps import ConceptAttentionMaps, resize_maps
from conceptattention_core.masks.edges import refine_maps
from conceptattention_core.masks.presence import presence

from .measures import Marks, Truth, mark, won
from .record import Recordings
from .rules import OTHERS, Rule, Run, ceiling_shares
from .words import BACKGROUND, ask

CEILING = "ceiling of the grid"
SHIPPED = "shipped presence"


@dataclass
class Row:
    """One rule on one model and one list of words, scene by scene. present, absent: how sure the rule is of concepts
    that are there, and of others."""

    grid: list[Marks] = field(default_factory=list)
    refined: list[Marks] = field(default_factory=list)
    present: list[float] = field(default_factory=list)
    absent: list[float] = field(default_factory=list)

    def add_presence(self, sure: torch.Tensor, truth: Truth) -> None:
        """sure: ``(C,)``."""
        for index, name in enumerate(truth.question.names):
            if name != BACKGROUND:
                (self.present if index in truth.present else self.absent).append(float(sure[index]))


Rows = dict[tuple[str, str], Row]
"""By list of words and rule."""


@dataclass(frozen=True)
class Comparison:
    """What is compared. lists: letters of `words.LISTS`; blocks: first and last; trust: of `Run`, by list."""

    rules: Mapping[str, Rule]
    lists: str
    blocks: tuple[int, int]
    trust: Mapping[str, tuple[float, ...]]

    def add(self, rows: Rows, recordings: Recordings, one: Scene) -> None:
        """Judge one scene."""
        truths = {kind: Truth(ask(one, kind)) for kind in self.lists if kind != "O" or one.objects}
        with torch.inference_mode():
            recorded = recordings.of(one, {kind: truth.question.names for kind, truth in truths.items()})
            for kind, truth in truths.items():
                self._judge(rows, kind, recorded[kind], truth, one)

    def _judge(self, rows: Rows, kind: str, maps: ConceptAttentionMaps, truth: Truth, one: Scene) -> None:
        picture = torch.from_numpy(one.image.copy()).float()[None] / 255
        size = (picture.shape[1], picture.shape[2])
        run = Run(maps, *self.blocks, self.trust[kind])
        found = {name: rule(run) for name, rule in self.rules.items()}
        found[CEILING] = ceiling_shares(truth.question.labels, len(maps.concepts), maps.grid)
        for name, shares in found.items():
            row = rows.setdefault((kind, name), Row())
            row.grid.append(mark(resize_maps(shares, size, size)[0], truth, ranked=True))
            row.refined.append(mark(refine_maps(shares, picture, size)[0], truth, ranked=False))
            row.add_presence(won(shares[0]), truth)
        rows.setdefault((kind, SHIPPED), Row()).add_presence(presence(maps, *self.blocks)[0], truth)


def learnt_trust(recordings: Recordings, first: int, lists: str) -> dict[str, tuple[float, ...]]:
    """How far OTHERS runs trust each block, for each list of words: of the scenes from seed `first` on."""
    found: dict[str, list[ConceptAttentionMaps]] = {kind: [] for kind in lists}
    seed = first
    while any(len(runs) < OTHERS for runs in found.values()):
        one = scene(seed)
        with torch.inference_mode():
            asked = {kind: ask(one, kind).names for kind in lists if kind != "O" or one.objects}
            for kind, maps in recordings.of(one, asked).items():
                found[kind] = [*found[kind], maps][:OTHERS]
        seed += 1
    return {kind: runs[0].trusting(runs).trust for kind, runs in found.items()}
