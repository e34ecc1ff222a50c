"""What an evaluation holds: never the maps of two noise levels, and nothing of a picture that is done."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from conceptattention_core.concepts import Concepts, TokenPooling
from conceptattention_core.evaluate.ablate import ABLATIONS, all_methods
from conceptattention_core.evaluate.datasets import Sample
from conceptattention_core.evaluate.host import Look, Reading
from conceptattention_core.evaluate.method import Method
from conceptattention_core.evaluate.protocol import Protocol
from conceptattention_core.evaluate.runner import Evaluator, Settings
from conceptattention_core.maps import ConceptAttentionMaps

BLOCKS, SIDE = 4, 4


class Host:
    """Maps of noise, and how many of those that it gave out are still held when the next ones are asked for."""

    def __init__(self) -> None:
        self.family: dict[str, Any] = {}
        self.weights, self.dtype, self.device = "none", "float32", "cpu"
        self.given: list[weakref.ref[ConceptAttentionMaps]] = []
        self.held: list[int] = []

    def encode_word(self, name: str, pooling: TokenPooling) -> Concepts:
        return Concepts((name,), 0, torch.zeros(1, 1, 2))

    def read(self, image: np.ndarray, look: Look, readings: Sequence[Reading]) -> list[ConceptAttentionMaps]:
        self.held.append(sum(one() is not None for one in self.given))
        made = []
        for one in readings:
            scores = torch.randn(1, BLOCKS, 1, len(one.concepts.names), SIDE, SIDE)
            count = one.concepts.background_count
            made.append(
                ConceptAttentionMaps(scores, one.concepts.names, count, tuple(range(BLOCKS)), (0.5,), (64, 64))
            )
        self.given += [weakref.ref(one) for one in made]
        return made

    def rest(self) -> None:
        pass


def test_a_study_holds_one_noise_level_of_one_picture() -> None:
    host = Host()
    methods = all_methods(Method(), ABLATIONS, BLOCKS)
    evaluator = Evaluator(host, methods, Protocol(), Settings(64))
    sample = Sample(np.zeros((16, 16, 3), np.uint8), np.ones((16, 16), np.int16), ("cat",))
    for _ in range(3):
        assert len(evaluator.evaluate(sample)) == len(methods)
    assert len(host.held) == 3 * 9 and not any(host.held)  # nine noise levels a picture
