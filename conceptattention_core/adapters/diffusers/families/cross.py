"""What a family without a text stream has to say: its image tokens only read the prompt, by cross attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from einops import rearrange
from torch import Tensor, nn

from ....concepts import Concepts
from ....cross import CROSS_PROJECTIONS, CrossPass, Place
from .base import Evaluation, Family, Seen

Read = Callable[[Place], tuple[Tensor, Tensor]]
"""Keys and values of the concepts, ``(1 or B, C, H*d)`` each, as a text attention would read them."""


class CrossFamily(Family):
    """The base of families whose maps are exact cross-attention maps; the rest is as in `Family`."""

    projections = CROSS_PROJECTIONS
    default_blocks = (0, -1)
    block_name = "Block"

    def attention(self, block: Any) -> Any:
        return block.attn2

    def parts(self, block: Any) -> tuple[Any, ...]:
        attention = getattr(block, "attn2", None)
        return tuple(getattr(attention, name, None) for name in ("to_q", "to_k", "to_v", "to_out"))

    def attentions(self, transformer: Any) -> Mapping[Place, Any]:
        """Every text attention of the model."""
        return {(at, 0): self.attention(block) for at, block in enumerate(self.blocks(transformer))}

    def asking(self, attention: Any) -> nn.Module:
        """What gives out a text attention's queries as it asks by them, ``(B, N, H*d)`` or by heads."""
        return attention.to_q if attention.norm_q is None else attention.norm_q

    def merged(self, queries: Tensor) -> Tensor:
        """What `asking` gives out, ``(B, N, H*d)``."""
        if queries.ndim == 3:
            return queries
        return rearrange(queries, "b h n d -> b n (h d)") if self.heads_first else queries.flatten(2)

    def read_again(self, attention: Any) -> dict[str, nn.Module]:
        """What gives out the prompt's `keys` and `values`, where an attention's output holds more than what it read of
        it: the text's part is then computed once more, by itself."""
        return {}

    def reader(
        self, transformer: Any, concepts: Concepts, seen: dict[str, list[Seen]], evaluation: Evaluation
    ) -> Read:
        """How the concepts are read in this evaluation: behind the family's text path, by each text attention's layers.

        A watched or hooked module is called by its `forward`: no hooks.
        """
        raise NotImplementedError

    def stacked(self, concepts: CrossPass, evaluation: Evaluation) -> Tensor:
        """All scores, ``(blocks, B, C, N)`` float32 on the CPU, on the maps' own grid."""
        return concepts.stacked_scores()


def keys_and_values(attention: Any, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """A text attention's keys and values of ``(1 or B, C, D)`` tokens, keys as it normalises them, if it does."""
    if getattr(attention, "fused_projections", False) and hasattr(attention, "to_kv"):
        keys, values = attention.to_kv.forward(tokens).chunk(2, dim=-1)
    else:
        keys, values = attention.to_k.forward(tokens), attention.to_v.forward(tokens)
    return keys if attention.norm_k is None else attention.norm_k.forward(keys), values
