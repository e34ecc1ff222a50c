"""The one tap for all families: an attention override that shows the concepts what the model computes.

ComfyUI's attention functions ask `transformer_options["optimized_attention_override"]` before they compute. It sees
keys with their rotary embedding, values and outputs, whatever the family, and hands everything on untouched. It stands
in one call's own options, around the override that another node may have put there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from ...record import Recorder
from ...scores import ConceptPass
from ...stream import TextBlock
from .call import Call
from .families.base import Family
from .guard import told

OVERRIDE = "optimized_attention_override"


class Tap:
    """One evaluation's attention calls. Changes nothing, and whatever goes wrong in it is told, not raised."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.inner = call.options.get(OVERRIDE)
        self.failure = ""
        """What the reader has to be told: the concepts fell out of this evaluation, which goes on without them."""
        self.seen = 0
        """Attention calls that could have been the family's."""

    @property
    def began(self) -> bool:
        """Whether a block of the model has come by."""
        raise NotImplementedError

    @property
    def blocks(self) -> tuple[int, ...]:
        """Absolute indices of the blocks that were scored."""
        raise NotImplementedError

    def missing(self) -> list[int]:
        """Blocks that the evaluation has ended without, all of them where it cannot be told which."""
        raise NotImplementedError

    def stacked_scores(self) -> Tensor:
        """``(blocks, B, C, N)`` float32 on the CPU, in the order of `blocks`."""
        raise NotImplementedError

    def stacked_features(self) -> Tensor | None:
        """``(blocks, B, N, channels)`` float32 on the CPU, in the order of `blocks`, for families that have them."""
        return None

    def attend(self, named: dict[str, Any]) -> Any | None:
        """Send the concepts into what this call belongs to, and say which. None: the call is none of ours.

        named: the call's arguments by name.
        """
        raise NotImplementedError

    def score(self, found: Any, output: Tensor, kwargs: dict[str, Any]) -> None:
        """Score the picture's part of that attention's own output."""
        raise NotImplementedError

    def forget(self) -> None:
        """Let go of what is held: the evaluation goes on without concepts."""

    def options(self) -> dict[str, Any]:
        """The call's own options with this tap."""
        return {**self.call.options, OVERRIDE: self}

    def __call__(self, function: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """ComfyUI's contract for an override: compute the attention that `function` would."""
        found = self.before(args, kwargs)  # pyright: ignore[reportCallIssue]
        output = function(*args, **kwargs) if self.inner is None else self.inner(function, *args, **kwargs)
        if found is not None:
            self.after(found, output, kwargs)  # pyright: ignore[reportCallIssue]
        return output

    # A compiler that traced these would recompile for every number of concepts, and fail on tensors that live on.
    @torch.compiler.disable
    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any | None:
        """`attend`, where it may fail."""
        if self.failure:
            return None
        try:
            return self.attend({**dict(zip(("q", "k", "v", "heads"), args, strict=False)), **kwargs})
        except Exception as error:
            self.failure = told(error)
            self.forget()
            return None

    @torch.compiler.disable
    def after(self, found: Any, output: Tensor, kwargs: dict[str, Any]) -> None:
        """`score`, where it may fail."""
        try:
            self.score(found, output, kwargs)
        except Exception as error:
            self.failure = told(error)
            self.forget()


class AttentionTap(Tap):
    """The tap of families with a text stream: concepts ride along with one evaluation's attention calls.

    The concepts begin when the first block comes, so that an evaluation that another node answers from a cache costs
    nothing.
    """

    def __init__(self, family: Family, call: Call, recorder: Recorder, last_block: int, stops: bool = False) -> None:
        """last_block: the last block that is wanted; the maps hold all up to this one. stops: none behind it runs."""
        super().__init__(call)
        self.family = family
        self.recorder = recorder
        self.layout = family.layout(call, math.prod(recorder.frame.grid))
        self.expected = set(range(last_block + 1))
        self.calls = last_block + 1 if stops else self.layout.calls
        self.last_block = last_block
        self.concepts: ConceptPass | None = None
        self.streams: Callable[[int], TextBlock] | None = None

    @property
    def began(self) -> bool:
        return self.concepts is not None

    @property
    def blocks(self) -> tuple[int, ...]:
        return self.concepts.blocks if self.concepts is not None else ()

    def stacked_scores(self) -> Tensor:
        assert self.concepts is not None
        return self.concepts.stacked_scores()

    def stacked_features(self) -> Tensor:
        assert self.concepts is not None
        return self.concepts.stacked_features()

    def forget(self) -> None:
        self.concepts, self.streams = None, None

    def attend(self, named: dict[str, Any]) -> int | None:
        heads = int(named["heads"])
        keys, values = (_by_heads(named[name], named, heads) for name in ("k", "v"))
        block = self.find_block(named.get("transformer_options") or {}, keys)
        if block is None:
            return None
        if self.concepts is None or self.streams is None:
            self.concepts, self.streams = self.begin()
        image = self.layout.image(keys.shape[2])
        keys, values = (_all_heads(part[self.call.rows][:, :, image], heads) for part in (keys, values))
        self.concepts.attend(block, self.streams(block), keys, values)
        return block

    def begin(self) -> tuple[ConceptPass, Callable[[int], TextBlock]]:
        """Bring the concepts behind the text path, and ask for the stream that they travel in."""
        named = self.recorder.concepts
        tokens = self.family.tokens(self.call, named).expand(self.call.count, -1, -1)
        concepts = ConceptPass(tokens, self.recorder.projection, self.recorder.attend_to)
        return concepts, self.family.stream(self.call, named)

    def score(self, found: int, output: Tensor, kwargs: dict[str, Any]) -> None:
        assert self.concepts is not None
        if kwargs.get("skip_output_reshape"):
            output = rearrange(output, "b h n d -> b n (h d)")
        self.concepts.score(found, output[self.call.rows][:, self.layout.image(output.shape[1])])
        if found == self.last_block:
            self.concepts.release_tokens()
            self.streams = None

    def find_block(self, options: dict[str, Any], keys: Tensor) -> int | None:
        """The model's block that computes this attention, if it is one of those wanted, over the whole batch."""
        if len(keys) != self.call.batch or not self.layout.fits(keys.shape[2]):
            return None
        if self.layout.calls is None:
            block = self.family.named_block(self.call.dit, options)
        else:
            block, self.seen = self.seen, self.seen + 1
        # A block that runs once more is another node's doing: the first time is the model's.
        return block if block in self.expected and block not in self.blocks else None

    def missing(self) -> list[int]:
        if self.layout.calls is not None and self.seen != self.calls:
            return sorted(self.expected)
        return sorted(self.expected - set(self.blocks))


def _by_heads(part: Tensor, named: dict[str, Any], heads: int) -> Tensor:
    """Keys or values in any form that ComfyUI's attention takes, ``(B, heads, S, d)``."""
    if named.get("skip_reshape"):
        return part
    if part.ndim == 4:
        return rearrange(part, "b s h d -> b h s d")
    return rearrange(part, "b s (h d) -> b h s d", h=heads)


def _all_heads(part: Tensor, heads: int) -> Tensor:
    """Where several query heads share a key head, each gets its own view: ``(B, g, N, d)`` -> ``(B, heads, N, d)``."""
    return part if part.shape[1] == heads else part.repeat_interleave(heads // part.shape[1], dim=1)
