"""Ways to read shares from one run's scores: what the pack does, and what it could do instead."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from conceptattention_core.features import CHANNELS
from conceptattention_core.maps import ConceptAttentionMaps
from tools.benchmarks.cost.memory import MIB, peak_bytes

Rule = Callable[[ConceptAttentionMaps, int, int], Tensor]
"""Maps, first and last block, to shares ``(B, C, h, w)``, sum 1 over C."""

PAPER = "paper"


def softmax_of_mean(maps: ConceptAttentionMaps, first: int, last: int) -> Tensor:
    """One competition, of the scores' mean over steps and blocks."""
    return (maps.mean_scores(first, last) / maps.temperature).softmax(dim=1)


def auto_without_features(maps: ConceptAttentionMaps, first: int, last: int) -> Tensor:
    return replace(maps, features=None).shares("auto", first, last)


RULES: dict[str, Rule] = {
    PAPER: lambda maps, first, last: maps.saliency(first, last),
    "softmax of the mean": softmax_of_mean,
    "auto, without features": auto_without_features,
    "auto": lambda maps, first, last: maps.shares("auto", first, last),
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
    took = []
    for _ in range(4):  # the first one warms up
        start = time.process_time()
        rule(maps, 0, -1)
        took.append(1000 * (time.process_time() - start))
    return sorted(took[1:])[1], peak_bytes(lambda: rule(maps, 0, -1), False) / MIB
