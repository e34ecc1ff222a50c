"""Shares that choose their own blocks: no labels, no training, no second model, only the recorded scores.

The paper averages blocks that were found good on FLUX.1, at a temperature that is an accident of FLUX.1's scores. Here
each step and block is brought to one scale, and counts by what it shows itself: by how far a place answers the question
"which concept?", and by how far the other blocks say the same. Of concepts that are alike, one that does not hold its
own places gives way. Where features were recorded, the places that are surest of a concept then speak for others that
look alike to the model. Own rules, measured in `docs/measured.md`.
"""

from __future__ import annotations

import torch
from einops import einsum, rearrange, reduce
from torch import Tensor
from torch.nn.functional import normalize

from .features import unit_tokens

TEMPERATURE = 0.3
"""Of the competition, in units of a step's and block's own spread of scores."""

SHARPNESS = 4
"""Power of both parts of a weight."""

LEAST = 1e-3
"""Of the first part: a block that says nothing counts nearly nothing, and all blocks together something."""

ITERATIONS = 30

GIVING_WAY = 4.0
"""Log shares for each unit of spread by which a concept that is alike leads at a concept's own places."""

OWN = 4
"""Power of the shares that says which places are a concept's own: the more, the fewer."""

SUREST = 0.02
"""Part of the picture that speaks for a concept."""

NEARNESS = 0.3
"""Temperature of the second opinion, in cosines. Lower is better where everything is named, and worse where only things
are, and the rest is `background`."""

OPINION = 0.15
"""Its part. More is better where edges are refined, and worse where they are not."""


def scale_free(scores: Tensor) -> Tensor:
    """Scores relative to the mean of all concepts at a place, in units of their spread over concepts and places.

    scores: ``(..., C, h, w)``; returns the same shape. Constant scores become 0.
    """
    relative = scores - scores.mean(dim=-3, keepdim=True)
    spread = relative.square().mean(dim=(-3, -2, -1), keepdim=True).sqrt()
    return relative / spread.clamp_min(1e-12)


def competition(scores: Tensor, temperature: float = 1.0) -> Tensor:
    """Shares of the scale-free competition, ``(..., C, h, w)``, sum 1 over C. temperature: above 1 softens it."""
    return (scale_free(scores) / (TEMPERATURE * temperature)).softmax(dim=-3)


def answered(shares: Tensor) -> Tensor:
    """How much of the question "which concept?" the place answers, ``(...)`` 0..1. shares: ``(..., C, h, w)``.

    One minus the mean entropy of a place, by the entropy of the picture's mean shares: their mutual information, as a
    part of what there was to know.
    """
    places = -torch.special.xlogy(shares, shares).sum(dim=-3).mean(dim=(-2, -1))
    mean = shares.mean(dim=(-2, -1))
    whole = -torch.special.xlogy(mean, mean).sum(dim=-1)
    return (1 - places / whole.clamp_min(1e-12)).clamp(0, 1) * (whole > 0)


def agreement(scores: Tensor) -> Tensor:
    """How far each block says what the others say, ``(B, blocks)``, unit length.

    scores: ``(steps, blocks, B, C, h, w)``. The first eigenvector of the blocks' cosine likenesses (negative ones count
    as none) over all concepts and places, each concept centred: its level is the block's own habit, its shape is what
    the picture says.
    """
    relative = scores - scores.mean(dim=3, keepdim=True)
    maps = reduce(relative, "s b n c h w -> n b c h w", "mean")
    maps = maps - maps.mean(dim=(-2, -1), keepdim=True)
    flat = normalize(rearrange(maps, "n b c h w -> n b (c h w)"), dim=2)
    alike = einsum(flat, flat, "n b x, n d x -> n b d").clamp_min(0)
    vector = torch.ones(alike.shape[:2])
    for _ in range(ITERATIONS):
        vector = normalize(einsum(alike, vector, "n b d, n d -> n b") + 1e-12, dim=1)
    return vector


def block_weights(scores: Tensor, temperature: float = 1.0) -> Tensor:
    """How much each step and block is trusted, of each picture by itself: ``(B, steps, blocks)``, sum 1.

    scores: ``(steps, blocks, B, C, h, w)``, of all recorded concepts. temperature: as in `competition`.
    """
    return _weights(scores, _clear(scores, temperature))


def _clear(scores: Tensor, temperature: float) -> Tensor:
    """`answered` of each step and block, ``(B, steps, blocks)``."""
    clear = torch.stack([answered(competition(step, temperature)) for step in scores])
    return rearrange(clear, "s b n -> n s b").clamp_min(LEAST)


def _weights(scores: Tensor, clear: Tensor) -> Tensor:
    weights = (clear * agreement(scores)[:, None]) ** SHARPNESS
    return weights / weights.sum(dim=(1, 2), keepdim=True)


def auto_shares(
    scores: Tensor,
    temperature: float = 1.0,
    features: Tensor | None = None,
    weights: Tensor | None = None,
    opinion: float = OPINION,
    surest: float = SUREST,
) -> Tensor:
    """Every concept's share at every place, ``(B, C, h, w)`` float32, sum 1 over C.

    The weighted mean of all blocks' competitions, then `held`, then, with features, `with_prototypes`.
    scores: ``(steps, blocks, B, C, h, w)``. temperature: above 1 softens it all. features: of the same blocks,
    ``(blocks, B, channels, h, w)``; opinion and surest are of their prototypes. weights: ``(B, steps, blocks)``, sum 1;
    by default those of `block_weights`.
    """
    clear = _clear(scores, temperature)
    weights = _weights(scores, clear) if weights is None else weights
    voices = clear * loudness(scores, weights) ** 2
    voices = voices / voices.sum(dim=(1, 2), keepdim=True)
    shares, trusted, heard = torch.zeros(3, *scores.shape[2:])
    for step, own, voice in zip(scores, weights.unbind(dim=1), voices.unbind(dim=1), strict=True):
        relative = scale_free(step)  # one step at a time: a long schedule's are large
        trusted += einsum(relative, own, "b n c h w, n b -> n c h w")
        heard += einsum(relative, voice, "b n c h w, n b -> n c h w")
        shares += einsum(competition(step, temperature), own, "b n c h w, n b -> n c h w")
    shares = held(shares, trusted, heard, temperature)
    if features is None:
        return shares
    pictures = zip(shares, features.unbind(dim=1), weights.sum(dim=1), strict=True)
    return torch.stack([with_prototypes(*picture, temperature, opinion, surest) for picture in pictures])


def loudness(scores: Tensor, weights: Tensor) -> Tensor:
    """Spread of each step's and block's scores beside that of the trusted ones, ``(B, steps, blocks)`` 0..1.

    scores: ``(steps, blocks, B, C, h, w)``; weights: ``(B, steps, blocks)``, sum 1, whose mean spread is 1; louder
    ones count no more. A block whose scores hardly differ says little, and at one scale would say as much as any.
    """
    relative = (step - step.mean(dim=2, keepdim=True) for step in scores)
    spread = torch.stack([step.square().mean(dim=(2, 3, 4)).sqrt() for step in relative])
    spread = rearrange(spread, "s b n -> n s b")
    usual = (weights * spread).sum(dim=(1, 2), keepdim=True)
    return (spread / usual.clamp_min(1e-12)).clamp(LEAST, 1)


def held(shares: Tensor, trusted: Tensor, heard: Tensor, temperature: float = 1.0) -> Tensor:
    """Have a concept give way where another, alike to it, leads at its own places: ``(B, C, h, w)``, sum 1 over C.

    Trusted blocks see things and often cannot tell a night sky from a sky; others, that see no things, can. So of all
    that are alike the one that most of the blocks prefer is meant. shares: ``(B, C, h, w)``, sum 1. trusted, heard:
    scale-free scores of the same shape, the mean over blocks by their weights, and over all that can be heard.

    Concept c's own places: ``o[c, n] = shares[c, n]^OWN``, sum 1 over n. The lead of d there: ``sum_n o[c, n] (heard[d,
    n] - heard[c, n])``, 0 where it is below. Likeness of c and d: the correlation of trusted over places, 0 where it is
    below. c's shares lose the greatest ``GIVING_WAY * likeness * lead`` of any d, as logarithms.
    """
    flat, own = rearrange(heard, "n c h w -> n c (h w)"), rearrange(shares, "n c h w -> n c (h w)") ** OWN
    own = own / own.sum(dim=2, keepdim=True).clamp_min(1e-12)
    at = einsum(own, flat, "n c x, n d x -> n c d")
    lead = (at - at.diagonal(dim1=1, dim2=2)[..., None]).clamp_min(0)
    maps = normalize(rearrange(trusted - trusted.mean(dim=(-2, -1), keepdim=True), "n c h w -> n c (h w)"), dim=2)
    alike = einsum(maps, maps, "n c x, n d x -> n c d").clamp_min(0)
    lost = GIVING_WAY / temperature * (alike * lead).amax(dim=2)
    kept = shares * rearrange((-lost).exp(), "n c -> n c 1 1")
    return kept / kept.sum(dim=1, keepdim=True)


def with_prototypes(
    shares: Tensor,
    features: Tensor,
    weights: Tensor,
    temperature: float = 1.0,
    opinion: float = OPINION,
    surest: float = SUREST,
) -> Tensor:
    """Let each concept's surest places speak for all that look alike to the model: ``(C, h, w)`` of one picture, sum 1.

    shares: ``(C, h, w)``, sum 1; features: ``(blocks, channels, h, w)``; weights: ``(blocks,)``. A concept's prototype
    is the mean of its surest places' features, weighed by their shares; how near a place is to each makes a second
    opinion, a small part of the log shares. surest: part of the picture that makes a prototype, at least two places.
    opinion: that part, 0..1.
    """
    tokens = unit_tokens(features, weights)
    places = rearrange(shares, "c h w -> c (h w)").topk(min(len(tokens), max(2, round(surest * len(tokens)))), dim=1)
    kinds = normalize(einsum(places.values, tokens[places.indices], "c k, c k d -> c d"), dim=1)
    near = (einsum(kinds, tokens, "c d, n d -> c n") / (NEARNESS * temperature)).log_softmax(dim=0)
    second = rearrange(near, "c (h w) -> c h w", w=shares.shape[2])
    return ((1 - opinion) * shares.clamp_min(1e-9).log() + opinion * second).softmax(dim=0)
