"""The tap for families without a text stream: what image tokens would read of the concepts beside the prompt."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from einops import rearrange
from torch import Tensor

from ...cross import CrossPass, Place
from ...record import Recorder
from .call import Call
from .families.cross import CrossFamily
from .tap import Tap


class CrossTap(Tap):
    """One evaluation's text attentions, asked by the model's own queries for the concepts' keys. Changes nothing."""

    def __init__(self, family: CrossFamily, call: Call, recorder: Recorder) -> None:
        super().__init__(call)
        self.family = family
        self.recorder = recorder
        self.expected = family.places(call.dit)
        self.layout = family.layout(call, math.prod(recorder.frame.grid))
        frame = recorder.frame
        self.passing = CrossPass(recorder.projection, frame.grid[0] if frame.times else 1)
        self.tokens: Tensor | None = None
        self.alike: Counter[Place] = Counter()
        """Queries that have asked as many keys as the prompt has tokens, by place."""

    @property
    def began(self) -> bool:
        return self.tokens is not None

    @property
    def blocks(self) -> tuple[int, ...]:
        return self.passing.blocks

    def options(self) -> dict[str, Any]:
        return self.family.options(self.call, super().options())

    def attend(self, named: dict[str, Any]) -> Place | None:
        place = self.find(named)
        if place is None:
            return None
        if self.tokens is None:
            self.tokens = self.family.tokens(self.call, self.recorder.concepts)
        read = self.family.read(self.call, place, self.tokens, named.get("transformer_options") or {})
        keys, values = (one.expand(self.call.count, -1, -1) for one in read)
        queries = _merged(named["q"], named)
        asked = queries[self.call.rows][:, self.image(queries.shape[1])]
        self.passing.ask(place, asked, keys, values, int(named["heads"]))
        return place

    def score(self, found: Place, output: Tensor, kwargs: dict[str, Any]) -> None:
        if kwargs.get("skip_output_reshape"):
            output = rearrange(output, "b h n d -> b n (h d)")
        self.passing.score(found, output[self.call.rows][:, self.image(output.shape[1])])

    def image(self, length: int) -> slice | Tensor:
        """The picture's own tokens. A grid that is coarser than the maps' own is all of a sequence."""
        return self.layout.image(length) if length >= self.layout.length else slice(0, length)

    def find(self, named: dict[str, Any]) -> Place | None:
        """The text attention that this call computes, if it is one of the family's, over the whole batch."""
        self.seen += 1
        keys = named["k"]
        if len(keys) != self.call.batch or len(named["q"]) != self.call.batch:
            return None
        if _length(keys, named) != self.call.text_tokens:
            return None
        place = self.family.place(self.call, named.get("transformer_options") or {})
        if place not in self.expected or place in self.passing.places:
            return None
        queries, before = _length(named["q"], named), self.alike[place]
        self.alike[place] += queries
        return place if before >= self.family.earlier(self.call, queries) else None

    def missing(self) -> list[int]:
        return sorted({block for block, _ in self.expected - self.passing.places})

    def stacked_scores(self) -> Tensor:
        return self.family.stacked(self.call, self.passing, self.recorder.frame.grid)


def _merged(part: Tensor, named: dict[str, Any]) -> Tensor:
    """Queries in any form that ComfyUI's attention takes, ``(B, S, heads * d)``."""
    if named.get("skip_reshape"):
        return rearrange(part, "b h s d -> b s (h d)")
    return part.flatten(2)


def _length(part: Tensor, named: dict[str, Any]) -> int:
    return part.shape[2] if named.get("skip_reshape") else part.shape[1]
