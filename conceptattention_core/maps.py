"""Maps: the scores of one sampling run, and the saliency that is read from them without sampling again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .concepts import find_concept

PATCH_PIXELS = 16
"""Side of an image token in pixels: the VAE's 8 times the model's patch of 2."""


@dataclass(frozen=True)
class ConceptAttentionMaps:
    """Raw concept scores of one sampling run. Everything else (blocks, temperature, masks) is derived from them.

    scores: ``(steps, blocks, batch, concepts, h, w)`` float32 on the CPU: plain dot products, background last.
    concepts: names, in the order of that axis. background_count: how many of the last ones only compete.
    blocks: absolute double-block indices of the second axis. sigmas: noise level of each recorded step (1: noise only).
    image_size: ``(H, W)`` of the picture in pixels. The token grid covers ``(16 h, 16 w)`` pixels from the top left,
    which is more where H or W is not divisible by 16. projection: the space that the scores were taken in.
    """

    scores: Tensor
    concepts: tuple[str, ...]
    background_count: int
    blocks: tuple[int, ...]
    sigmas: tuple[float, ...]
    image_size: tuple[int, int]
    projection: str = "output"

    def index(self, concept: str) -> int:
        """Index of a concept by name (empty: the first). Raises ValueError with the nearest names on an unknown one."""
        return find_concept(concept, self.concepts)

    def saliency(self, first_block: int = -10, last_block: int = -1, temperature: float = 1.0) -> Tensor:
        """Share of each concept in each patch: softmax over concepts per step and block, then the mean (paper, eq. 9).

        first_block, last_block: inclusive absolute indices; negative ones count from the end and stop at block 0.
        temperature: divides the scores; above 1 softens the competition.
        Returns ``(batch, concepts, h, w)`` float32 that sums to 1 over concepts. Raises ValueError on an empty range.
        """
        chosen = select_blocks(self.blocks, first_block, last_block)
        total = torch.zeros(self.scores.shape[2:])
        for step in self.scores:  # one at a time: a long schedule's scores are large
            total += (step[chosen] / temperature).softmax(dim=2).sum(dim=0)
        return total / (len(self.scores) * len(chosen))


def select_blocks(blocks: tuple[int, ...], first: int, last: int) -> list[int]:
    """Positions within `blocks` of the inclusive range ``first..last`` (negative: from the end of the model)."""
    depth = blocks[-1] + 1
    low, high = (max(0, depth + end) if end < 0 else end for end in (first, last))
    chosen = [position for position, block in enumerate(blocks) if low <= block <= high]
    if not chosen:
        raise ValueError(
            f"No double block lies between first_block {first} and last_block {last}: "
            f"this model has blocks 0 to {depth - 1} (-1 is the last)."
        )
    return chosen


def resize_maps(maps: Tensor, image_size: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Bring maps from the token grid to pixels, bilinearly, so without overshoot.

    maps: ``(B, C, h, w)``; image_size: ``(H, W)`` of the picture that the grid was made for; size: ``(H, W)`` wanted.
    The part of the grid that hangs over the picture's right and bottom edge is cut off. Returns ``(B, C, *size)``.
    """
    covered = covered_size((maps.shape[-2], maps.shape[-1]), image_size, size)
    return interpolate(maps, covered, mode="bilinear", align_corners=False)[..., : size[0], : size[1]]


def covered_size(grid: tuple[int, int], image_size: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """What a token grid ``(h, w)`` covers, in pixels of a picture that is shown at `size`: at least `size` itself.

    image_size: ``(H, W)`` of the picture that the grid was made for, in its own pixels.
    """
    height, width = (
        max(wanted, round(wanted * count * PATCH_PIXELS / actual))
        for count, actual, wanted in zip(grid, image_size, size, strict=True)
    )
    return height, width
