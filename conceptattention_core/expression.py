"""Concept expressions: "tree + house - door" names a mask made of several concepts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import einsum
from torch import Tensor

from .concepts import OPERATOR, find_concept
from .letters import key, quoted
from .names import COMMAS, plain_text

NEXT = re.compile(rf"{OPERATOR.pattern}|[{re.escape(COMMAS)}]")
"""Where a name that nobody knows ends."""


@dataclass(frozen=True)
class Expression:
    """Indices of the concepts that a mask is made of, and of those that are taken away from it. Order means nothing."""

    plus: tuple[int, ...]
    minus: tuple[int, ...] = ()

    def text(self, names: Sequence[str]) -> str:
        """As a person would write it."""
        return " - ".join([" + ".join(names[index] for index in self.plus), *(names[index] for index in self.minus)])

    def signs(self, count: int) -> Tensor:
        """1 for a wanted concept, -1 for one taken away, 0 for the rest (and for one that is both): ``(count,)``."""
        signs = torch.zeros(count)
        signs[list(self.plus)] += 1
        signs[list(self.minus)] -= 1
        return signs


def parse_expression(text: str, names: Sequence[str]) -> Expression:
    """Read names joined by ``+`` and ``-``; an empty text is the first concept. A list with commas is a sum.

    Names may hold both signs themselves ("t-shirt", "C++"): at each place the longest known name that an operator or
    the end follows is taken, and a longer name is never given up for a shorter one. Spaces around operators are needed
    only where the signs could be part of a known name. Case and runs of spaces do not matter.
    Raises ValueError, with the nearest names, on an unknown one, and where an operator has no name behind it.
    """
    terms = _terms(text, names)
    return _expression(terms, names) if terms else Expression((0,))


def parse_list(text: str, names: Sequence[str]) -> list[Expression]:
    """Read several expressions with commas between them, each once; an empty text is none.

    Names that hold a comma themselves are known by it, as in `parse_expression`. Raises ValueError as that does.
    """
    parts: list[list[tuple[str, str]]] = []
    for sign, name in _terms(text, names):
        if sign == ",":
            parts.append([])
        parts[-1].append((sign, name))
    return list(dict.fromkeys(_expression(terms, names) for terms in parts))


def _expression(terms: Sequence[tuple[str, str]], names: Sequence[str]) -> Expression:
    """Terms as of `_terms`: what has a minus is taken away, the rest is a sum, each name once."""
    found = [(sign == "-", find_concept(name, names)) for sign, name in terms]
    plus, minus = (tuple(dict.fromkeys(at for taken, at in found if taken == wanted)) for wanted in (False, True))
    return Expression(plus, minus)


def _terms(text: str, names: Sequence[str]) -> list[tuple[str, str]]:
    """The names in a text, each with the sign before it: ``+``, ``-`` or ``,``. The first one's is a comma."""
    if " ".join(text.split()) in names:
        return [(",", text)]
    rest, sign = " ".join(plain_text(text, "concept").split()).strip(COMMAS + " "), ","
    terms: list[tuple[str, str]] = []
    while rest or terms:
        name, rest = _first_name(rest, names)
        if not name:
            raise ValueError(
                f'`concept` reads "{quoted(text)[1:-1]}": a name is missing. Write names with + or - between them: '
                "tree + house - door."
            )
        terms.append((sign, name))
        if not rest:
            break
        sign, rest = rest[0] if rest[0] in "+-" else ",", rest[1:].lstrip(COMMAS + " ")
    return terms


def _first_name(text: str, names: Sequence[str]) -> tuple[str, str]:
    """The name that `text` begins with, known or not, and the rest from its operator on."""
    for name in sorted(names, key=len, reverse=True):
        rest = text[len(name) :].lstrip()
        if key(text[: len(name)]) == key(name) and (not rest or rest[0] in "+-" + COMMAS):
            return text[: len(name)], rest
    operator = NEXT.search(f" {text} ", 0 if text[:1] in ("+", "-") else 1)
    end = len(text) if operator is None else operator.start() - 1
    return text[: max(0, end)].strip(), text[max(0, end) :].strip()


def combine_shares(shares: Tensor, signs: Tensor) -> Tensor:
    """One map of an expression: the sum of its concepts' shares, less the sum of those taken away, within 0..1.

    shares: ``(B, C, h, w)``, shares of a softmax; signs: ``(B, C)``, see `Expression.signs`. Returns ``(B, h, w)``.
    Shares are parts of one competition, so the sum is the share of "any of these": no place counts twice. What is taken
    away has already taken its part of the softmax; the difference is by how much the wanted concepts beat the unwanted
    ones, 0 where they do not.
    """
    return einsum(shares, signs, "b c h w, b c -> b h w").clamp(0, 1)


def winner_mask(shares: Tensor, signs: Tensor) -> Tensor:
    """1 where the strongest of all concepts is a wanted one.

    shares: ``(B, C, h, w)``; signs: ``(B, C)``, see `Expression.signs`. Returns ``(B, h, w)`` float32. So the mask of
    "a + b" is the union of the masks of a and of b (`mask.argmax_mask`), and "- c" takes away what c wins: nothing more
    than it has taken by winning.
    """
    winner = shares.argmax(dim=1)
    return (signs.gather(1, winner.flatten(1)) > 0).view_as(winner).float()
