"""What a model family has to say. A family is one file in this folder and one line in the list of `__init__.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from comfy.model_base import BaseModel
from torch import Tensor

from ....concepts import Concepts, pool_captions
from ....maps import LAST_TEN
from ....record import Frame
from ....scores import PROJECTIONS, Projection
from ....stream import TextBlock
from ....times import picture_times
from ..call import Call
from ..pieces import TextEncoder


@dataclass(frozen=True)
class Layout:
    """Where the picture's own tokens stand in the sequence that a block's attention sees.

    text: tokens of the prompt, padding and registers included; count: the picture's own. first: the picture comes
    before the text. before, behind: tokens right before and right behind it that are no text: references, padding.
    calls: for models that do not number their blocks, how many attention calls over the whole sequence one evaluation
    makes, later blocks that concepts do not enter included; the first of them are the family's blocks.
    own: places of the picture's own tokens, counted from the sequence's beginning, where they do not stand together.
    """

    text: int
    count: int
    first: bool = False
    before: int = 0
    behind: int = 0
    calls: int | None = None
    own: Tensor | None = None

    @property
    def length(self) -> int:
        return self.text + self.before + self.count + self.behind

    def fits(self, length: int) -> bool:
        """Whether a sequence is the whole one. Other nodes may have put more text in front of the picture."""
        return length == self.length or (not self.first and self.calls is None and length > self.length)

    def image(self, length: int) -> slice | Tensor:
        """The picture's own tokens in a sequence of this length."""
        if self.own is not None:
            return self.own
        start = self.before if self.first else length - self.behind - self.count
        return slice(start, start + self.count)


class Family:
    """The base of every family: what most of them have in common.

    name: as people call it. models: which ones, for help texts and errors. text: the text encoder that it expects, and
    how a concept's own pieces are found there. default_blocks, temperature: what `ConceptAttentionMaps` says of them.
    whole_captions: the text path mixes tokens, so that it has to see a concept's whole caption.
    projections: the spaces in which it can compare. stops_early: a forward can end behind its last wanted block.
    measured: whether blocks and temperature were chosen on real weights; else maps choose their own blocks.
    frames: latents have a frame axis, ``(B, channels, 1, h, w)``, though they are pictures. video: its maps have one.
    pictures_of_a_frame: what its VAE decodes every latent frame but the first to. vae: how to load it, for errors.
    block_name: what people call one of its blocks.
    """

    name: str
    models: str
    text: TextEncoder
    default_blocks: tuple[int, int] = LAST_TEN
    temperature: float = 1.0
    whole_captions: bool = False
    projections: Collection[Projection] = PROJECTIONS
    stops_early: bool = True
    measured: bool = False
    frames: bool = False
    video: bool = False
    pictures_of_a_frame: int = 1
    block_name: str = "Block"
    vae: str = "the VAE that belongs to the model"

    def owns(self, model: BaseModel, dit: Any) -> bool:
        """Whether this MODEL is one of the family."""
        raise NotImplementedError

    def depth(self, dit: Any) -> int:
        """Blocks that concepts go through."""
        raise NotImplementedError

    def encoder(self, clip: Any) -> TextEncoder:
        """How concepts are read by this CLIP; `text`, unless the family's CLIP may lack some of its text encoders."""
        return self.text

    def patch(self, dit: Any) -> int:
        """Latent cells per token, each way."""
        return int(dit.patch_size)

    def latent_frames(self, dit: Any) -> int:
        """Latent frames per token, of video models."""
        return 1

    def context_width(self, dit: Any) -> int:
        """Channels of the conditioning that the model reads."""
        raise NotImplementedError

    def pooled_width(self, dit: Any) -> int | None:
        """Channels of the pooled text vector, or None where the model reads none."""
        return None

    def why_not_for_pictures(self, model: BaseModel, dit: Any) -> str:
        """Why a model of this family cannot look at an existing picture; empty where it can."""
        return ""

    def layout(self, call: Call, count: int) -> Layout:
        """Where the picture's `count` tokens stand in this evaluation."""
        raise NotImplementedError

    def tokens(self, call: Call, concepts: Concepts) -> Tensor:
        """The concepts behind the family's own text path, ``(1 or B, C, D)`` on the model's device."""
        raise NotImplementedError

    def stream(self, call: Call, concepts: Concepts) -> Callable[[int], TextBlock]:
        """The text stream of each block for this evaluation, by absolute index."""
        raise NotImplementedError

    def named_block(self, dit: Any, options: dict[str, Any]) -> int | None:
        """The block that an attention call's options name, for families that do."""
        return options.get("block_index") if options.get("block_type") == "double" else None

    def replaced_after(self, dit: Any, last_block: int) -> list[tuple[str, int]]:
        """Keys of ``patches_replace["dit"]`` of every block behind `last_block`, for families that stop early."""
        raise NotImplementedError

    def frame(self, model: BaseModel, dit: Any, latent_size: tuple[int, ...]) -> Frame:
        """What maps of a latent of this ``(h, w)``, or ``(frames, h, w)``, are like."""
        cell, patch, (height, width) = pixels_of_a_cell(model), self.patch(dit), latent_size[-2:]
        time: tuple[int, ...] = ()
        times: tuple[float, ...] = ()
        if self.video:
            together = self.latent_frames(dit)
            time = (math.ceil(latent_size[0] / together),)
            times = picture_times(latent_size[0], self.pictures_of_a_frame, together)
        return Frame(
            grid=(*time, math.ceil(height / patch), math.ceil(width / patch)),
            image_size=(height * cell, width * cell),
            token_pixels=cell * patch,
            family=self.name,
            default_blocks=self.default_blocks,
            temperature=self.temperature,
            times=times,
            reading="paper" if self.measured else "auto",
        )


def pixels_of_a_cell(model: BaseModel) -> int:
    """Side of a latent cell in pixels."""
    return int(getattr(model.latent_format, "spacial_downscale_ratio", 8))


def is_a(thing: Any, name: str) -> bool:
    """Whether an object's class, or one that it is derived from, has this dotted name.

    Asked by name, so that a family's file can be loaded by a ComfyUI that lacks the family.
    """
    return any(f"{one.__module__}.{one.__qualname__}" == name for one in type(thing).__mro__)


def placed(embeddings: Tensor, call: Call) -> Tensor:
    """Pooled vectors ``(1, C, width)`` on the model's device, in the dtype of its conditioning."""
    return embeddings.to(device=call.device, dtype=call.dtype)


def pool_behind(concepts: Concepts, call: Call, path: Callable[[Tensor], Tensor]) -> Tensor:
    """`pool_captions` on the model's device. path: ``(captions, T, width)`` -> ``(captions, T or more, D)``."""
    return pool_captions(concepts, lambda rows: path(rows.to(device=call.device, dtype=call.dtype))).to(call.dtype)
