"""Concepts: the words that a user names, and the vectors that stand for them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from .letters import key, printable, quoted
from .names import SEPARATOR, clean_name, clean_names, distinct, split_names

TokenPooling = Literal["mean", "first", "last"]
TOKEN_POOLINGS: tuple[TokenPooling, ...] = get_args(TokenPooling)

MAX_CONCEPTS = 64


@dataclass(frozen=True)
class Caption:
    """One concept, encoded alone as a prompt.

    tokens: ``(T, width)`` float32 on the CPU: the whole conditioning, or only the concept's own rows where the model's
    text path treats every token by itself. own: rows of `tokens` that are the concept's own pieces: no template, no
    padding, no start or end token.
    position: row of the whole conditioning at which the first own piece stands. length: rows of the whole conditioning.
    numbers: of models that make their conditioning themselves, of `tokens` and of another tokenizer's piece numbers:
    those. `own`, `position` and `length` then count them, and not the rows of `tokens`.
    """

    tokens: Tensor
    own: tuple[int, ...]
    position: int
    length: int
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Concepts:
    """Named concepts and what the prompt's text encoder makes of them.

    names: all of them in order, those that only compete ("background") last.
    background_count: how many of the last names are background.
    embeddings: ``(1, C, width)`` float32 on the CPU, one pooled vector a concept, for models that read them one by one.
    captions: one a concept, for models whose text path comes before pooling. pooling: how that is done.
    """

    names: tuple[str, ...]
    background_count: int
    embeddings: Tensor
    captions: tuple[Caption, ...] = ()
    pooling: TokenPooling = "mean"


def parse_concepts(concepts: str | Sequence[str], background: str | Sequence[str]) -> tuple[tuple[str, ...], int]:
    """Read two fields, each a text (`names.split_names`) or a list of names; see `join_concepts`."""
    wanted, competing = (
        split_names(names, field) if isinstance(names, str) else clean_names(names, field)
        for names, field in ((concepts, "concepts"), (background, "background"))
    )
    return join_concepts(wanted, competing)


def join_concepts(concepts: Sequence[str], background: Sequence[str]) -> tuple[tuple[str, ...], int]:
    """Put the two lists together: ``(all names, background last)`` and how many of them are background.

    A background name that is also a concept is dropped from the background: it would compete with itself.
    Raises ValueError where there is nothing to look for, nothing to compete with (the softmax over one concept is 1
    everywhere), or more than 64 names.
    """
    wanted, background = (distinct(" ".join(name.split()) for name in names) for names in (concepts, background))
    known = {key(name) for name in wanted}
    competing = [name for name in background if key(name) not in known]
    if not wanted:
        raise ValueError("No concept is named. Write at least one in `concepts`, one per line or separated by commas.")
    if len(wanted) + len(competing) < 2:
        raise ValueError(
            f"{quoted(wanted[0])} has nothing to compete with, so its map would be 1 everywhere. "
            "Name a second concept, or write `background` (or sky, grass, floor ...) in `background`."
        )
    if len(wanted) + len(competing) > MAX_CONCEPTS:
        raise ValueError(f"{len(wanted) + len(competing)} concepts are named; at most {MAX_CONCEPTS} can run at once.")
    return (*wanted, *competing), len(competing)


def find_concept(name: str, names: Sequence[str]) -> int:
    """Index of the concept that a user asks for; an empty `name` is the first.

    Raises ValueError, with the nearest names, where there is none.
    """
    if isinstance(name, str) and " ".join(name.split()) in names:
        return names.index(" ".join(name.split()))
    wanted = clean_name(name, "concept")
    if not wanted:
        return 0
    keys = [key(known) for known in names]
    for candidates, asked in ((list(names), wanted), (keys, key(wanted))):
        if asked in candidates:
            return candidates.index(asked)
    shown = ", ".join(printable(known) for known in names)
    if names_several(wanted, names):
        raise ValueError(
            f"{quoted(wanted)} names several concepts, and here goes one. The concepts are: {shown}."
        )
    near = difflib.get_close_matches(key(wanted), keys, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(quoted(names[keys.index(match)]) for match in near)}? " if near else ""
    raise ValueError(f"There is no concept {quoted(wanted)}. {hint}The concepts are: {shown}.")


OPERATOR = re.compile(r"\s+[+-]|[+-]\s+")
"""A sign between two names rather than inside one: with a space on at least one side."""


def names_several(text: str, names: Sequence[str]) -> bool:
    """Whether a text names several of these, with separators, + or - between them."""
    keys = {key(known) for known in names}
    for pattern in (rf"{OPERATOR.pattern}|{SEPARATOR.pattern}", r"[+-]"):
        parts = [part for part in re.split(pattern, text) if part.strip()]
        if len(parts) > 1 and all(key(part) in keys for part in parts):
            return True
    return False


def pool_tokens(tokens: Tensor, own: Sequence[int], pooling: TokenPooling) -> Tensor:
    """One vector for a concept from its tokens.

    tokens: ``(T, width)``, the concept alone, template and padding included.
    own: positions of the concept's own pieces: no padding, no end token, no bare "▁".
    pooling: ``mean`` averages the own pieces, so that a word of several ("light", "house") is represented as a whole;
    ``first`` is the paper's choice (section 4.1); ``last`` is the piece that has read all others where the text encoder
    only looks back.
    Returns ``(width,)`` float32.
    """
    pieces = tokens[list(own)].to(torch.float32)
    return {"mean": pieces.mean(dim=0), "first": pieces[0], "last": pieces[-1]}[pooling]


def pool_captions(concepts: Concepts, path: Callable[[Tensor], Tensor]) -> Tensor:
    """Every concept behind a text path, its own rows pooled there: ``(1, C, D)``, on the path's device, in its dtype.

    path: ``(captions, T, width)`` float32 on the CPU -> ``(captions, T or more, D)``. Captions of one length go through
    it together, so that its weights are read once.
    """
    found: dict[int, Tensor] = {}
    for length in dict.fromkeys(len(one.tokens) for one in concepts.captions):
        alike = [at for at, one in enumerate(concepts.captions) if len(one.tokens) == length]
        behind = path(torch.stack([concepts.captions[at].tokens for at in alike]))
        for at, rows in zip(alike, behind, strict=True):
            found[at] = pool_tokens(rows, concepts.captions[at].own, concepts.pooling).to(behind.dtype)
    return torch.stack([found[at] for at in range(len(found))])[None]
