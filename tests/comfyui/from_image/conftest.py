"""The node's maps of pictures, on a tiny Flux and the demo's VAE."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from ..graphs import TINY, randn, tiny_flux
from ..helpers import table_clip
from .common import SETTINGS, WORDS


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    """As ComfyUI's executor runs nodes."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def vae(pack: dict[str, Any]) -> Any:
    return pack["ConceptAttentionDemoModel"].execute()[2]


@pytest.fixture(scope="module")
def flux(comfy: Any) -> Any:
    return tiny_flux()


@pytest.fixture(scope="module")
def clip(comfy: Any) -> Any:
    return table_clip(WORDS, randn(len(WORDS), TINY["context_in_dim"], seed=1))


@pytest.fixture
def look(pack: dict[str, Any], clip: Any, vae: Any) -> Callable[..., Any]:
    """The node's maps of `image` on `model`."""

    def run(model: Any, image: Tensor, concepts: str = "house, sky", clip: Any = clip, vae: Any = vae, **changes: Any):
        return pack["ConceptAttentionFromImage"].execute(model, clip, vae, image, concepts, **{**SETTINGS, **changes})[
            0
        ]

    return run
