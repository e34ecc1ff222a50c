"""A concept's own pieces in what a text encoder's tokenizer makes of it: no template, no padding, no end token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any

from .letters import quoted, require_t5_words

T5_PAD, T5_END, T5_UNKNOWN, T5_SPACE = 0, 1, 2, 3
"""T5's special pieces; 3 is the bare "▁" that stands before a word whose first character has no piece of its own."""

PLACEHOLDERS = ("0", "7")
"""Words that stand in a concept's place, to see what is there around it. Two that have nothing in common, so that a
concept that begins or ends as one of them does keeps all its pieces; digits, which are one piece to every tokenizer,
with a space before them a piece of its own."""

Tokenize = Callable[[str], list[Any]]
"""A text's pieces, ids or textual inversion embeddings, by the encoder that a family reads concepts with."""


def t5_pieces(tokenize: Tokenize, name: str) -> tuple[int, ...]:
    """Positions of a concept's own pieces among T5's. Raises ValueError for a concept that T5 cannot read."""
    pieces = tokenize(name)
    own = tuple(at for at, piece in enumerate(pieces) if not any(is_piece(piece, id) for id in T5_SPECIAL))
    require_t5_words(name, not all(is_piece(pieces[at], T5_UNKNOWN) for at in own))
    return own


T5_SPECIAL = (T5_PAD, T5_END, T5_SPACE)


def is_piece(piece: Any, number: int) -> bool:
    """Whether a token is this piece; textual inversion embeddings are tensors, and no piece."""
    return isinstance(piece, int) and piece == number


def template_pieces(tokenize: Tokenize, name: str) -> tuple[int, ...]:
    """Positions of a concept's own pieces inside a template that need not be known.

    What differs from the same prompt with placeholders in the concept's place is the concept's own: it stands between
    the longest beginning and the longest end that all the token lists have in common, padding cut off. (An empty prompt
    will not do for the comparison: some tokenizers have another template for it.) Raises ValueError where nothing is
    left.
    """
    pieces, others = tokenize(name), [tokenize(placeholder) for placeholder in PLACEHOLDERS]
    left, right = _padding(others[0])
    start, stop = _inside(pieces, left, right)
    texts = [pieces[start:stop], *(other[slice(*_inside(other, left, right))] for other in others)]
    head = _common(texts)
    tail = _common([text[head:][::-1] for text in texts])
    if start + head >= stop - tail:
        raise ValueError(
            f"The text encoder makes no token of its own of the concept {quoted(name)}. Name it in other words."
        )
    return tuple(range(start + head, stop - tail))


def _common(texts: Sequence[Sequence[Any]]) -> int:
    """How many pieces all texts begin with."""
    columns = zip(*texts, strict=False)
    return sum(1 for _ in takewhile(lambda column: all(is_piece(column[0], one) for one in column), columns))


def _padding(pieces: Sequence[Any]) -> tuple[Any, Any]:
    """The padding piece on either side, None where there is none: a run of two and more of the same."""
    left = pieces[0] if len(pieces) > 1 and pieces[0] == pieces[1] else None
    right = pieces[-1] if len(pieces) > 1 and pieces[-1] == pieces[-2] else None
    return left, right


def _inside(pieces: Sequence[Any], left: Any, right: Any) -> tuple[int, int]:
    """Start and stop of what is not padding."""
    start, stop = 0, len(pieces)
    while start < stop and is_piece(pieces[start], left):
        start += 1
    while start < stop and is_piece(pieces[stop - 1], right):
        stop -= 1
    return start, stop
