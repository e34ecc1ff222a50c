"""Which rows of a conditioning are a concept's own, by each family's real tokenizer and text encoder.

The pieces are written down by hand, and the rows are what the encoder makes of them before it drops any.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

from . import encoders
from .readings import CLIP, PILE, READINGS, T5, T5_REFUSES, Reading

each_reading = pytest.mark.parametrize("reading", READINGS, ids=[one.encoder for one in READINGS])

load = cache(encoders.encoder)


@pytest.fixture(scope="module", autouse=True)
def unload(comfy: Any) -> Any:
    yield
    load.cache_clear()


@pytest.fixture
def core(pack: dict[str, Any]) -> Any:
    package = pack["ConceptAttention"].__module__.rsplit(".", 2)[0] + ".conceptattention_core"
    return lambda name: import_module(f"{package}.{name}")


@pytest.fixture
def encode(core: Any) -> Any:
    """Captions of names by a CLIP, as the family of a reading has them. Skips families that are not offered."""

    def captions(reading: Reading, clip: Any, *names: str) -> list[Any]:
        families = [family for family in core("adapters.comfy.families").FAMILIES if family.name == reading.family]
        if not families:
            pytest.skip(f"{reading.family} is not offered")
        return core("adapters.comfy.text")._encode(clip, names, families[0])

    return captions


def part(whole: Any, reading: Reading) -> Any:
    """The tokenizer or encoder that concepts are read with, of a CLIP's one or several."""
    return getattr(whole, reading.key, None) or getattr(whole, f"clip_{reading.key}")


def spelled(reading: Reading, clip: Any, pieces: list[int]) -> list[str]:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    strings = [part(clip.tokenizer, reading).inv_vocab[piece] for piece in pieces]
    if reading.words in (T5, PILE):
        return [one.replace("▁", " ") for one in strings]
    numbers = {letter: number for number, letter in bytes_to_unicode().items()}
    letters = [one.removesuffix("</w>") for one in strings]
    return [bytes(numbers[letter] for letter in one).decode(errors="backslashreplace") for one in letters]


def tokenize(reading: Reading, clip: Any, name: str) -> dict[str, Any]:
    """As ComfyUI's nodes do with a prompt in which brackets are to be brackets."""
    tokens = clip.tokenize(name if reading.raw else name.replace("(", r"\(").replace(")", r"\)"))
    return {key: sections if key == reading.key or not reading.alone else [] for key, sections in tokens.items()}


def undropped(reading: Reading, clip: Any, tokens: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """A row for each token, ``(T, width)``: from the encoder inside the one that drops some."""
    inner = part(clip.cond_stage_model, reading)
    monkeypatch.setattr(inner, "txt_offset", 0, raising=False)  # Lens drops them right there
    rows = inner.encode_token_weights(tokens[reading.key])[0]
    monkeypatch.undo()
    return rows[0] if rows.ndim == 3 else rows[0].transpose(0, 1).flatten(1)  # layers beside each other


@each_reading
def test_own_rows(encode: Any, reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = load(reading.encoder)
    captions = encode(reading, clip, *reading.words)
    for (name, words), caption in zip(reading.words.items(), captions, strict=True):
        tokens = tokenize(reading, clip, name)
        pieces = [piece for piece, *_ in tokens[reading.key][0]]
        bare = spelled(reading, clip, pieces[reading.start : reading.start + 1]) == [" "]
        own = slice(reading.start + bare, reading.start + bare + len(words))
        assert spelled(reading, clip, pieces[own]) == words
        assert caption.position == own.start - reading.dropped and len(caption.own) == len(words), name
        assert caption.length == (reading.length or own.stop + reading.behind - reading.dropped), name

        rows, made = clip.encode_from_tokens(tokens)[0], undropped(reading, clip, tokens, monkeypatch)[own]
        assert len(rows) == caption.length
        kept = rows[caption.position : caption.position + len(words)]
        assert torch.equal(kept[:, : made.shape[1]], made) and torch.equal(caption.tokens[list(caption.own)], kept)
        assert torch.equal(caption.tokens, rows if len(caption.tokens) > len(words) else kept)


@each_reading
def test_each_is_encoded_once(encode: Any, reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the same bits whatever was encoded before; a CLIP with a LoRA is another one."""
    clip = load(reading.encoder).clone()
    calls, real = [], clip.cond_stage_model.encode_token_weights
    monkeypatch.setattr(clip.cond_stage_model, "encode_token_weights", lambda given: calls.append(given) or real(given))
    *eight, ninth = list(reading.words)[:9]
    first = encode(reading, clip, *eight)
    assert len(calls) == 8
    again = encode(reading, clip, ninth, *eight)
    assert len(calls) == 9 and all(one is two for one, two in zip(first, again[1:], strict=True))
    assert torch.equal(encode(reading, clip.clone(), ninth)[0].tokens, again[0].tokens)

    patched = clip.clone()
    key, weight = first_query(reading, clip)
    patched.add_patches({key: (torch.ones_like(weight),)}, 1.0)
    calls.clear()
    other = encode(reading, patched, eight[1])[0]
    assert len(calls) == 1 and not torch.allclose(other.tokens, first[1].tokens)
    assert torch.equal(encode(reading, clip.clone(), eight[1])[0].tokens, first[1].tokens)


def first_query(reading: Reading, clip: Any) -> tuple[str, Tensor]:
    """The weight of the first layer's queries, as a LoRA's file names it."""
    weights = clip.cond_stage_model.state_dict()
    named = (at for at in weights if f"{reading.key}.transformer" in at and at.endswith(("q_proj.weight", ".q.weight")))
    key = next(named)
    return key, weights[key]


@pytest.mark.parametrize("name", T5_REFUSES)
@pytest.mark.parametrize("reading", [one for one in READINGS if one.words is T5], ids=lambda one: one.encoder)
def test_what_t5_cannot_read(encode: Any, reading: Reading, name: str) -> None:
    with pytest.raises(ValueError, match=f"T5 knows no character of (.* in )?the concept '{name}'"):
        encode(reading, load(reading.encoder), name)


def test_a_name_longer_than_clips_first_section(encode: Any) -> None:
    reading = next(one for one in READINGS if one.words is CLIP)
    clip, name = load(reading.encoder), " ".join(["tree"] * 100)
    (caption,) = encode(reading, clip, name)
    rows = clip.encode_from_tokens(tokenize(reading, clip, name))[0]
    assert (caption.position, caption.length) == (1, 2 * 77) and torch.equal(caption.tokens, rows[1:76])


def test_every_family_is_here(core: Any) -> None:
    by_itself = {"Anima", "LTX-2"}  # test_cosmos, test_ltx2
    names = {family.name for family in core("adapters.comfy.families").FAMILIES}
    assert names <= by_itself | {one.family for one in READINGS}
