"""Maps: the scores of one sampling run, and the saliency that is read from them without sampling again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .concepts import find_concept
from .reading import auto_shares, block_weights

TOKEN_PIXELS = 16
"""Side of an image token in pixels in most models: a latent cell's 8 times a patch of 2."""

Reading = Literal["paper", "auto"]
READINGS: tuple[Reading, ...] = get_args(Reading)

LAST_TEN = (-10, -1)
"""The blocks that the paper averages on FLUX.1, as `first_block` and `last_block`."""


@dataclass(frozen=True)
class ConceptAttentionMaps:
    """Raw concept scores of one sampling run. Everything else (blocks, temperature, masks) is derived from them.

    scores: ``(steps, blocks, batch, concepts, h, w)`` float32 on the CPU: plain dot products, background last.
    concepts: names, in the order of that axis. background_count: how many of the last ones only compete.
    blocks: absolute block indices of the second axis. sigmas: noise level of each recorded step.
    image_size: ``(H, W)`` of the picture in pixels. token_pixels: side of a token; the grid covers
    ``(token_pixels * h, token_pixels * w)`` pixels from the top left: more where H or W is not divisible by it.
    projection: the space that the scores were taken in. family: the model family that made them, for people.
    default_blocks: what to average unless told otherwise, first and last, inclusive, negative from the end.
    temperature: the family's own; a reader's temperature multiplies it.
    features: what the model makes of each image token, ``(blocks, batch, features.CHANNELS, h, w)`` float16, the mean
    over all steps; None where the family has none, and in files of earlier versions.
    """

    scores: Tensor
    concepts: tuple[str, ...]
    background_count: int
    blocks: tuple[int, ...]
    sigmas: tuple[float, ...]
    image_size: tuple[int, int]
    projection: str = "output"
    token_pixels: int = TOKEN_PIXELS
    family: str = "FLUX.1"
    default_blocks: tuple[int, int] = LAST_TEN
    temperature: float = 1.0
    features: Tensor | None = None

    def picture(self, index: int) -> ConceptAttentionMaps:
        """The maps of one picture of the batch, counted from 0. Raises ValueError past the end."""
        if not 0 <= index < self.scores.shape[2]:
            raise ValueError(
                f"There is no picture {index}: `maps` holds {self.scores.shape[2]}, and counting begins with 0."
            )
        one = slice(index, index + 1)
        features = None if self.features is None else self.features[:, one]
        return replace(self, scores=self.scores[:, :, one], features=features)

    def index(self, concept: str) -> int:
        """Index of a concept by name (empty: the first). Raises ValueError with the nearest names on an unknown one."""
        return find_concept(concept, self.concepts)

    def chosen(self, first_block: int | None = None, last_block: int | None = None) -> list[int]:
        """Positions on the block axis of an inclusive range of absolute indices; negative ones count from the end.

        None: the family's own end of the range. Raises ValueError on an empty range.
        """
        first, last = self.default_blocks
        return select_blocks(
            self.blocks, first if first_block is None else first_block, last if last_block is None else last_block
        )

    def saliency(
        self, first_block: int | None = None, last_block: int | None = None, temperature: float = 1.0
    ) -> Tensor:
        """Share of each concept in each patch: softmax over concepts per step and block, then the mean (paper, eq. 9).

        first_block, last_block: as in `chosen`. temperature: divides the scores, after the family's own (of FLUX.1: 1);
        above 1 softens the competition.
        Returns ``(batch, concepts, h, w)`` float32 that sums to 1 over concepts. Raises ValueError on an empty range.
        """
        chosen = self.chosen(first_block, last_block)
        total = torch.zeros(self.scores.shape[2:])
        for step in self.scores:  # one at a time: a long schedule's scores are large
            total += (step[chosen] / (temperature * self.temperature)).softmax(dim=2).sum(dim=0)
        return total / (len(self.scores) * len(chosen))

    def shares(
        self,
        reading: Reading = "paper",
        first_block: int | None = None,
        last_block: int | None = None,
        temperature: float = 1.0,
    ) -> Tensor:
        """Share of each concept in each patch, ``(batch, concepts, h, w)`` float32, sum 1 over concepts.

        reading: ``paper`` is `saliency`. ``auto`` trusts each step and block by what it shows, and has places that look
        alike agree (see `reading`): for models whose blocks and temperature nobody has measured. first_block,
        last_block: which may be trusted, by default all for ``auto``. Raises ValueError on an empty range and on
        another reading.
        """
        if reading == "paper":
            return self.saliency(first_block, last_block, temperature)
        if reading != "auto":
            raise ValueError(f"There is no reading '{reading}': choose paper or auto.")
        trusted = self.trusted(first_block, last_block)
        features = None if self.features is None else self.features[trusted]
        return auto_shares(self.scores[:, trusted], temperature, features)

    def block_weights(
        self, first_block: int | None = None, last_block: int | None = None, temperature: float = 1.0
    ) -> Tensor:
        """How much `shares` with ``auto`` trusts each step and block: ``(batch, steps, blocks)``, sum 1."""
        return block_weights(self.scores[:, self.trusted(first_block, last_block)], temperature)

    def trusted(self, first_block: int | None = None, last_block: int | None = None) -> list[int]:
        """Positions on the block axis that ``auto`` may trust; None: the model's own first or last block."""
        first, last = 0 if first_block is None else first_block, -1 if last_block is None else last_block
        return select_blocks(self.blocks, first, last)


def select_blocks(blocks: tuple[int, ...], first: int, last: int) -> list[int]:
    """Positions within `blocks` of the inclusive range ``first..last`` (negative: from the end of the model)."""
    depth = blocks[-1] + 1
    low, high = (max(0, depth + end) if end < 0 else end for end in (first, last))
    chosen = [position for position, block in enumerate(blocks) if low <= block <= high]
    if not chosen:
        raise ValueError(
            f"No block lies between first_block {first} and last_block {last}: "
            f"this model has blocks 0 to {depth - 1} (-1 is the last)."
        )
    return chosen


def resize_maps(
    maps: Tensor, image_size: tuple[int, int], size: tuple[int, int], token_pixels: int = TOKEN_PIXELS
) -> Tensor:
    """Bring maps from the token grid to pixels, bilinearly, so without overshoot.

    maps: ``(B, C, h, w)``; image_size: ``(H, W)`` of the picture that the grid was made for; size: ``(H, W)`` wanted.
    The part of the grid that hangs over the picture's right and bottom edge is cut off. Returns ``(B, C, *size)``.
    """
    covered = covered_size((maps.shape[-2], maps.shape[-1]), image_size, size, token_pixels)
    return interpolate(maps, covered, mode="bilinear", align_corners=False)[..., : size[0], : size[1]]


def covered_size(
    grid: tuple[int, int], image_size: tuple[int, int], size: tuple[int, int], token_pixels: int = TOKEN_PIXELS
) -> tuple[int, int]:
    """What a token grid ``(h, w)`` covers, in pixels of a picture that is shown at `size`: at least `size` itself.

    image_size: ``(H, W)`` of the picture that the grid was made for, in its own pixels.
    """
    height, width = (
        max(wanted, round(wanted * count * token_pixels / actual))
        for count, actual, wanted in zip(grid, image_size, size, strict=True)
    )
    return height, width
