"""Concepts: the words that a user names, and the vectors that stand for them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

TokenPooling = Literal["mean", "first"]

MAX_CONCEPTS = 64


@dataclass(frozen=True)
class Concepts:
    """Named concepts and their embeddings by the prompt's text encoder.

    names: all of them in order, those that only compete ("background") last.
    background_count: how many of the last names are background.
    embeddings: ``(1, C, context_dim)`` float32 on the CPU, one vector a concept.
    """

    names: tuple[str, ...]
    background_count: int
    embeddings: Tensor


def split_names(text: str) -> list[str]:
    """Split "one per line or comma-separated" text into names: order kept, blanks and repetitions dropped."""
    return clean_names(re.split(r"[,\n]", text))


def clean_names(names: Iterable[str]) -> list[str]:
    """Names with single spaces, in order, without blanks and repetitions."""
    cleaned = (" ".join(name.split()) for name in names)
    return list(dict.fromkeys(name for name in cleaned if name))


def parse_concepts(concepts: str, background: str) -> tuple[tuple[str, ...], int]:
    """Read two text fields, one name per line or comma-separated; see `join_concepts`."""
    return join_concepts(split_names(concepts), split_names(background))


def join_concepts(concepts: Sequence[str], background: Sequence[str]) -> tuple[tuple[str, ...], int]:
    """Put the two lists together: ``(all names, background last)`` and how many of them are background.

    A background name that is also a concept is dropped from the background: it would compete with itself.
    Raises ValueError where there is nothing to look for, nothing to compete with (the softmax over one concept is 1
    everywhere), or more than 64 names.
    """
    wanted = clean_names(concepts)
    competing = [name for name in clean_names(background) if name not in wanted]
    if not wanted:
        raise ValueError("No concept is named. Write at least one in `concepts`, one per line or separated by commas.")
    if len(wanted) + len(competing) < 2:
        raise ValueError(
            f"'{wanted[0]}' has nothing to compete with, so its map would be 1 everywhere. "
            "Name a second concept, or write `background` (or sky, grass, floor ...) in `background`."
        )
    if len(wanted) + len(competing) > MAX_CONCEPTS:
        raise ValueError(f"{len(wanted) + len(competing)} concepts are named; at most {MAX_CONCEPTS} can run at once.")
    return (*wanted, *competing), len(competing)


def find_concept(name: str, names: Sequence[str]) -> int:
    """Index of the concept that a user asks for; an empty `name` is the first.

    Raises ValueError, with the nearest names, where there is none.
    """
    wanted = " ".join(name.split())
    if not wanted:
        return 0
    folded = [known.casefold() for known in names]
    for candidates, key in ((list(names), wanted), (folded, wanted.casefold())):
        if key in candidates:
            return candidates.index(key)
    near = difflib.get_close_matches(wanted.casefold(), folded, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(repr(names[folded.index(match)]) for match in near)}? " if near else ""
    raise ValueError(f"There is no concept '{wanted}'. {hint}The concepts are: {', '.join(names)}.")


def pool_tokens(tokens: Tensor, own: Sequence[int], pooling: TokenPooling) -> Tensor:
    """One vector for a concept from its encoded tokens.

    tokens: ``(T, context_dim)``, the text encoder's output for the concept alone, padding included.
    own: positions of the concept's own pieces: no padding, no end token, no bare "▁".
    pooling: ``first`` takes the first token whatever it is, as the paper does; ``mean`` averages the concept's own
    pieces, so that a word of several pieces ("light", "house") is represented as a whole.
    Returns ``(context_dim,)`` float32.
    """
    tokens = tokens.to(torch.float32)
    return tokens[0] if pooling == "first" else tokens[list(own)].mean(dim=0)
