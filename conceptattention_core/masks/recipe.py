"""From maps to the mask of a concept, as a recipe: which concept, which method, and how to clean the mask up."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..expression import combine_shares, parse_expression, winner_mask
from ..images import image_batch
from ..maps import ConceptAttentionMaps, Reading, resize_maps
from ..times import moving_mean
from .edges import refine_maps
from .methods import (
    CONSTANT,
    MaskMethod,
    levels_mask,
    mean_threshold,
    otsu_threshold,
    percentile_threshold,
    threshold_mask,
)
from .morphology import blur, grow
from .presence import presence
from .regions import fill_holes, keep_largest, only_region, remove_small


@dataclass(frozen=True)
class MaskRecipe:
    """How a mask is made. The steps are taken in this order.

    concept: a name, or several with + and - (see `expression.parse_expression`); empty: the first.
    min_presence: a concept that is less surely there than this, 0..1, is left out of the mask; so is, whatever this
    says, one whose presence is 0.
    first_block, last_block, temperature, reading: as in `ConceptAttentionMaps.shares`.
    refine_edges: move edges to those of the picture, if one is given.
    method: ``soft`` (levels `low`, `high`, `gamma` on the map's own range), ``mean`` (above the map's mean, the
    paper's), ``otsu`` (the best cut between two groups of values), ``percentile`` (above this part of the picture,
    0..100), ``threshold`` (above this share, 0..1), or ``argmax`` (where the concept is the strongest of all).
    min_area: regions that cover less than this, in percent of the picture, are dropped. keep: the number of largest
    regions to keep, 0 for all; region: then the only one to keep, 1 the largest, 0 for all. fill_holes: also mask what
    the mask surrounds.
    grow: pixels to grow by; negative shrinks. blur: pixels over which edges fade to each side.
    invert: everything but the concept.
    smooth_frames: so many pictures before and behind count for each one's shares and presence, in equal parts, within a
    video; a batch of pictures is taken for one. 0: none.
    through_time: `min_area` and `keep` are of regions of a whole video, connected through its pictures.
    """

    concept: str = ""
    min_presence: float = 0.0
    first_block: int | None = None
    last_block: int | None = None
    temperature: float = 1.0
    reading: Reading | None = None
    refine_edges: bool = True
    method: MaskMethod = "soft"
    low: float = 0.3
    high: float = 0.7
    gamma: float = 1.0
    percentile: float = 80.0
    threshold: float = 0.5
    min_area: float = 0.0
    keep: int = 0
    region: int = 0
    fill_holes: bool = False
    grow: int = 0
    blur: int = 0
    invert: bool = False
    smooth_frames: int = 0
    through_time: bool = False


@dataclass(frozen=True)
class ConceptMask:
    """A mask for each picture of the batch.

    mask: ``(B, H, W)`` float32 0..1 on the CPU, contiguous: exactly 0 outside, exactly 1 in the core.
    presence: ``(B,)`` 0..1, that of the wanted concept which is most surely there.
    """

    mask: Tensor
    presence: Tensor


def make_mask(
    maps: ConceptAttentionMaps, recipe: MaskRecipe, picture: Tensor | None = None, size: tuple[int, int] | None = None
) -> ConceptMask:
    """Make the mask of a concept for every picture of the batch.

    picture: ``(1 or B, H, W, 3 or 4)`` 0..1, guides the edges. size: ``(H, W)`` of the mask, by default the picture's,
    and without a picture the maps' own.
    A picture without the concept has an empty mask (inverted: a full one). Raises ValueError on an unknown concept, a
    method that does not exist, scores that are not finite, or pictures that fit the maps neither in number.
    """
    if not maps.scores.isfinite().all():
        raise ValueError(
            "These maps hold values that are not numbers, so the run that made them was broken (its picture is "
            "probably black). Load the model in another precision: bf16 instead of fp16."
        )
    expression = parse_expression(recipe.concept, maps.concepts)
    surely = presence(maps, recipe.first_block, recipe.last_block)
    shares = maps.shares(recipe.reading, recipe.first_block, recipe.last_block, recipe.temperature)
    length = len(maps.times) or len(shares)
    if recipe.smooth_frames:
        surely, shares = (moving_mean(one, recipe.smooth_frames, length) for one in (surely, shares))
    signs = expression.signs(len(maps.concepts)) * ((surely >= recipe.min_presence) & (surely > 0))
    size = size or (maps.image_size if picture is None else (picture.shape[1], picture.shape[2]))
    if picture is not None:
        picture = image_batch(picture, len(shares), size)
    guide = picture if recipe.refine_edges else None
    # One picture at a time: every concept of every picture of a video in pixels would be gigabytes.
    each = [slice(at, at + 1) for at in range(len(shares))]
    mask = torch.cat(
        [_cut(shares[at], signs[at], recipe, maps, size, None if guide is None else guide[at]) for at in each]
    )
    mask = mask * (signs > 0).any(dim=1)[:, None, None]
    return ConceptMask(_clean(mask, recipe, length), surely[:, list(expression.plus)].amax(dim=1))


def _cut(
    shares: Tensor,
    signs: Tensor,
    recipe: MaskRecipe,
    maps: ConceptAttentionMaps,
    size: tuple[int, int],
    guide: Tensor | None,
) -> Tensor:
    """Shares ``(B, C, h, w)`` on the token grid, and signs ``(B, C)``, to a mask ``(B, *size)`` as the method says."""

    def in_pixels(grid: Tensor) -> Tensor:
        if guide is None:
            return resize_maps(grid, maps.image_size, size, maps.token_pixels)
        return refine_maps(grid, guide, maps.image_size, maps.token_pixels)

    if recipe.method == "argmax":
        return winner_mask(in_pixels(shares), signs)
    share = combine_shares(shares, signs)
    share = in_pixels(torch.stack([share, 1 - share], dim=1))[:, 0]  # with the rest: shares must sum to 1
    if recipe.method == "soft":
        return levels_mask(share, recipe.low, recipe.high, recipe.gamma)
    if recipe.method == "threshold":
        return threshold_mask(share, recipe.threshold)
    if recipe.method == "mean":
        cut = mean_threshold(share)
    elif recipe.method == "otsu":
        cut = otsu_threshold(share)
    elif recipe.method == "percentile":
        cut = percentile_threshold(share, recipe.percentile)
    else:
        raise ValueError(
            f"There is no mask method '{recipe.method}': choose soft, mean, otsu, percentile, threshold or argmax."
        )
    varies = share.amax(dim=(-2, -1), keepdim=True) - share.amin(dim=(-2, -1), keepdim=True) > CONSTANT
    return threshold_mask(share, cut) * varies


def _clean(mask: Tensor, recipe: MaskRecipe, length: int) -> Tensor:
    """Regions, margins and edges of a mask ``(B, H, W)``. length: pictures of a video."""
    together = length if recipe.through_time else 1
    if recipe.min_area > 0:
        mask = remove_small(mask, math.ceil(recipe.min_area / 100 * mask[:together].numel()), together)
    if recipe.keep > 0:
        mask = keep_largest(mask, recipe.keep, together)
    if recipe.region > 0:
        mask = only_region(mask, recipe.region, together)
    if recipe.fill_holes:
        mask = fill_holes(mask)
    mask = blur(grow(mask, recipe.grow), recipe.blur)
    # The peak may have gone with a small region, or have been blurred away: what is left still has a core of 1.
    peak = mask.amax(dim=(-2, -1), keepdim=True)
    mask = mask / torch.where(peak > 0, peak, 1)
    return (1 - mask if recipe.invert else mask).contiguous()
