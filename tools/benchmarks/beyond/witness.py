"""A witness of a sampling run on Flux: what the product sums up, kept apart, and what it does not look at.

It stands where any other node's attention override may stand, behind the pack's own, so nothing of the pack is changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from einops import einsum, rearrange
from torch import Tensor

from conceptattention_core.adapters.comfy.call import Call
from conceptattention_core.adapters.comfy.families.flux_single import Flux1Whole
from conceptattention_core.concepts import Concepts
from conceptattention_core.stream import Entry, TextBlock, merge_heads

GROUPS = 4
"""Parts of the channels that stand in for heads: the demo model has one."""


@dataclass
class Witness:
    """Collects one run. tokens: image tokens, the last of a sequence."""

    tokens: int
    entries: dict[int, tuple[Entry, Tensor]] = field(default_factory=dict)
    groups: list[list[Tensor]] = field(default_factory=list)
    asked: list[list[Tensor]] = field(default_factory=list)

    def __call__(
        self, function: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, heads: int, **more: Any
    ) -> Tensor:
        """ComfyUI's contract for an override, behind the pack's own: the concepts have just been through this block."""
        output = function(q, k, v, heads, **more)
        if self.entries:
            (block, (entry, concept)), image = self.entries.popitem(), output[:, -self.tokens :]
            if block == 0:
                self.groups.append([])
                self.asked.append([])
            parts = (rearrange(part, "1 n (g d) -> g n d", g=GROUPS).float() for part in (concept, image))
            self.groups[-1].append(einsum(*parts, "g c d, g n d -> g c n").half())
            width = math.sqrt(q.shape[3]) * heads
            asks = rearrange(merge_heads(q[:, :, -self.tokens :]), "1 n d -> n d").float()
            keys = rearrange(merge_heads(entry.key), "1 c d -> c d").float()
            self.asked[-1].append(einsum(keys, asks, "c d, n d -> c n") / width)
        return output

    def grids(self, grid: tuple[int, int], double_blocks: int) -> tuple[Tensor, Tensor]:
        """``(steps, blocks, GROUPS, C, h, w)`` of the double blocks, and ``(steps, blocks, C, h, w)`` of all."""
        groups = torch.stack([torch.stack(step[:double_blocks]) for step in self.groups])
        asked = torch.stack([torch.stack(step) for step in self.asked])
        return groups.unflatten(-1, grid), asked.unflatten(-1, grid)


@dataclass(frozen=True)
class Watched:
    """A text block whose ways in and out are told to a witness."""

    block: TextBlock
    index: int
    witness: Witness

    def enter(self, tokens: Tensor) -> Entry:
        return self.block.enter(tokens)

    def leave(self, tokens: Tensor, entry: Entry, output: Tensor) -> Tensor:
        self.witness.entries[self.index] = entry, output
        return self.block.leave(tokens, entry, output)


class WatchedFlux(Flux1Whole):
    """FLUX.1 with its single blocks, before a witness."""

    def __init__(self, witness: Witness) -> None:
        self.witness = witness

    def stream(self, call: Call, concepts: Concepts) -> Callable[[int], Any]:
        blocks = super().stream(call, concepts)
        return lambda index: Watched(blocks(index), index, self.witness)
