"""Ways to read shares from one run's scores: what the pack does, and what it could do instead."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from einops import einsum
from torch import Tensor

from conceptattention_core.features import CHANNELS
from conceptattention_core.maps import ConceptAttentionMaps
from conceptattention_core.reading import competition, with_prototypes
from tools.benchmarks.cost.memory import MIB, peak_bytes


@dataclass(frozen=True)
class Run:
    """What a rule may go by: the maps of one scene, the blocks to take, and how far OTHERS runs of other scenes, with
    a list of words of the same kind, trust each block."""

    maps: ConceptAttentionMaps
    first: int
    last: int
    trust: tuple[float, ...]


Rule = Callable[[Run], Tensor]
"""To shares ``(B, C, h, w)``, sum 1 over C."""

PAPER = "paper"

OTHERS = 16
"""Runs to learn from."""


def softmax_of_mean(run: Run) -> Tensor:
    """One competition, of the scores' mean over steps and blocks."""
    return (run.maps.mean_scores(run.first, run.last) / run.maps.temperature).softmax(dim=1)


def auto(maps: ConceptAttentionMaps, run: Run) -> Tensor:
    return maps.shares("auto", run.first, run.last)


def nobody_gives_way(run: Run) -> Tensor:
    """`auto` without `reading.held`, as it was before there was that."""
    chosen = run.maps.chosen(run.first, run.last)
    scores, features = run.maps.scores[:, chosen], run.maps.features
    weights = run.maps.block_weights(run.first, run.last)
    shares = einsum(torch.stack([competition(step) for step in scores]), weights, "s b n c h w, n s b -> n c h w")
    if features is None:
        return shares
    pictures = zip(shares, features[chosen].unbind(dim=1), weights.sum(dim=1), strict=True)
    return torch.stack([with_prototypes(*picture) for picture in pictures])


RULES: dict[str, Rule] = {
    PAPER: lambda run: run.maps.saliency(run.first, run.last),
    "softmax of the mean": softmax_of_mean,
    "auto, nobody gives way": nobody_gives_way,
    "auto, without features": lambda run: auto(replace(run.maps, features=None), run),
    "auto": lambda run: auto(run.maps, run),
    "auto, trust from 16 runs": lambda run: auto(replace(run.maps, trust=run.trust), run),
}


def ceiling_shares(labels: np.ndarray, concepts: int, grid: tuple[int, int]) -> Tensor:
    """Share of each label in each token, `(1, C, h, w)`."""
    masks = torch.stack([torch.from_numpy(labels == index).float() for index in range(1, concepts + 1)])
    return torch.nn.functional.adaptive_avg_pool2d(masks[None], grid)


def cost(rule: Rule) -> tuple[float, float]:
    """Milliseconds of processor time (the middle one of three runs) and MiB held at the peak, on FLUX.1's 19 blocks at
    1024 x 1024: 4 steps, 8 concepts, scores of random numbers. The scores themselves (9.5 MiB) are not counted."""
    draw = torch.Generator().manual_seed(0)
    scores = 5 * torch.randn(4, 19, 1, 8, 64, 64, generator=draw)
    features = torch.randn(19, 1, CHANNELS, 64, 64, generator=draw).half()
    names = tuple(f"concept {index}" for index in range(8))
    sigmas, size = (1.0, 0.75, 0.5, 0.25), (1024, 1024)
    maps = ConceptAttentionMaps(scores, names, 0, tuple(range(19)), sigmas, size, features=features)
    run = Run(maps, 0, -1, maps.trusting([maps]).trust)
    took = []
    for _ in range(4):  # the first one warms up
        start = time.process_time()
        rule(run)
        took.append(1000 * (time.process_time() - start))
    return sorted(took[1:])[1], peak_bytes(lambda: rule(run), False) / MIB
