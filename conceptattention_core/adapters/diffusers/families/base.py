"""What a family of diffusers' models has to say. A family is one file in this folder and one line in `__init__.py`."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ....concepts import Caption, Concepts
from ....maps import LAST_TEN, TOKEN_PIXELS
from ....record import Frame
from ....scores import PROJECTIONS, Projection
from ....stream import TextBlock


@dataclass(frozen=True)
class Evaluation:
    """What one call of the transformer says about itself before it runs.

    sigma: noise level, 1 = pure noise; batch: number of pictures; grid: ``(h, w)`` tokens of the picture, of a video
    ``(frames, h, w)``. times: of a video, where its decoded pictures lie on the axis of frames (see `times.py`).
    rows: those of the call's batch that belong to the prompt, where the negative prompt shares it.
    start: where the picture's own tokens begin in the sequence that a block's `to_k` sees. starts: the same for each of
    the `batch` pictures, where they differ. token_pixels: side of a token in pixels.
    """

    sigma: float
    batch: int
    grid: tuple[int, ...]
    rows: slice = field(default_factory=lambda: slice(None))
    start: int = 0
    starts: tuple[int, ...] = ()
    times: tuple[float, ...] = ()
    token_pixels: int = TOKEN_PIXELS

    @property
    def image(self) -> slice:
        """The picture's own tokens in that sequence."""
        return slice(self.start, self.start + math.prod(self.grid))

    def take(self, part: Tensor) -> Tensor:
        """The prompt's rows, of each the picture's own tokens: ``(all rows, ..., tokens, d)`` -> ``(B, ..., N, d)``."""
        part = part[self.rows]
        if not self.starts:
            return part[..., self.image, :]
        count = math.prod(self.grid)
        return torch.stack([one[..., at : at + count, :] for one, at in zip(part, self.starts, strict=True)])


@dataclass(frozen=True)
class Seen:
    """One call of a module that a family asked to watch. output: None where it has only begun."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any = None


@dataclass(frozen=True)
class Start:
    """What the concepts begin an evaluation with.

    tokens: ``(1 or B, C, D)`` behind the text path. stream: each block's text stream, by index.
    rotate: the picture's keys ``(B, H, N, d)`` to their places.
    """

    tokens: Tensor
    stream: Callable[[int], TextBlock]
    rotate: Callable[[Tensor], Tensor]


class Family:
    """The base of every family: what most of them have in common.

    name: as people call it. pipelines: diffusers' classes, the plain one first. transformer: the class that they share.
    default_blocks, temperature: what `ConceptAttentionMaps` says of them. measured: whether they were chosen on real
    weights; else maps choose their own blocks. block_name: what people call a block.
    max_sequence_length: tokens that its pipelines pad a prompt to unless told otherwise.
    captions: it needs a concept's caption, for its place or its text path, not only one vector.
    heads_first: `key_norm` sees ``(B, H, N, d)``, not ``(B, N, H, d)`` or ``(B, N, H*d)``. rotates_in_place: what it
    gives out is rotated where it stands. video: it makes videos. input_layer: what the picture enters by.
    projections: the spaces in which it can compare. only_listed: no other pipeline around this model is read.
    patch, token_pixels: latent cells and pixels per token, each way, of what `latent` makes.
    prompt_argument: the forward's name for the prompt's tokens.
    steps, cfg: what a picture is made with unless told otherwise; a cfg of 1 is none.
    """

    name: str
    pipelines: tuple[str, ...]
    transformer: str
    default_blocks: tuple[int, int] = LAST_TEN
    temperature: float = 1.0
    measured: bool = False
    block_name: str = "Double block"
    max_sequence_length: int = 512
    captions: bool = False
    heads_first: bool = False
    rotates_in_place: bool = False
    video: bool = False
    only_listed: bool = False
    projections: Collection[Projection] = PROJECTIONS
    input_layer: str = "x_embedder"
    patch: int = 2
    token_pixels: int = TOKEN_PIXELS
    prompt_argument: str = "encoder_hidden_states"
    steps: int = 28
    cfg: float = 1.0

    def owns(self, transformer: nn.Module) -> bool:
        """Whether this is a transformer of the family; asked by name, as older versions of diffusers lack some."""
        return any(one.__name__ == self.transformer for one in type(transformer).__mro__)

    def blocks(self, transformer: Any) -> Sequence[Any]:
        """The blocks that concepts go through."""
        return transformer.transformer_blocks

    def attention(self, block: Any) -> Any:
        """A block's attention module."""
        return block.attn

    def parts(self, block: Any) -> tuple[Any, ...]:
        """What has to be there for a block to be read, None for what is not."""
        attention = getattr(block, "attn", None)
        return tuple(getattr(attention, name, None) for name in ("norm_k", "to_out", "norm_added_k"))

    def fused(self, attention: Any) -> bool:
        """Whether the block computes query, key and value in one linear layer."""
        return bool(getattr(attention, "fused_projections", False))

    def heads(self, attention: Any) -> tuple[int, int]:
        """How many heads the queries have, and the keys, which several query heads may share."""
        return attention.heads, attention.heads

    def keys_from(self, attention: Any) -> nn.Module:
        """What makes the picture's keys, or query, key and value in one."""
        return attention.to_qkv if self.fused(attention) else attention.to_k

    def values_from(self, attention: Any) -> nn.Module:
        """What makes the picture's values, or query, key and value in one."""
        return attention.to_qkv if self.fused(attention) else attention.to_v

    def key_norm(self, attention: Any) -> nn.Module | None:
        """What normalises the picture's keys, if anything does: all heads' channels at once, or each head's own."""
        return attention.norm_k

    def output_layer(self, attention: Any) -> nn.Module:
        """The picture's output projection, in front of which the attention outputs are read."""
        return attention.to_out[0]

    def gate(self, attention: Any) -> nn.Module | None:
        """What makes the output gate, in front of its sigmoid, where `to_out` sees the output behind one."""
        return None

    def evaluation(self, given: dict[str, Any], pipe: Any) -> Evaluation:
        """What a call says. given: the forward's arguments by name; pipe: None where all rows are the prompt's."""
        raise NotImplementedError

    def watched(self, transformer: Any) -> dict[str, nn.Module]:
        """Modules in front of the first block whose calls `begin` wants to see, by names of its own."""
        raise NotImplementedError

    def begin(
        self, transformer: Any, concepts: Concepts, seen: dict[str, list[Seen]], evaluation: Evaluation
    ) -> Start:
        """Bring the concepts in front of the first block. A watched module is called by its `forward`: no hooks."""
        raise NotImplementedError

    def caption(self, pipe: Any, name: str, max_sequence_length: int) -> Caption:
        """Encode one concept alone. Raises ValueError where the pipeline or the concept will not do."""
        raise NotImplementedError

    def prompt(self, pipe: Any, text: str, count: int, max_sequence_length: int) -> dict[str, Any]:
        """The transformer's arguments that say the prompt, for `count` pictures; a pooled text is zero.

        Raises ValueError where the family makes videos.
        """
        raise ValueError(
            f"{self.name} makes videos, and `encode` looks at pictures. Record a video while the pipeline makes it: "
            "`with ConceptAttention(pipe, ...)`."
        )

    def latent(self, vae: Any, pixels: Tensor) -> Tensor:
        """``(B, 3, H, W)`` -1..1 -> the picture as the model sees it, ``(B, channels, h, w)``: the VAE's mean."""
        return (vae.encode(pixels).latent_dist.mode() - vae.config.shift_factor) * vae.config.scaling_factor

    def noised(self, pipe: Any, latent: Tensor, noise: Tensor, noise_level: float) -> Tensor:
        """A latent as the model sees it at a noise level, 0..1: of a flow model the way from one to the other."""
        return latent + noise_level * (noise - latent)

    def inputs(
        self, transformer: Any, noised: Tensor, noise_level: float, guidance: float, told: dict[str, Any]
    ) -> dict[str, Any]:
        """All of the transformer's arguments for a noised latent. told: what `prompt` returned.

        Raises ValueError where the model needs more than a picture.
        """
        raise NotImplementedError

    def not_needed(self, transformer: Any) -> Sequence[nn.Module]:
        """The first module behind the blocks, where much is left to do there: a single forward ends in front of it."""
        return ()

    def loaded_as(self, pipeline: str) -> str:
        """The text-to-image pipeline for a model whose index file names this one."""
        return self.pipelines[0]

    def steps_of(self, pipe: Any) -> int:
        """Steps that a picture is made in unless told otherwise."""
        return self.steps

    def cfg_of(self, pipe: Any) -> float:
        """Real guidance that a picture is made with unless told otherwise."""
        return self.cfg

    def call(self, pipe: Any, guidance: float, cfg: float) -> dict[str, Any]:
        """A pipeline call's arguments for distilled guidance, and real guidance against an empty prompt (1: none)."""
        return {"guidance_scale": cfg}

    def frame(
        self, grid: tuple[int, ...], times: tuple[float, ...] = (), token_pixels: int = TOKEN_PIXELS
    ) -> Frame:
        """What maps of this grid are like; all as an `Evaluation` says it."""
        return Frame(
            grid=grid,
            image_size=(token_pixels * grid[-2], token_pixels * grid[-1]),
            token_pixels=token_pixels,
            family=self.name,
            default_blocks=self.default_blocks,
            temperature=self.temperature,
            times=times,
            reading="paper" if self.measured else "auto",
        )


def named(transformer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """A forward's arguments by name; the class is asked, as offloading replaces the instance's own."""
    order = list(inspect.signature(type(transformer).forward).parameters)[1:]
    return {**dict(zip(order, args, strict=False)), **kwargs}


def no_text_encoder(what: str) -> str:
    """What to say of a pipeline without its text encoder."""
    return (
        f"This pipeline has no {what} to encode the concepts with. Load it, or give a `Concepts` object that "
        "`encode_concepts` made with a pipeline that has one."
    )
