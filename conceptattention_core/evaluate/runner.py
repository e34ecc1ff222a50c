"""The run over one picture: as few forwards as its methods need, every method's scores recorded in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from ..concepts import Concepts, join_concepts
from ..maps import ConceptAttentionMaps
from .datasets import Sample
from .host import DiffusersHost, Host, Look, Reading
from .method import Method
from .metrics import Counts
from .protocol import Protocol, count_sample, picture_size, prompt_of

Kind = tuple[str, str, str]
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

    def __init__(self, model: Any, methods: Sequence[Method], protocol: Protocol, settings: Settings) -> None:
        """model: a `Host`, or a plain pipeline of diffusers."""
        own = hasattr(model, "encode_word")
        self._host: Host = model if own else DiffusersHost(model, settings.max_sequence_length)
        self._methods = tuple(methods)
        self._protocol = protocol
        self._settings = settings
        self._word = lru_cache(KEPT_WORDS)(self._host.encode_word)

    def evaluate(self, sample: Sample) -> list[Counts]:
        """Counts in the order of the methods. Raises ValueError or RuntimeError where this sample cannot be done."""
        counts: dict[Method, Counts] = {}
        for level in dict.fromkeys(method.noise_level for method in self._methods):
            # One level's maps at a time: they are gone before the next level's are made.
            counts |= self._count(sample, [method for method in self._methods if method.noise_level == level])
        self._host.rest()
        return [counts[method] for method in self._methods]

    def maps(self, sample: Sample, method: Method) -> ConceptAttentionMaps:
        """The maps that a method reads of a sample. Raises as `evaluate` does."""
        (maps,) = self._record(sample, [method]).values()
        self._host.rest()
        return maps

    def _count(self, sample: Sample, methods: Sequence[Method]) -> dict[Method, Counts]:
        """The methods of one noise level."""
        recorded = self._record(sample, methods)
        return {
            method: count_sample(method.read(recorded[_kind(method)]), sample, self._protocol, method.softmax)
            for method in methods
        }

    def _record(self, sample: Sample, methods: Sequence[Method]) -> dict[Kind, ConceptAttentionMaps]:
        """What methods of one noise level read, by kind, from one forward for each noise."""
        settings, (height, width) = self._settings, sample.image.shape[:2]
        size = picture_size((height, width), settings.size, self._protocol.square)
        prompt = prompt_of(sample, self._protocol.prompt)
        look = Look(prompt, size, methods[0].noise_level, settings.seeds, settings.guidance)
        readings = {_kind(method): self._reading(sample, method) for method in methods}
        maps = self._host.read(sample.image, look, list(readings.values()))
        return dict(zip(readings, maps, strict=True))

    def _reading(self, sample: Sample, method: Method) -> Reading:
        names, background_count = join_concepts(sample.names, self._protocol.background)
        words = [self._word(name, method.pooling) for name in names]
        vectors = torch.cat([word.embeddings for word in words], dim=1)
        captions = tuple(caption for word in words for caption in word.captions)
        concepts = Concepts(names, background_count, vectors, captions, method.pooling)
        return Reading(concepts, method.projection, method.keys)


def _kind(method: Method) -> Kind:
    """What has to be recorded for a method; methods of one kind differ only in how it is read."""
    return method.projection, method.keys, method.pooling
