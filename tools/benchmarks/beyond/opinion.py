"""Prototypes mixed in more where edges follow: does a larger part of the second opinion help behind `refine_maps`?

Also asked: more of it among the named concepts only, what `background` has being left to it ("named"). The background
is many things, and has one prototype only; and a second opinion that starts from each concept's part of the picture
("by area").
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from conceptattention_core.reading import OPINION
from tools.benchmarks.beyond.base import BASES, Question
from tools.benchmarks.beyond.cases import Case
from tools.benchmarks.beyond.judge import Candidate
from tools.benchmarks.beyond.recordings import first_blocks


def opinions(case: Case) -> tuple[Tensor, Tensor]:
    """Log shares of `auto` without a second opinion, and of the second, each place having its own constant."""
    maps = first_blocks(case)
    first = replace(maps, features=None).shares("auto").clamp_min(1e-9).log()
    return first, (maps.shares("auto").log() - (1 - OPINION) * first) / OPINION


def opined(case: Case, opinion: float) -> Tensor:
    """`auto` with another part of the second opinion, ``(1, C, h, w)``."""
    first, second = opinions(case)
    return ((1 - opinion) * first + opinion * second).softmax(dim=1)


def by_area(case: Case, opinion: float) -> Tensor:
    """The same, the second opinion beginning with how much of the picture each concept has."""
    first, second = opinions(case)
    second = second + first.exp().mean(dim=(2, 3), keepdim=True).log()
    return ((1 - opinion) * first + opinion * second).softmax(dim=1)


def among_named(case: Case, opinion: float) -> Tensor:
    """`auto`, what the named concepts have being shared out among them with another part of the second opinion."""
    usual, named = first_blocks(case).shares("auto"), len(case.names) - case.maps.background_count
    mixed = opined(case, opinion)[:, :named]
    whole = usual[:, :named].sum(dim=1, keepdim=True)
    return torch.cat([mixed / mixed.sum(dim=1, keepdim=True).clamp_min(1e-12) * whole, usual[:, named:]], dim=1)


PARTS = (0.0, 0.25, 0.35, 0.5, 0.7, 1.0)
QUESTION = Question(
    BASES
    | {f"opinion {part}": Candidate(lambda case, part=part: opined(case, part)) for part in PARTS}
    | {f"opinion {part}, named": Candidate(lambda case, part=part: among_named(case, part)) for part in PARTS[1:4]}
    | {f"opinion {part}, by area": Candidate(lambda case, part=part: by_area(case, part)) for part in (OPINION, 0.25)}
)
