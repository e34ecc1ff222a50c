"""Presence: whether a concept is in the picture at all, read from raw scores before any map is stretched."""

from __future__ import annotations

import math

from torch import Tensor

from ..maps import ConceptAttentionMaps

TEMPERATURE = 0.3
"""Of the competition, in units of the picture's own spread of scores."""

PLACES = 0.02
"""Part of the picture that a present concept wins: small things count, single patches do not."""

SLOPE, OFFSET = 2.12, 0.91
"""Calibration: 0.5 is as likely present as absent. Fitted by `tools/benchmarks/presence.py` on scenes of its own."""


def presence(
    maps: ConceptAttentionMaps, first_block: int | None = None, last_block: int | None = None
) -> Tensor:
    """How sure the maps are that each concept is in each picture: ``(pictures, concepts)`` float32 0..1.

    0.5 is as likely there as not on the demo model's scenes. Blocks as in `ConceptAttentionMaps.saliency`. The other
    recorded concepts are what a concept is measured against: the more of the picture is named, the surer the answer.
    """
    of_frames = calibrated(evidence(maps.mean_scores(first_block, last_block)))
    return maps.frames_in_pictures(of_frames)


def evidence(scores: Tensor, temperature: float = TEMPERATURE, places: float = PLACES) -> Tensor:
    """What part of its best places a concept wins, 0 (no more than chance) to 1. scores: ``(B, C, h, w)``.

    scores are the mean over steps and blocks, so only what these agree on is left. They are compared with the mean of
    all concepts at each place and divided by their spread over concepts and places, so their scale, which differs
    between models, does not matter. Then the softmax over concepts, its mean over the strongest `places` of the
    picture, and chance (``1 / C``) taken off. Returns ``(B, C)``.
    """
    relative = scores - scores.mean(dim=1, keepdim=True)
    spread = relative.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)
    shares = (relative / spread / temperature).softmax(dim=1).flatten(2)
    best = shares.topk(max(1, round(places * shares.shape[2])), dim=2).values.mean(dim=2)
    chance = 1 / shares.shape[1]
    return ((best - chance) / (1 - chance)).clamp(0, 1)


def calibrated(found: Tensor, slope: float = SLOPE, offset: float = OFFSET) -> Tensor:
    """Evidence as a probability: logistic regression on its log-odds. Any shape, 0..1.

    0 stays 0. Nothing is quite sure: what would be 1 is 0.999, so that `min_presence` 1 admits nothing.
    """
    for_it, against = found**slope * math.exp(offset), (1 - found) ** slope
    return (for_it / (for_it + against)).clamp(max=0.999)
