"""How a family's prompts are encoded in ComfyUI, and so its concepts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from ...pieces import Tokenize, is_piece, t5_pieces, template_pieces


@dataclass(frozen=True)
class TextEncoder:
    """The text encoder that a family's prompts are encoded with.

    reads: names of the tokenizer that concepts are read with, one of which its CLIP has. hint: how to load it, for
    errors. own: finds a concept's own pieces. beside: tokenizers that it may have as well. causal: every piece has read
    only those before it. escape: the tokenizer reads brackets as prompt weights. tail: pieces that the encoder drops
    from the end. alone: the tokenizers beside it may be given nothing to read, and the result is then this one's rows
    alone. numbers: the model itself reads this tokenizer's piece numbers, and the rows are made by one beside it.
    """

    reads: tuple[str, ...]
    hint: str
    own: Callable[[Tokenize, str], tuple[int, ...]]
    beside: frozenset[str] = frozenset()
    causal: bool = False
    escape: bool = True
    tail: int = 0
    alone: bool = False
    numbers: bool = False

    def key(self, tokens: Collection[str]) -> str | None:
        """The tokenizer that concepts are read with, of those that a CLIP has; None where the CLIP is another one's."""
        found = [name for name in self.reads if name in tokens]
        # The tokenizer of such a family always has them all.
        if (self.alone or self.numbers) and not self.beside <= set(tokens):
            return None
        return found[0] if len(found) == 1 and set(tokens) <= {*found, *self.beside} else None


__all__ = ["TextEncoder", "is_piece", "t5_pieces", "template_pieces"]
