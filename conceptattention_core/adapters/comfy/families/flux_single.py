"""FLUX.1's single blocks: the concepts' way through all of the model, which nothing offers yet.

The paper stops at the double blocks, and finds nothing behind them. Where a model has few of those and many single ones
the answer may differ, so the way there is kept exact: `apply_concept_attention(..., family=Flux1Whole())`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from ....concepts import Concepts
from ....stream import Entry, Modulation, TextBlock, clamp_half
from ..call import Call
from .flux import Flux1, Rotate


class Flux1Whole(Flux1):
    """FLUX.1 with its single blocks, which are numbered on behind the double ones."""

    name = "FLUX.1, all blocks"
    block_name = "Block"
    measured = False
    stops_early = False  # no block is behind those that are wanted

    def depth(self, dit: Any) -> int:
        return len(dit.double_blocks) + len(dit.single_blocks)

    def named_block(self, dit: Any, options: dict[str, Any]) -> int | None:
        if options.get("block_type") == "single":
            return len(dit.double_blocks) + options["block_index"]
        return super().named_block(dit, options)

    def stream(self, call: Call, concepts: Concepts) -> Callable[[int], Any]:
        double = super().stream(call, concepts)
        vec, rotate, depth = self.vector(call), self.own_places(call, concepts), len(call.dit.double_blocks)

        def block(index: int) -> TextBlock:
            if index < depth:
                return double(index)
            single = call.dit.single_blocks[index - depth]
            modulation, _ = single.modulation(vec)
            return SingleBlock(single, Modulation(modulation.shift, modulation.scale, modulation.gate), rotate)

        return block


@dataclass(frozen=True)
class SingleBlock:
    """A single block: attention and MLP side by side, from one layer and into one."""

    block: Any
    modulation: Modulation
    rotate: Rotate

    def enter(self, tokens: Tensor) -> Entry:
        block = self.block
        both = block.linear1(self.modulation(block.pre_norm(tokens)))
        qkv, mlp = both.split([3 * block.hidden_size, block.mlp_hidden_dim_first], dim=-1)
        query, key, value = rearrange(qkv, "b c (k h d) -> k b h c d", k=3, h=block.num_heads)
        query, key = self.rotate(*block.norm(query, key, value))
        return Entry(query, key, value, carry=block.mlp_act(mlp))

    def leave(self, tokens: Tensor, entry: Entry, output: Tensor) -> Tensor:
        made = self.block.linear2(torch.cat((output, entry.carry), dim=-1))
        return clamp_half(tokens + self.modulation.gate * made)
