"""Presence: whether a concept is in the picture at all, read from raw scores before any map is stretched."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..maps import ConceptAttentionMaps
from ..reading import block_weights, scale_free

MANY = 5
"""From so many recorded concepts on, blocks count by what they show; fewer say too little of a block."""

TEMPERATURE = 0.2
"""Of the competition of many concepts, in units of the picture's own spread of scores."""

FEW_TEMPERATURES = 0.5, 0.1
"""Of few concepts: for the mean of all steps and blocks, and for each of them."""

PLACES = 0.02
"""Part of the picture that a present concept wins: small things count, single patches do not."""

CALIBRATION, FOUR_CALIBRATION, FEW_CALIBRATION = (0.66, 0.17), (0.69, 0.06), (0.48, -0.47)
"""Slope and offset, of many concepts, of four and of fewer: 0.5 is as likely present as absent. Fitted by
`tools/benchmarks/presence` on scenes of its own, on four models."""


def presence(
    maps: ConceptAttentionMaps, first_block: int | None = None, last_block: int | None = None
) -> Tensor:
    """How sure the maps are that each concept is in each picture: ``(pictures, concepts)`` float32 0..1.

    0.5 is as likely there as not on the demo model's scenes. Blocks as in `ConceptAttentionMaps.saliency`, whatever
    reading is chosen. The other recorded concepts are what a concept is measured against: the more of the picture is
    named, the surer the answer.
    """
    scores = maps.of_frames(maps.chosen(first_block, last_block))
    count = scores.shape[3]
    if count >= MANY:
        sure = calibrated(evidence(trusted_mean(scores)), *CALIBRATION)
    else:  # the less of the picture is named, the more of it an absent concept wins
        sure = calibrated(evidence_of_few(scores), *(FOUR_CALIBRATION if count == MANY - 1 else FEW_CALIBRATION))
    return maps.frames_in_pictures(sure)


def trusted_mean(scores: Tensor) -> Tensor:
    """Mean over steps and blocks, each counting by its weight and by the scale of its scores: ``(B, C, h, w)``.

    scores: ``(steps, blocks, B, C, h, w)``. Weights as `reading.block_weights`. Among blocks that can be trusted, the
    louder one knows more: where each was brought to the same scale, absent concepts were found more often.
    """
    weights = block_weights(scores)
    total = torch.zeros(scores.shape[2:])
    for step, own in zip(scores, weights.unbind(dim=1), strict=True):  # one at a time: a long schedule's are large
        total += (step * own.T[:, :, None, None, None]).sum(dim=0)
    return total


def evidence(scores: Tensor, temperature: float = TEMPERATURE, places: float = PLACES) -> Tensor:
    """What part of its best places a concept wins, 0 (no more than chance) to 1. scores: ``(B, C, h, w)``.

    scores are a mean over steps and blocks, so only what these agree on is left. They are compared with the mean of
    all concepts at each place and divided by their spread over concepts and places, so their scale, which differs
    between models, does not matter. Then the softmax over concepts, its mean over the strongest `places` of the
    picture, and chance (``1 / C``) taken off. Returns ``(B, C)``.
    """
    return won((scale_free(scores) / temperature).softmax(dim=1), places)


def evidence_of_few(scores: Tensor, places: float = PLACES) -> Tensor:
    """`evidence` where few concepts are named, ``(B, C)`` 0..1. scores: ``(steps, blocks, B, C, h, w)``.

    Two opinions: what a concept wins of the mean of all scores, where loud blocks decide, and what it wins in each step
    and block by itself, where all have the same say. The geometric mean of their odds: 0 where either is.
    """
    of_mean, of_each = FEW_TEMPERATURES
    shares = torch.zeros(scores.shape[2:])
    for step in scores:
        shares += (scale_free(step) / of_each).softmax(dim=2).mean(dim=0)
    loud, alike = evidence(scores.mean(dim=(0, 1)), of_mean, places), won(shares / len(scores), places)
    there, not_there = (loud * alike).sqrt(), ((1 - loud) * (1 - alike)).sqrt()
    return there / (there + not_there).clamp_min(1e-12)


def won(shares: Tensor, places: float = PLACES) -> Tensor:
    """Mean share of a concept in its strongest `places`, chance taken off: ``(B, C)``. shares: ``(B, C, h, w)``."""
    flat = shares.flatten(2)
    best = flat.topk(max(1, round(places * flat.shape[2])), dim=2).values.mean(dim=2)
    chance = 1 / flat.shape[1]
    return ((best - chance) / (1 - chance)).clamp(0, 1)


def calibrated(found: Tensor, slope: float, offset: float) -> Tensor:
    """Evidence as a probability: logistic regression on its log-odds. Any shape, 0..1.

    0 stays 0. Nothing is quite sure: what would be 1 is 0.999, so that `min_presence` 1 admits nothing.
    """
    for_it, against = found**slope * math.exp(offset), (1 - found) ** slope
    return (for_it / (for_it + against)).clamp(max=0.999)
