"""Maps: the scores of one sampling run, and the saliency that is read from them without sampling again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import interpolate

from .concepts import find_concept
from .reading import OPINION, SUREST, auto_shares, block_weights
from .times import around, in_pictures

TOKEN_PIXELS = 16
"""Side of an image token in pixels in most models: a latent cell's 8 times a patch of 2."""

Reading = Literal["paper", "auto"]
READINGS: tuple[Reading, ...] = get_args(Reading)

LAST_TEN = (-10, -1)
"""The blocks that the paper averages on FLUX.1, as `first_block` and `last_block`."""


@dataclass(frozen=True)
class ConceptAttentionMaps:
    """Raw concept scores of one sampling run. Everything else (blocks, temperature, masks) is derived from them.

    scores: ``(steps, blocks, batch, concepts, h, w)`` float32 on the CPU: plain dot products, background last. Of
    videos: ``(steps, blocks, batch, concepts, frames, h, w)``, whose frames are the model's own (token frames).
    concepts: names, in the order of that axis. background_count: how many of the last ones only compete.
    blocks: absolute block indices of the second axis. sigmas: noise level of each recorded step.
    image_size: ``(H, W)`` of the picture in pixels. token_pixels: side of a token; the grid covers
    ``(token_pixels * h, token_pixels * w)`` pixels from the top left: more where H or W is not divisible by it.
    projection: the space that the scores were taken in. family: the model family that made them, for people.
    default_blocks: what to average unless told otherwise, first and last, inclusive, negative from the end.
    temperature: the family's own, for ``paper``; a reader's temperature multiplies it.
    softness: what was chosen in the explorer, and goes on with its maps: each reader's temperature is multiplied by it.
    reading: how `shares` reads them unless told otherwise. trusted_blocks: those that ``auto`` weighs, first and last.
    times: of a video, for every decoded picture where it lies on the axis of frames (see `times.py`); of pictures,
    empty. Whatever is read from a video comes as the batch of pictures that it is, the first video's first.
    trust: how much ``auto`` trusts each of `blocks`, learnt from other runs (see `trusting`); empty: these scores say.
    features: what the model makes of each image token, ``(blocks, batch, features.CHANNELS, [frames,] h, w)`` float16,
    the mean over all steps; None where the family has none, and in files of earlier versions.
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
    reading: Reading = "paper"
    trusted_blocks: tuple[int, int] = (0, -1)
    times: tuple[float, ...] = ()
    trust: tuple[float, ...] = ()
    features: Tensor | None = None
    softness: float = 1.0

    @property
    def pictures(self) -> int:
        """How many pictures are read from it: those of all videos of the batch, or the batch itself."""
        return self.scores.shape[2] * (len(self.times) or 1)

    @property
    def grid(self) -> tuple[int, int]:
        """``(h, w)`` tokens of a picture."""
        return self.scores.shape[-2], self.scores.shape[-1]

    def picture(self, index: int) -> ConceptAttentionMaps:
        """The maps of one picture, counted as they are read, from 0. Raises ValueError past the end."""
        if not -self.pictures <= index < self.pictures:
            raise ValueError(f"There is no picture {index}: `maps` holds {self.pictures}, and counting begins with 0.")
        video, at = divmod(index % self.pictures, len(self.times) or 1)
        scores = self.scores[:, :, video : video + 1]
        features = None if self.features is None else self.features[:, video : video + 1]
        if not self.times:
            return replace(self, scores=scores, features=features)
        first, last = around(self.times[at], self.scores.shape[4])
        frames = slice(first, last + 1)
        return replace(
            self,
            scores=scores[:, :, :, :, frames],
            times=(self.times[at] - first,),
            features=None if features is None else features[:, :, :, frames],
        )

    def cut(self, first: int, frames: int, whole: int) -> ConceptAttentionMaps:
        """The maps of a part of a video, of `frames` latent frames from `first` on, as if it were decoded by itself.

        whole: latent frames of the video, 2 or more. Raises ValueError where a token covers several of them.
        """
        ratio = (len(self.times) - 1) // (whole - 1)
        if whole != self.scores.shape[4]:
            raise ValueError(
                "This LATENT is a part of a video, and this model's frames cannot be told apart. Connect the sampler's "
                "own LATENT, with no node in between."
            )
        times = tuple(min(time, frames - 1.0) for time in self.times[: 1 + ratio * (frames - 1)])
        part = slice(first, first + frames)
        features = None if self.features is None else self.features[:, :, :, part]
        return replace(self, scores=self.scores[:, :, :, :, part], times=times, features=features)

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
        Returns ``(pictures, concepts, h, w)`` float32, sum 1 over concepts. Raises ValueError on an empty range.
        """
        chosen = self.chosen(first_block, last_block)
        temperature = temperature * self.softness * self.temperature
        total = torch.zeros(self.scores.shape[2:])
        for step in self.scores:  # one at a time: a long schedule's scores are large
            total += (step[chosen] / temperature).softmax(dim=2).sum(dim=0)
        return self._in_pictures(total / (len(self.scores) * len(chosen)))

    def mean_scores(self, first_block: int | None = None, last_block: int | None = None) -> Tensor:
        """The mean over steps and blocks, of each of the model's own frames: ``(batch * frames, concepts, h, w)``.

        Blocks as in `chosen`.
        """
        chosen = self.chosen(first_block, last_block)
        total = torch.zeros(self.scores.shape[2:])
        for step in self.scores:
            total += step[chosen].sum(dim=0)
        total /= len(self.scores) * len(chosen)
        return rearrange(total, "b c f h w -> (b f) c h w") if self.times else total

    def shares(
        self,
        reading: Reading | None = None,
        first_block: int | None = None,
        last_block: int | None = None,
        temperature: float = 1.0,
    ) -> Tensor:
        """Share of each concept in each patch, ``(pictures, concepts, h, w)`` float32, sum 1 over concepts.

        reading: by default the maps' own. ``paper`` is `saliency`. ``auto`` trusts each step and block by what it
        shows, and has places that look alike agree (see `reading`): for models whose blocks and temperature nobody has
        measured. first_block, last_block: which may be trusted, by default `trusted_blocks` for ``auto``.
        Raises ValueError on an empty range and on another reading.
        """
        reading = reading or self.reading
        if reading == "paper":
            return self.saliency(first_block, last_block, temperature)
        if reading != "auto":
            raise ValueError(f"There is no reading '{reading}': choose paper or auto.")
        return self.auto_shares(first_block, last_block, temperature)

    def auto_shares(
        self,
        first_block: int | None = None,
        last_block: int | None = None,
        temperature: float = 1.0,
        weights: Tensor | None = None,
        opinion: float = OPINION,
        surest: float = SUREST,
    ) -> Tensor:
        """`shares` with ``auto``, and all that may be changed in it.

        weights: of steps and blocks, as `block_weights` gives them; by default these maps' own. opinion: of the
        prototypes, 0..1, 0 for none; surest: part of the picture that makes one.
        """
        trusted = self.trusted(first_block, last_block)
        features = None if self.features is None or opinion == 0 else self.features[trusted]
        if self.times and features is not None:
            features = rearrange(features, "l b k f h w -> l (b f) k h w")
        softness = temperature * self.softness
        if weights is None and self.trust:
            weights = self.block_weights(first_block, last_block)
        found = auto_shares(self.of_frames(trusted), softness, features, weights, opinion, surest)
        return self.frames_in_pictures(found)

    def block_weights(
        self, first_block: int | None = None, last_block: int | None = None, temperature: float = 1.0
    ) -> Tensor:
        """How much `shares` with ``auto`` trusts each step and block: ``(batch, steps, blocks)``, sum 1.

        Each of the model's own frames of a video is trusted by itself: ``(batch * frames, steps, blocks)``.
        """
        trusted = self.trusted(first_block, last_block)
        scores = self.of_frames(trusted)
        if not self.trust:
            return block_weights(scores, temperature * self.softness)
        learnt = torch.tensor(self.trust)[trusted]
        return (learnt / learnt.sum() / len(scores)).expand(scores.shape[2], len(scores), len(trusted))

    def trusting(self, others: Sequence[ConceptAttentionMaps]) -> ConceptAttentionMaps:
        """These maps, whose ``auto`` trusts each block as much as other runs of the same model do, on average.

        For few words, as "a thing" and `background`: what these show of the blocks is uncertain, and the runs of other
        pictures with any words, four of them or more, know better (`docs/measured.md`). Each run counts alike. Raises
        ValueError where there are none, or where they have other blocks or scores of another space.
        """
        kinds = {(one.family, one.blocks, one.projection) for one in (self, *others)}
        if not others or len(kinds) > 1:
            raise ValueError(
                "Blocks are trusted by other maps of the same model, blocks and projection: give at least one of those."
            )
        learnt = [replace(one, trust=()).block_weights(0, -1).sum(dim=1).mean(dim=0) for one in others]
        trust = torch.stack(learnt).mean(dim=0).clamp_min(1e-9)  # so that any choice of blocks can be weighed
        return replace(self, trust=tuple(trust.tolist()))

    def trusted(self, first_block: int | None = None, last_block: int | None = None) -> list[int]:
        """Positions on the block axis that ``auto`` may trust; None: as `trusted_blocks` says."""
        first, last = self.trusted_blocks
        return select_blocks(
            self.blocks, first if first_block is None else first_block, last if last_block is None else last_block
        )

    def of_frames(self, positions: list[int]) -> Tensor:
        """Scores at some positions of the block axis, ``(steps, blocks, batch, concepts, h, w)``.

        A video's frames are its batch: ``batch * frames``.
        """
        scores = self.scores[:, positions]
        return rearrange(scores, "s l b c f h w -> s l (b f) c h w") if self.times else scores

    def frames_in_pictures(self, frames: Tensor) -> Tensor:
        """What is known of the model's own frames, ``(batch * frames, concepts, ...)``, of pictures.

        Returns ``(pictures, concepts, ...)``; what is known of pictures stays as it is.
        """
        if not self.times:
            return frames
        return self._in_pictures(rearrange(frames, "(b f) c ... -> b c f ...", f=self.scores.shape[4]))

    def _in_pictures(self, frames: Tensor) -> Tensor:
        """``(batch, concepts, frames, ...)`` of a video to ``(pictures, concepts, ...)``."""
        return in_pictures(frames, self.times) if self.times else frames


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
