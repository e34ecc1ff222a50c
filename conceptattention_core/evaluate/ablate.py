"""Ablations: grids of methods around the run's own, one question each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

from ..concepts import TokenPooling
from ..scores import PROJECTIONS, Projection
from ..stream import CONCEPT_KEYS
from .method import Method

Ablation = Literal["projection", "blocks", "noise", "keys", "pooling", "temperature", "reading"]
ABLATIONS: tuple[Ablation, ...] = get_args(Ablation)
TEMPERATURES = tuple(round(10 ** (half / 2), 3) for half in range(-3, 8))
"""Factors of the family's own, 0.03 to 3,000 in half decades: scores of other widths have another scale."""
NOISE_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def questions_of(asked: Sequence[str], spaces: Sequence[Projection]) -> list[Ablation]:
    """What is asked, each once, in order; ``all`` is every question that a family with these spaces can answer.

    Raises ValueError for what concepts attend to where they attend to nothing.
    """
    travels = "output" in spaces
    if "all" in asked:
        return [question for question in ABLATIONS if question != "keys" or travels]
    if "keys" in asked and not travels:
        raise ValueError(
            "This model's picture only reads its text, so its concepts attend to nothing: take keys out of --ablate."
        )
    return [question for question in ABLATIONS if question in asked]


def grid(question: Ablation, base: Method, depth: int, spaces: Sequence[Projection] = PROJECTIONS) -> list[Method]:
    """The methods that answer one question, everything else as in `base`. depth: double blocks of the model.

    projection: each of `spaces` with and without softmax. blocks: each block alone in each space, and, for `base`, the
    last half, quarter and single block against all. noise: nine levels in each space. keys: what concepts attend to.
    pooling: mean, first and last. temperature: factors of the family's own. reading: the base's, and ``auto`` over all
    blocks without and with prototypes.
    """
    if question == "projection":
        return [replace(base, projection=space, softmax=soft) for space in spaces for soft in (False, True)]
    if question == "blocks":
        tails = [replace(base, first_block=depth - count, last_block=depth - 1) for count in _tails(depth)]
        alone = [
            replace(base, projection=space, first_block=block, last_block=block)
            for space in spaces
            for block in range(depth)
        ]
        return tails + alone
    if question == "noise":
        return [replace(base, projection=space, noise_level=level) for space in spaces for level in NOISE_LEVELS]
    if question == "temperature":
        return [replace(base, temperature=factor) for factor in TEMPERATURES]
    if question == "keys":
        return [replace(base, keys=keys) for keys in CONCEPT_KEYS]
    if question == "reading":
        return readings(base)
    return [replace(base, pooling=pooling) for pooling in get_args(TokenPooling)]


def readings(base: Method) -> list[Method]:
    """The paper's way, and ``auto`` over all blocks without and with prototypes, everything else as in `base`."""
    auto = replace(base, reading="auto", first_block=0, last_block=-1)
    return [base, replace(auto, opinion=0.0), auto]


def all_methods(
    base: Method, questions: Sequence[Ablation], depth: int, spaces: Sequence[Projection] = PROJECTIONS
) -> list[Method]:
    """Every method of a run, each once: the base, its baselines (the other spaces), then the grids."""
    baselines = [replace(base, projection=space) for space in spaces]
    grids = [method for question in questions for method in grid(question, base, depth, spaces)]
    return list(dict.fromkeys([base, *baselines, *grids]))


def _tails(depth: int) -> list[int]:
    """How many of the last blocks: all, 10, half, a quarter, descending. One alone is in the grid anyway."""
    return sorted({depth, min(10, depth), depth // 2, depth // 4} - {0, 1}, reverse=True)
