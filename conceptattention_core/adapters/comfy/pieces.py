"""A concept's own pieces in what a text encoder's tokenizer makes of it: no template, no padding, no end token."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

T5_PAD, T5_END, T5_UNKNOWN, T5_SPACE = 0, 1, 2, 3
"""T5's special pieces; 3 is the bare "▁" that stands before a word whose first character has no piece of its own."""

PLACEHOLDERS = ("§", "¤")
"""Words that stand in a concept's place, to see what is there around it. The second is for the first one's own name."""

Tokenize = Callable[[str], list[Any]]
"""A text's pieces, ids or textual inversion embeddings, by the encoder that a family reads concepts with."""


@dataclass(frozen=True)
class TextEncoder:
    """The text encoder that a family's prompts are encoded with.

    reads: names of the tokenizer that concepts are read with, one of which its CLIP has. hint: how to load it, for
    errors. own: finds a concept's own pieces. beside: tokenizers that it may have as well. causal: every piece has read
    only those before it. escape: the tokenizer reads brackets as prompt weights. tail: pieces that the encoder drops
    from the end. sections: rows of one call's result are the sections' rows one behind the other, so that several
    concepts of one length share a call.
    """

    reads: tuple[str, ...]
    hint: str
    own: Callable[[Tokenize, str], tuple[int, ...]]
    beside: frozenset[str] = frozenset()
    causal: bool = False
    escape: bool = True
    tail: int = 0
    sections: bool = True

    def key(self, tokens: Collection[str]) -> str | None:
        """The tokenizer that concepts are read with, of those that a CLIP has; None where the CLIP is another one's."""
        found = [name for name in self.reads if name in tokens]
        return found[0] if len(found) == 1 and set(tokens) <= {*found, *self.beside} else None


def t5_pieces(tokenize: Tokenize, name: str) -> tuple[int, ...]:
    """Positions of a concept's own pieces among T5's. Raises ValueError for a concept that T5 cannot read."""
    pieces = tokenize(name)
    own = tuple(at for at, piece in enumerate(pieces) if not any(is_piece(piece, id) for id in T5_SPECIAL))
    if all(is_piece(pieces[at], T5_UNKNOWN) for at in own):
        raise ValueError(
            f"T5 knows no character of the concept '{name}', so it would look the same as any other such word. "
            "Flux reads English; name the concept in English (or in another European language)."
        )
    return own


T5_SPECIAL = (T5_PAD, T5_END, T5_SPACE)


def is_piece(piece: Any, number: int) -> bool:
    """Whether a token is this piece; textual inversion embeddings are tensors, and no piece."""
    return isinstance(piece, int) and piece == number


def template_pieces(tokenize: Tokenize, name: str) -> tuple[int, ...]:
    """Positions of a concept's own pieces inside a template that need not be known.

    What differs from the same prompt with a placeholder in the concept's place is the concept's own: it stands between
    the two token lists' longest common beginning and end, padding cut off. (An empty prompt will not do for the
    comparison: some tokenizers have another template for it.) Raises ValueError where nothing is left.
    """
    pieces = tokenize(name)
    for placeholder in PLACEHOLDERS:
        other = tokenize(placeholder)
        if other != pieces:
            start, stop = _between(pieces, other)
            if start < stop:
                return tuple(range(start, stop))
    raise ValueError(f"The text encoder makes no token of its own of the concept '{name}'. Name it in other words.")


def _between(pieces: list[Any], other: list[Any]) -> tuple[int, int]:
    """Where `pieces` differ from `other`: start and stop."""
    left, right = _padding(other)
    start, stop = _inside(pieces, left, right)
    other = other[slice(*_inside(other, left, right))]
    own = pieces[start:stop]
    shorter = min(len(own), len(other))
    head = next((at for at in range(shorter) if own[at] != other[at]), shorter)
    tail = next((at for at in range(shorter - head) if own[-1 - at] != other[-1 - at]), shorter - head)
    return start + head, stop - tail


def _padding(pieces: Sequence[Any]) -> tuple[Any, Any]:
    """The padding piece on either side, None where there is none: a run of two and more of the same."""
    left = pieces[0] if len(pieces) > 1 and pieces[0] == pieces[1] else None
    right = pieces[-1] if len(pieces) > 1 and pieces[-1] == pieces[-2] else None
    return left, right


def _inside(pieces: Sequence[Any], left: Any, right: Any) -> tuple[int, int]:
    """Start and stop of what is not padding."""
    start, stop = 0, len(pieces)
    while left is not None and start < stop and pieces[start] == left:
        start += 1
    while right is not None and start < stop and pieces[stop - 1] == right:
        stop -= 1
    return start, stop
