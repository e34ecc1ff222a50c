"""Videos: pipelines whose maps have the model's own frames and are read in decoded pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from conceptattention_core.adapters.diffusers import ConceptAttention
from conceptattention_core.adapters.diffusers.families import denoisers, require_family
from conceptattention_core.cli import main

from .models import make
from .test_families import EDGE, own_projection, paint, taken
from .test_generate import CONCEPTS, PHOTO, state_of
from .video_runs import ADDED, FURTHER, GUIDED, NEW, OLD, RUNS, SHORT, UGLY


@pytest.fixture(autouse=True)
def prompts_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of Wan's pipelines do not run without ftfy, which cleans prompts."""
    names = [f"wan.pipeline_wan_{kind}" for kind in ("i2v", "video2video", "vace")]
    for name in [*names, "lucy.pipeline_lucy_edit"]:
        cleaner = SimpleNamespace(fix_text=lambda text: text)
        monkeypatch.setattr(f"diffusers.pipelines.{name}.ftfy", cleaner, raising=False)


def record(pipe: Any, *args: Any, **settings: Any) -> Any:
    with ConceptAttention(pipe, CONCEPTS, max_sequence_length=24, projection=own_projection(pipe)) as attention:
        paint(pipe, *args, **{"guidance_scale": 1.0, **settings})
    return attention.maps()


@pytest.mark.parametrize("run", RUNS)
def test_the_video_is_the_same_and_the_pipeline_too(run: str) -> None:
    kind, sizes, settings, frames, pictures = RUNS[run]
    pipe, settings = make(kind, **sizes), {"guidance_scale": 1.0, **settings}
    plain = paint(pipe, **settings)
    before = [state_of(one) for one in denoisers(pipe)]
    with ConceptAttention(pipe, CONCEPTS, max_sequence_length=24, projection=own_projection(pipe)) as attention:
        inside = paint(pipe, **settings)
    assert np.array_equal(plain, inside) and np.std(plain) > 0 and plain.shape == (1, pictures, EDGE, EDGE, 3)
    assert [state_of(one) for one in denoisers(pipe)] == before
    maps = attention.maps()
    assert maps.raw.scores.shape == (2, 3, 1, 3, frames, 4, 4) and maps.raw.image_size == (EDGE, EDGE)
    assert len(maps) == pictures and kind in ConceptAttention.supported()[maps.raw.family]
    assert 0.3 < maps.raw.sigmas[0] <= 1 and maps.raw.sigmas[1] < maps.raw.sigmas[0]
    assert (maps.raw.scores.std(dim=(-2, -1)) > 0).all()
    # The first and the last picture are the first and the last frame, by themselves. One pipeline cuts the first off.
    for picture, frame in ((0, 0), (-1, -1))["beside" in run :]:
        alone = replace(maps.raw, scores=maps.raw.scores[:, :, :, :, frame], times=())
        assert_close(maps[picture].raw.saliency(), alone.saliency(), atol=1e-6, rtol=0)
    overlay = maps[0].overlay(Image.fromarray((inside[0, 0] * 255).astype(np.uint8)))
    assert overlay.size[0] == EDGE


GUIDES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "1.0": ("CogVideoXPipeline", OLD, {"guidance_scale": 6.0}),
    "1.5": ("CogVideoXPipeline", NEW, {"guidance_scale": 6.0}),
    "2B": ("CogVideoXPipeline", ADDED, {"guidance_scale": 6.0}),
    "wan": ("WanPipeline", {"two": True}, {"guidance_scale": 6.0}),
    "ltx": ("LTXPipeline", {}, {"guidance_scale": 6.0}),
    "ltx2": ("LTX2Pipeline", {}, {"guidance_scale": 6.0}),
    "ltx2.3": ("LTX2Pipeline", {"newer": True}, {"guidance_scale": 6.0}),
    "cosmos": ("Cosmos2VideoToWorldPipeline", {}, {"guidance_scale": 6.0}),
    "hunyuan": ("HunyuanVideoPipeline", {}, {"true_cfg_scale": 6.0}),
    "hunyuan 1.5": ("HunyuanVideo15Pipeline", {}, {}),  # always guided, by another negative prompt
}
PLAIN = ["CogVideoXPipeline", "WanPipeline", "LTXPipeline", "LTX2Pipeline"]
PLAIN += ["HunyuanVideoPipeline", "HunyuanVideo15Pipeline"]


@pytest.mark.parametrize("kind", GUIDES)
def test_the_negative_prompt_is_not_recorded(kind: str) -> None:
    """The first step sees the same noise with and without the negative prompt, which then leads it elsewhere."""
    name, sizes, settings = GUIDES[kind]
    pipe, short = make(name, **sizes), {"num_frames": 9, "output_type": "latent"}
    short |= {"image": PHOTO} if kind == "cosmos" else SHORT if "ltx2" in kind else {}
    guided = record(pipe, **short, **settings, **UGLY).raw.scores
    alone, other = record(pipe, **short).raw.scores, record(pipe, "ugly", **short).raw.scores
    assert_close(guided[0], alone[0], atol=1e-4, rtol=1e-4)
    assert (guided[1] - alone[1]).abs().max() > 1e-3 and (other[0] - alone[0]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", PLAIN)
def test_several_videos_are_each_their_own(kind: str) -> None:
    pipe = make(kind)
    prompts, settings = ("a cat on the sofa", "a dragon on the rock"), {"num_frames": 9, "output_type": "latent"}
    settings |= {} if "Hunyuan" in kind else {**SHORT, **FURTHER} if "LTX2" in kind else GUIDED
    each = 1 if kind.startswith(("CogVideoX", "HunyuanVideo15")) else 2  # which do not make two of a prompt
    many = record(pipe, list(prompts), seeds=range(2 * each), num_videos_per_prompt=each, **settings)
    assert len(many) == 18 * each and many.raw.scores.shape[2] == 2 * each
    for at, prompt in ((each - 1, prompts[0]), (each, prompts[1])):
        alone = record(pipe, prompt, seeds=(at,), **settings)
        assert_close(many.raw.scores[:, :, at : at + 1], alone.raw.scores, atol=1e-3, rtol=1e-3)
        assert_close(many[9 * at + 4].raw.saliency(), alone[4].raw.saliency(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("dynamic", [True, False])
def test_guidance_that_moves_is_one_run(dynamic: bool) -> None:
    """At timesteps 300 and 100 of 100 steps it is exactly 1; without guidance it always is."""
    pipe = make("CogVideoXPipeline")
    prompts = ["a cat on the sofa", "a dragon on the rock"]
    settings = {"guidance_scale": 3.0 if dynamic else 1.0, "use_dynamic_cfg": dynamic, "output_type": "latent"}
    maps = record(pipe, prompts, seeds=(1, 1), num_frames=1, num_inference_steps=100, **settings).raw
    assert maps.scores.shape[2] == 2 and maps.sigmas[0] == pytest.approx(0.99) and maps.sigmas[-1] < 0.02


@pytest.mark.parametrize("kind", ["CogVideoXPipeline", "WanPipeline", "LTXPipeline"])
def test_a_concept_is_its_own_pieces(kind: str) -> None:
    pipe = make(kind)
    caption = require_family(pipe).caption(pipe, "light house", 24)
    rows, *_ = pipe.encode_prompt("light house", do_classifier_free_guidance=False, max_sequence_length=24)
    assert_close(caption.tokens, rows[0, :2], atol=1e-6, rtol=0)


@pytest.mark.parametrize("newer", [False, True], ids=["2", "2.3"])
def test_a_concept_of_ltx2_is_what_the_transformer_is_given(newer: bool) -> None:
    """Its pieces come through the pipeline's connector, which moves them from behind the padding to the front."""
    pipe, seen = make("LTX2Pipeline", newer=newer), []
    caption = require_family(pipe).caption(pipe, "light house", 24)
    pipe.transformer.register_forward_pre_hook(lambda *given: seen.append(given[2]), with_kwargs=True)
    paint(pipe, "light house", guidance_scale=1.0, **SHORT)
    assert_close(caption.tokens, seen[0]["encoder_hidden_states"][0, :2], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("kind", "mask"), [("HunyuanVideoPipeline", 2), ("HunyuanVideo15Pipeline", 1)])
def test_a_caption_is_the_prompt_that_a_concept_would_be(kind: str, mask: int) -> None:
    """mask: which of the things that the pipeline gives out says what is no padding."""
    pipe: Any = make(kind)
    family: Any = require_family(pipe)
    caption = family.caption(pipe, "light house", 24)
    told = pipe.encode_prompt("light house", **taken(pipe.encode_prompt, {"max_sequence_length": 24}))
    assert_close(caption.tokens, told[0][0][told[mask][0].bool()], atol=1e-6, rtol=0)
    seen = family.pieces(pipe, "light house")[family.cut_off(pipe) :]
    assert [seen[at] for at in caption.own] == pipe.tokenizer.convert_tokens_to_ids(["light", "house"])


def test_wan_reads_what_its_two_models_say() -> None:
    """Of 2.2's steps, the first are the one model's and the others the second's."""
    pipe = make("WanPipeline", two=True)
    settings = {"num_frames": 9, "num_inference_steps": 4}
    maps = record(pipe, **settings).raw
    low = sum(sigma < 0.9 for sigma in maps.sigmas)
    assert maps.scores.shape[0] == 4 and 0 < low < 4
    first, second = pipe.transformer, pipe.transformer_2
    pipe.transformer_2 = first
    other = record(pipe, **settings).raw.scores
    assert torch.equal(other[: 4 - low], maps.scores[: 4 - low]) and not torch.equal(other[-1], maps.scores[-1])
    pipe.transformer_2 = second


def test_what_wan_has_read_of_a_picture_is_not_the_prompts() -> None:
    """Both are added in its attention. The first block's text part is the same where the picture's is nothing."""
    pipe, image = make("WanImageToVideoPipeline", seen=True), {"image": PHOTO, "num_frames": 1}
    values = pipe.transformer.blocks[0].attn2.add_v_proj.bias.data
    found = []
    for level in (0.0, 5.0):
        values[::2] = level
        found.append(record(pipe, max_sequence_length=512, **image).raw.scores[0])
    assert_close(found[0][0], found[1][0], atol=1e-6, rtol=1e-5)
    assert (found[0][1] - found[1][1]).abs().max() > 1e-2 * found[0][1].std()


@pytest.mark.parametrize(
    ("kind", "sizes", "settings"),
    [
        ("WanImageToVideoPipeline", {"seen": True}, {"image": PHOTO, "num_frames": 1, "max_sequence_length": 512}),
        ("LTX2Pipeline", {"newer": True}, SHORT),
        ("HunyuanVideoPipeline", {}, {"num_frames": 1}),
    ],
)
def test_a_block_that_runs_once_more_changes_nothing(kind: str, sizes: Any, settings: Any) -> None:
    pipe = make(kind, **sizes)
    expected = record(pipe, **settings).raw.scores
    block = getattr(pipe.transformer, "blocks", None) or pipe.transformer.transformer_blocks

    def again(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        module.forward(*(2 * one for one in args[:1]), *args[1:], **kwargs)

    block[1].register_forward_hook(again, with_kwargs=True)
    assert torch.equal(record(pipe, **settings).raw.scores, expected)


def test_a_cross_attention_model_has_no_output() -> None:
    with pytest.raises(ValueError, match=r"Wan has no projection 'output'.*Choose cross_attention or value or gram"):
        ConceptAttention(make("WanPipeline"), CONCEPTS)


def test_what_looks_at_pictures_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipe = make("CogVideoXPipeline")
    with pytest.raises(ValueError, match="CogVideoX makes videos, and `encode` looks at pictures"):
        ConceptAttention.encode(pipe, PHOTO, CONCEPTS)
    pipe.save_pretrained(tmp_path / "model")
    for weights in (tmp_path / "model").rglob("*.safetensors"):
        weights.unlink()  # nothing is loaded
    call = ["generate", "a cat", "--concepts", "cat, sofa", "--model", str(tmp_path / "model")]
    assert main([*call, "--out", str(tmp_path / "new")]) == 2
    assert "CogVideoX makes videos" in capsys.readouterr().err
