"""LTX-2 and 2.3 beside the model's own forward on the prompt and the concepts, with sound and without.

The oracle is the model's class itself, given each concept's row, as ComfyUI makes it of the concept as a prompt, behind
those of the prompt, with an attention function that hides them from the video and keeps their logits and values.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import torch
from einops import rearrange
from torch import Tensor

from . import encoders
from .graphs import randn
from .helpers import APPLY
from .readings import PILE
from .test_cosmos import Hidden
from .test_video import build

LTX2 = {"image_model": "ltxav", "in_channels": 128, "cross_attention_dim": 64, "attention_head_dim": 32}
LTX2 |= {"num_attention_heads": 2, "audio_cross_attention_dim": 32, "audio_attention_head_dim": 16, "num_layers": 3}
LTX2 |= {"audio_num_attention_heads": 2, "caption_channels": 16, "connector_num_attention_heads": 2}
LTX2 |= {"connector_attention_head_dim": 8}
LTX23 = {**LTX2, "caption_proj_before_connector": True, "caption_projection_first_linear": False}
LTX23 |= {"cross_attention_adaln": True, "apply_gated_attention": True, "connector_attention_head_dim": 32}
LTX23 |= {"audio_connector_attention_head_dim": 16}
MODELS = {"2": (LTX2, 16), "2.3": (LTX23, 64 + 32)}
"""The settings, and channels of the text."""
OWN = (1, 4, 2)
"""The place of each concept's piece among its caption's five, six and seven."""
REGISTERS = 1024
"""Rows of any prompt, filled up with what the model has learnt."""


@pytest.fixture
def core(pack: dict[str, Any]) -> Any:
    package = pack["ConceptAttention"].__module__.rsplit(".", 2)[0] + ".conceptattention_core"
    return lambda name: import_module(f"{package}.{name}")


@pytest.fixture(autouse=True)
def as_comfyui_runs_nodes() -> Iterator[None]:
    with torch.inference_mode():
        yield


def captions(width: int) -> list[Tensor]:
    return [randn(5 + at, width, seed=at) for at in range(len(OWN))]


def concepts(core: Any, width: int) -> Any:
    words = core("concepts")
    each = tuple(words.Caption(rows, (own,), own, len(rows)) for rows, own in zip(captions(width), OWN, strict=True))
    pooled = torch.stack([one.tokens[one.own[0]] for one in each])[None]
    return words.Concepts(tuple("abc"), 0, pooled, each)


def latent(size: tuple[int, ...], sound: bool) -> Any:
    from comfy.nested_tensor import NestedTensor

    video = torch.zeros(1, 128, *size)
    return NestedTensor([video, torch.zeros(1, 8, 11, 16)]) if sound else video


def sample(model: Any, width: int, size: tuple[int, ...], sound: bool, steps: int, cfg: float = 1.0) -> Any:
    import nodes

    extra = {"unprocessed_ltxav_embeds": True}
    one, other = ([[randn(1, 9 + at, width, seed=20 + at), extra]] for at in range(2))
    given = 0, steps, cfg, "euler", "simple", one, other, {"samples": latent(size, sound)}
    return nodes.KSampler().sample(model, *given)[0]["samples"]


def rows_of(base: Any, rows: Tensor) -> Tensor:
    given = {"cross_attn": rows[None], "unprocessed_ltxav_embeds": True, "device": rows.device}
    return base.extra_conds(**given, noise=torch.zeros(1, 128, 1, 1, 1))["c_crossattn"].cond[0]


class Apart:
    """What the video reads of the prompt, and what its sound does."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.video, self.sound = Hidden(REGISTERS, len(OWN)), Hidden(REGISTERS, len(OWN))

    def __call__(self, function: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, **_: Any) -> Tensor:
        one = self.video if q.shape[1] == self.tokens else self.sound
        parts = (rearrange(part, "b s (h d) -> b h s d", h=heads) for part in (q, k, v))
        return one(function, *parts, heads, skip_reshape=True)


SETTINGS = [("2", "cross_attention", True, (3, 4, 6)), ("2", "value", False, (3, 4, 6)), ("2", "gram", True, (3, 4, 6))]
SETTINGS += [("2.3", projection, True, (3, 4, 6)) for projection in ("cross_attention", "value")]
SETTINGS += [("2.3", "gram", False, (3, 4, 6)), ("2", "value", True, (2, 16, 32))]  # as many tokens as the prompt


@pytest.mark.parametrize(("name", "projection", "sound", "size"), SETTINGS)
def test_beside_the_models_own_forward(
    core: Any, name: str, projection: str, sound: bool, size: tuple[int, ...]
) -> None:
    settings, width = MODELS[name]
    model, named = build("LTXAV", settings, 5), concepts(core, width)
    patched, runs = core("adapters.comfy.sampling").apply_concept_attention(model, named, projection, 0.0, 1.0)
    dit, seen = model.model.diffusion_model, []
    handle = dit.register_forward_pre_hook(lambda _, args, kwargs: seen.append((args, kwargs)), with_kwargs=True)
    maps = runs.find(sample(patched, width, size, sound, 1))
    handle.remove()

    (args, kwargs), rows = seen[0], captions(width)
    own = torch.stack([rows_of(model.model, one)[at] for one, at in zip(rows, OWN, strict=True)])
    apart = Apart(size[0] * size[1] * size[2])
    given = {**kwargs, "context": torch.cat([kwargs["context"], own[None]], dim=1)}
    dit(*args, **{**given, "transformer_options": {"optimized_attention_override": apart}})
    expected = apart.video.scores(projection, size[0])
    assert maps.scores.shape == (1, 3, 1, 3, *size) and maps.family == "LTX-2" and maps.token_pixels == 32
    assert (maps.scores[0, :, 0].flatten(2) - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("sound", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_the_video_is_the_same(core: Any, name: str, sound: bool) -> None:
    """And its sound; its maps are found by the sampler's LATENT, and by the video alone."""
    settings, width = MODELS[name]
    model, named = build("LTXAV", settings, 5), concepts(core, width)
    patched, runs = core("adapters.comfy.sampling").apply_concept_attention(model, named, "value", 0.0, 1.0)
    made, plain = (sample(one, width, (3, 4, 6), sound, 2, 3.0) for one in (patched, model))
    parts = (made.unbind(), plain.unbind()) if sound else ((made,), (plain,))
    assert all(torch.equal(one, other) and one.std() > 0 for one, other in zip(*parts, strict=True))
    maps = runs.find(made)
    assert maps.scores.shape == (2, 3, 1, 3, 3, 4, 6) and maps.pictures == 17
    assert runs.find(parts[0][0]) is maps


def test_own_pieces(core: Any, pack: dict[str, Any]) -> None:
    """Padding stands before the prompt, and the encoder drops it."""
    clip = encoders.encoder("ltxav")
    model = build("LTXAV", LTX2, 5)
    encode, tokenizer = core("adapters.comfy.text").encode_concepts, clip.tokenizer.gemma3_12b
    found = encode(clip, tuple(PILE), 0, "mean", model).captions
    for (name, words), caption in zip(PILE.items(), found, strict=True):
        pieces = [piece for piece, *_ in clip.tokenize(name)["gemma3_12b"][0] if piece != 0]
        assert len(caption.tokens) == len(pieces) and caption.tokens.shape[1] == encoders.WIDTH
        spelled = [tokenizer.inv_vocab[pieces[at]].replace("▁", " ") for at in caption.own]
        assert spelled in (words, [" ", *words]), name
    with pytest.raises(ValueError, match="do not belong together"):
        settings = {**APPLY, "projection": "value"}
        pack["ConceptAttentionApply"].execute(model, encoders.encoder("ltxv"), "boat, sea", **settings)
