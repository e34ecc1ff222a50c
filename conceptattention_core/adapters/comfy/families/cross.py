"""What a family without a text stream has to say: its image tokens only read the prompt, by cross attention."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....cross import CROSS_PROJECTIONS, CrossPass, Place
from ..call import Call
from .base import Family, Layout


class CrossFamily(Family):
    """The base of families whose maps are exact cross-attention maps. `text` and the rest are as in `Family`."""

    projections = CROSS_PROJECTIONS
    default_blocks = (0, -1)
    stops_early = False

    def places(self, dit: Any) -> frozenset[Place]:
        """Every text attention of the model."""
        return frozenset((block, 0) for block in range(self.depth(dit)))

    def place(self, call: Call, options: dict[str, Any]) -> Place | None:
        """The block, and the number within it, that an attention call's options name."""
        block = options.get("block_index")
        return None if block is None else (int(block), 0)

    def earlier(self, call: Call, queries: int) -> int:
        """Queries of a place that ask as many keys as the prompt has tokens, before those that read it.

        queries: those of a call. By default self attention, where the picture is as long as the prompt.
        """
        return queries if queries == call.text_tokens else 0

    def options(self, call: Call, options: dict[str, Any]) -> dict[str, Any]:
        """A call's options, for families whose model does not say by itself which block an attention belongs to."""
        return options

    def layout(self, call: Call, count: int) -> Layout:
        """Image tokens alone are in question here: the prompt's stand in no sequence with them."""
        return Layout(0, count)

    def read(self, call: Call, place: Place, tokens: Tensor, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Keys and values of a text attention, ``(1 or B, C, H*d)``, for concepts ``(1, C, D)`` behind the text path.

        options: those of the attention call. Keys normalised as the model's own are. Each module casts and loads its
        weights itself.
        """
        raise NotImplementedError

    def stacked(self, call: Call, concepts: CrossPass, grid: tuple[int, ...]) -> Tensor:
        """All scores, ``(blocks, B, C, N)`` float32 on the CPU, on the maps' own grid."""
        return concepts.stacked_scores()
