"""Methods: the ways of reading a map that a run compares, one row of its table each."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import Tensor

from ..concepts import TokenPooling
from ..maps import ConceptAttentionMaps
from ..maps import Reading as MapReading
from ..reading import OPINION, SUREST
from ..scores import Projection
from ..stream import ConceptKeys
from .words import Words

NAMES: dict[Projection, str] = {
    "output": "Concept Attention",
    "cross_attention": "Raw cross-attention",
    "value": "Value space",
    "gram": "Gram",
}


@dataclass(frozen=True)
class Method:
    """projection: the space of the scores; softmax: over concepts, else the plain dot products.

    first_block, last_block: inclusive, negative ones from the end. noise_level: 0..1. keys: what concepts attend to.
    pooling: of a concept's text pieces. temperature: of the softmax, multiplied with the family's own.
    reading: as in `ConceptAttentionMaps.shares`. opinion, surest: of ``auto``, how much prototypes say, 0..1 (0: none),
    and what part of the picture makes one. words: which are asked for (see `words.py`). weights: of ``auto``, those of
    the words' own scores, or of a bank of words.
    """

    projection: Projection = "output"
    softmax: bool = True
    first_block: int = -10
    last_block: int = -1
    noise_level: float = 0.5
    keys: ConceptKeys = "both"
    pooling: TokenPooling = "mean"
    temperature: float = 1.0
    reading: MapReading = "paper"
    opinion: float = OPINION
    surest: float = SUREST
    words: Words = "named"
    weights: Literal["own", "bank"] = "own"

    @property
    def name(self) -> str:
        return NAMES[self.projection]

    def describe(self) -> dict[str, Any]:
        """Its settings as plain data."""
        return asdict(self)

    def read(self, maps: ConceptAttentionMaps, bank: ConceptAttentionMaps | None = None) -> Tensor:
        """``(C, h, w)`` float32: shares of the softmax, 0..1, or the mean score, of the first picture of `maps`.

        bank: maps of the same picture for other words, whose weights of blocks are taken.
        """
        blocks = self.first_block, self.last_block
        if self.reading == "auto":
            weights = None if bank is None else self.trust(bank)
            return maps.auto_shares(*blocks, self.temperature, weights, self.opinion, self.surest)[0]
        if self.softmax:
            return maps.saliency(*blocks, self.temperature)[0]
        return maps.mean_scores(*blocks)[0]

    def trust(self, maps: ConceptAttentionMaps) -> Tensor:
        """How much ``auto`` trusts each step and block: ``(B, steps, blocks)``, sum 1."""
        return maps.block_weights(self.first_block, self.last_block, self.temperature)
