"""The run over one picture: as few forwards as its methods need, every method's scores recorded in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from ..concepts import Concepts, join_concepts
from ..maps import ConceptAttentionMaps
from .clock import Cost, time_reading
from .datasets import Lexicon, Sample
from .host import DiffusersHost, Host, Look, Reading
from .judge import judge
from .method import Method
from .metrics import Counts
from .protocol import Protocol, picture_size, prompt_of
from .words import Asked, Words, ask

Kind = tuple[str, str, str, str]
KEPT_WORDS = 256
"""Concept vectors kept for the next picture, so that T5 reads a word once: bounded, whatever the data set."""


@dataclass(frozen=True)
class Settings:
    """size: the longest side of what the model sees, in pixels. seeds: one forward for each noise, averaged.

    guidance: for models with distilled guidance. max_sequence_length: the text encoder's padding, by
    default the family's own.
    """

    size: int
    seeds: tuple[int, ...] = (0,)
    guidance: float = 3.5
    max_sequence_length: int | None = None


class Evaluator:
    """Scores samples with one model by one protocol. Holds nothing of a sample when it is done with it."""

    def __init__(
        self,
        model: Any,
        methods: Sequence[Method],
        protocol: Protocol,
        settings: Settings,
        lexicon: Lexicon | None = None,
    ) -> None:
        """model: a `Host`, or a plain pipeline of diffusers. lexicon: for methods that ask for other words."""
        own = hasattr(model, "encode_word")
        self._host: Host = model if own else DiffusersHost(model, settings.max_sequence_length)
        self._methods = tuple(methods)
        self._protocol = protocol
        self._settings = settings
        self._lexicon = lexicon or Lexicon()
        self._word = lru_cache(KEPT_WORDS)(self._host.encode_word)

    def evaluate(self, sample: Sample) -> list[Counts]:
        """Counts in the order of the methods. Raises ValueError or RuntimeError where this sample cannot be done."""
        counts: dict[Method, Counts] = {}
        for level in dict.fromkeys(method.noise_level for method in self._methods):
            # One level's maps at a time: they are gone before the next level's are made.
            counts |= self._count(sample, [method for method in self._methods if method.noise_level == level])
        self._host.rest()
        return [counts[method] for method in self._methods]

    def cost(self, sample: Sample, method: Method) -> Cost:
        """What one reading of a sample costs."""
        asked = self._ask(method.words, sample)
        cost = time_reading(self._host, sample, self._look(sample, method), self._reading(asked, method))
        self._host.rest()
        return cost

    def maps(self, sample: Sample, method: Method) -> ConceptAttentionMaps:
        """The maps that a method reads of a sample. Raises as `evaluate` does."""
        asked: dict[Words, Asked] = {method.words: self._ask(method.words, sample)}
        maps = self._record(sample, asked, [method])[_kind(method, method.words)]
        self._host.rest()
        return maps

    def _count(self, sample: Sample, methods: Sequence[Method]) -> dict[Method, Counts]:
        """The methods of one noise level."""
        asked: dict[Words, Asked] = {}
        for method in methods:
            for words in words_of(method):
                asked.setdefault(words, self._ask(words, sample))
        recorded = self._record(sample, asked, methods)
        counts = {}
        for method in methods:
            bank = recorded[_kind(method, "bank")] if method.weights == "bank" else None
            maps = recorded[_kind(method, method.words)]
            counts[method] = judge(method, maps, bank, asked[method.words], self._protocol)
        return counts

    def _ask(self, words: Words, sample: Sample) -> Asked:
        return ask(words, sample, self._protocol.background, self._lexicon)

    def _record(
        self, sample: Sample, asked: dict[Words, Asked], methods: Sequence[Method]
    ) -> dict[Kind, ConceptAttentionMaps]:
        """What methods of one noise level read, by kind, from one forward for each noise."""
        readings: dict[Kind, Reading] = {}
        for method in methods:
            for words in words_of(method):
                readings[_kind(method, words)] = self._reading(asked[words], method)
        maps = self._host.read(sample.image, self._look(sample, methods[0]), list(readings.values()))
        return dict(zip(readings, maps, strict=True))

    def _look(self, sample: Sample, method: Method) -> Look:
        settings, (height, width) = self._settings, sample.image.shape[:2]
        size = picture_size((height, width), settings.size, self._protocol.square)
        prompt = prompt_of(sample, self._protocol.prompt)
        return Look(prompt, size, method.noise_level, settings.seeds, settings.guidance)

    def _reading(self, asked: Asked, method: Method) -> Reading:
        names, background_count = join_concepts(asked.sample.names, asked.background)
        words = [self._word(name, method.pooling) for name in names]
        vectors = torch.cat([word.embeddings for word in words], dim=1)
        captions = tuple(caption for word in words for caption in word.captions)
        concepts = Concepts(names, background_count, vectors, captions, method.pooling)
        return Reading(concepts, method.projection, method.keys)


def words_of(method: Method) -> tuple[Words, ...]:
    """Which words a method needs maps of."""
    return (method.words, "bank") if method.weights == "bank" else (method.words,)


def _kind(method: Method, words: Words) -> Kind:
    """What has to be recorded for a method; methods of one kind differ only in how it is read."""
    return words, method.projection, method.keys, method.pooling
