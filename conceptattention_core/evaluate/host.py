"""What a run needs of the host that has the model: diffusers, or ComfyUI."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..concepts import Concepts, TokenPooling
from ..maps import ConceptAttentionMaps
from ..scores import PROJECTIONS, Projection
from ..stream import ConceptKeys


@dataclass(frozen=True)
class Reading:
    """What to read from a forward: these concepts' scores in this space."""

    concepts: Concepts
    projection: Projection
    attend_to: ConceptKeys


@dataclass(frozen=True)
class Look:
    """How a picture is shown to the model.

    size: ``(H, W)`` in pixels; noise_level: 0..1; seeds: one forward for each noise, averaged.
    """

    prompt: str
    size: tuple[int, int]
    noise_level: float
    seeds: tuple[int, ...]
    guidance: float


class Host(Protocol):
    """One model. family: its name, file, depth, own temperature and blocks, and the spaces that it has (projections).

    weights: a digest of them.
    """

    family: dict[str, Any]
    weights: str
    dtype: str
    device: str

    def encode_word(self, name: str, pooling: TokenPooling) -> Concepts:
        """One concept, encoded alone."""
        ...

    def read(self, image: np.ndarray, look: Look, readings: Sequence[Reading]) -> list[ConceptAttentionMaps]:
        """Maps of one picture ``(H, W, 3)`` uint8, for each reading."""
        ...

    def rest(self) -> None:
        """The picture is done: offloaded parts may leave the GPU."""
        ...


class DiffusersHost:
    """A plain pipeline of diffusers, of any supported family."""

    def __init__(self, pipe: Any, max_sequence_length: int | None = None) -> None:
        from ..adapters.diffusers.families import denoisers, require_family

        family, model = require_family(pipe), denoisers(pipe)[0]
        self._pipe = pipe
        self._length = max_sequence_length
        pipe.set_progress_bar_config(disable=True)
        self.family = {
            "name": family.name,
            "file": type(family).__module__.replace(".", "/") + ".py",
            "depth": len(family.blocks(model)),
            "temperature": family.temperature,
            "blocks": family.default_blocks,
            "projections": PROJECTIONS,
        }
        self.weights = digest(next(getattr(model, family.input_layer).parameters()))
        self.dtype = str(model.dtype).removeprefix("torch.")
        self.device = pipe.device.type
        self._prepared: tuple[tuple[int, str, tuple[int, int]], Any] | None = None

    def encode_word(self, name: str, pooling: TokenPooling) -> Concepts:
        from ..adapters.diffusers.text import encode_concepts

        return encode_concepts(self._pipe, (name,), 0, pooling, self._length)

    def read(self, image: np.ndarray, look: Look, readings: Sequence[Reading]) -> list[ConceptAttentionMaps]:
        from ..adapters.diffusers import encode

        key = id(image), look.prompt, look.size  # several noise levels share a picture's latent and prompt
        if self._prepared is None or self._prepared[0] != key:
            picture = encode.prepare_picture(self._pipe, image, look.prompt, look.size, self._length)
            self._prepared = key, picture
        asked = [encode.Reading(one.concepts, one.projection, one.attend_to) for one in readings]
        return encode.read_picture(self._pipe, self._prepared[1], asked, look.noise_level, look.seeds, look.guidance)

    def rest(self) -> None:
        self._prepared = None
        self._pipe.maybe_free_model_hooks()


def digest(weight: Tensor) -> str:
    """A short digest of a layer, which changes with any training of the model."""
    return hashlib.sha256(weight.detach().to("cpu", torch.float32).numpy().tobytes()).hexdigest()[:12]
