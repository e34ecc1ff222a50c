"""How often concepts are encoded: each once by one CLIP object, and to the same bits whatever was encoded before."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch

from .graphs import tiny_flux
from .models import text_encoder

EIGHT = ("house", "palm tree", "lighthouse", "sky", "sea", "sand", "boat", "red car")


@pytest.fixture
def encode(pack: dict[str, Any]) -> Any:
    package = pack["ConceptAttention"].__module__.rsplit(".", 2)[0] + ".conceptattention_core"
    function, flux = import_module(f"{package}.adapters.comfy.text").encode_concepts, tiny_flux()
    return lambda clip, *names: function(clip, names, 0, "mean", flux).embeddings[0]


def count_calls(clip: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []
    real = clip.cond_stage_model.encode_token_weights
    monkeypatch.setattr(clip.cond_stage_model, "encode_token_weights", lambda tokens: calls.append(1) or real(tokens))
    return calls


def test_one_concept_more_encodes_one(encode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = text_encoder()
    calls = count_calls(clip, monkeypatch)
    encode(clip, *EIGHT)
    assert len(calls) == 8
    encode(clip, *EIGHT, "flower")
    assert len(calls) == 9
    changed = clip.clone()
    changed.add_patches({"t5xxl.transformer.shared.weight": (torch.zeros(1),)}, 1.0)
    encode(changed, "house")  # another object, another text encoder
    assert len(calls) == 10


def test_what_was_encoded_before_does_not_matter(encode: Any) -> None:
    first, second = text_encoder(), text_encoder()
    encode(first, "sky", "sea")
    assert torch.equal(encode(first, *EIGHT), encode(second, *EIGHT))
    assert torch.equal(encode(first, "boat"), encode(text_encoder(), "boat"))
