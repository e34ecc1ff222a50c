"""Rules that presence was chosen from: a picture's recorded scores to a number for each concept, the higher the surer.

scores: ``(steps, blocks, 1, C, h, w)``; every rule returns ``(1, C)``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import einsum
from torch import Tensor

from conceptattention_core.masks.presence import (
    FEW_TEMPERATURES,
    TEMPERATURE,
    evidence,
    evidence_of_few,
    trusted_mean,
    won,
)
from conceptattention_core.reading import block_weights, scale_free

Rule = Callable[[Tensor], Tensor]


def mean(scores: Tensor) -> Tensor:
    return scores.mean(dim=(0, 1))


def trusted_alike(scores: Tensor) -> Tensor:
    """The weighted mean of steps and blocks that were brought to one scale before."""
    return einsum(scale_free(scores), block_weights(scores), "s l b c h w, b s l -> b c h w")


def margin(scores: Tensor, places: float = 0.02) -> Tensor:
    """By how much a concept beats its best rival where it does so most, in units of the spread. scores: one mean."""
    free = scale_free(scores)
    return torch.stack([strongest(free[:, at] - rivals(free, at), places) for at in range(free.shape[1])], dim=1)


def rivals(scores: Tensor, at: int) -> Tensor:
    """The best score of the other concepts, ``(1, h, w)``."""
    return torch.cat([scores[:, :at], scores[:, at + 1 :]], dim=1).amax(dim=1)


def strongest(values: Tensor, places: float) -> Tensor:
    """Mean over the strongest part of the places, ``(..., h, w)`` to ``(...)``."""
    flat = values.flatten(-2)
    return flat.topk(max(1, round(places * flat.shape[-1])), dim=-1).values.mean(dim=-1)


def saliency(scores: Tensor) -> Tensor:
    """The paper's map: it depends on the scale of a model's scores, so presence cannot be read from it."""
    return scores.softmax(dim=3).mean(dim=(0, 1))


def each(scores: Tensor, temperature: float = 0.3) -> Tensor:
    """The mean share of a competition in each step and block by itself, all having the same say."""
    return (scale_free(scores) / temperature).softmax(dim=3).mean(dim=(0, 1))


def agreement(scores: Tensor) -> Tensor:
    """Mean correlation between the maps of any two (step, block)."""
    relative = (scores - scores.mean(dim=3, keepdim=True))[:, :, 0].flatten(0, 1).flatten(2)
    relative = relative - relative.mean(dim=2, keepdim=True)
    unit = relative / relative.norm(dim=2, keepdim=True).clamp_min(1e-12)
    count = len(unit)
    return ((unit.sum(dim=0).square().sum(dim=1) - count) / (count * (count - 1)))[None]


BEFORE = "evidence of the mean, temperature 0.3 (before)"
MANY = f"**evidence of the weighted mean, temperature {TEMPERATURE:g}**"
FEW = f"**odds of mean ({FEW_TEMPERATURES[0]:g}) and of each block ({FEW_TEMPERATURES[1]:g})**"

RULES: dict[str, Rule] = {
    BEFORE: lambda scores: evidence(mean(scores), 0.3),
    "evidence of the weighted mean of z": lambda scores: evidence(trusted_alike(scores), 0.3),
    "evidence of the weighted mean, temperature 0.3": lambda scores: evidence(trusted_mean(scores), 0.3),
    MANY: lambda scores: evidence(trusted_mean(scores)),
    "margin of the weighted mean of z over the best rival": lambda scores: margin(trusted_alike(scores)),
    "margin of the weighted mean over the best rival": lambda scores: margin(trusted_mean(scores)),
    "shares of each step and block, temperature 0.3": lambda scores: won(each(scores)),
    FEW: evidence_of_few,
    "agreement of steps and blocks": agreement,
    "peak of the paper's saliency": lambda scores: saliency(scores).amax(dim=(2, 3)),
    "the paper's saliency, strongest 2 %": lambda scores: strongest(saliency(scores), 0.02),
}
