"""Videos: CogVideoX's pipelines, whose maps have the model's own frames and are read in decoded pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch.testing import assert_close

from conceptattention_core.adapters.diffusers import ConceptAttention
from conceptattention_core.adapters.diffusers.families import require_family
from conceptattention_core.cli import main

from .models import make
from .test_families import EDGE, paint
from .test_generate import CONCEPTS, PHOTO, state_of

GUIDED: dict[str, Any] = {"guidance_scale": 3.0}
FILM = [PHOTO] * 13
OLD: dict[str, Any] = {}
NEW = {"patch_size_t": 2}
ADDED = {"use_rotary_positional_embeddings": False, "max_text_seq_length": 24}
RUNS: dict[str, tuple[str, dict[str, Any], dict[str, Any], int, int]] = {
    "text": ("CogVideoXPipeline", OLD, {}, 3, 9),
    "text guided": ("CogVideoXPipeline", OLD, GUIDED, 3, 9),
    "text 2B": ("CogVideoXPipeline", ADDED, GUIDED, 3, 9),
    "text 1.5": ("CogVideoXPipeline", NEW, GUIDED, 2, 9),
    "image": ("CogVideoXImageToVideoPipeline", OLD, {**GUIDED, "image": PHOTO, "num_frames": 9}, 3, 9),
    "image 1.5": (
        "CogVideoXImageToVideoPipeline",
        {**NEW, "ofs_embed_dim": 16},
        {**GUIDED, "image": PHOTO, "num_frames": 9},
        2,
        9,
    ),
    "video": ("CogVideoXVideoToVideoPipeline", OLD, {**GUIDED, "video": FILM[:9], "strength": 1.0}, 3, 9),
    "video 1.5": ("CogVideoXVideoToVideoPipeline", NEW, {**GUIDED, "video": FILM, "strength": 1.0}, 2, 16),
    "even": ("CogVideoXPipeline", OLD, {"num_frames": 8}, 2, 8),
    "control": ("CogVideoXFunControlPipeline", OLD, {**GUIDED, "control_video": [FILM[:9]]}, 3, 9),
}
"""Pipeline, the transformer's sizes, the call's settings, token frames, and pictures that it makes."""


def record(pipe: Any, *args: Any, **settings: Any) -> Any:
    with ConceptAttention(pipe, CONCEPTS, max_sequence_length=24) as attention:
        paint(pipe, *args, **{"guidance_scale": 1.0, **settings})
    return attention.maps()


@pytest.mark.parametrize("run", RUNS)
def test_the_video_is_the_same_and_the_pipeline_too(run: str) -> None:
    kind, sizes, settings, frames, pictures = RUNS[run]
    pipe, settings = make(kind, **sizes), {"guidance_scale": 1.0, **settings}
    plain = paint(pipe, **settings)
    before = state_of(pipe.transformer)
    with ConceptAttention(pipe, CONCEPTS, max_sequence_length=24) as attention:
        inside = paint(pipe, **settings)
    assert np.array_equal(plain, inside) and np.std(plain) > 0 and plain.shape == (1, pictures, EDGE, EDGE, 3)
    assert state_of(pipe.transformer) == before
    maps = attention.maps()
    assert maps.raw.scores.shape == (2, 3, 1, 3, frames, 4, 4) and maps.raw.image_size == (EDGE, EDGE)
    assert len(maps) == pictures and kind in ConceptAttention.supported()[maps.raw.family]
    assert 0.3 < maps.raw.sigmas[0] <= 1 and maps.raw.sigmas[1] < maps.raw.sigmas[0]
    assert (maps.raw.scores.std(dim=(-2, -1)) > 0).all()
    # The first and the last picture are the first and the last frame, by themselves.
    for picture, frame in ((0, 0), (-1, -1)):
        alone = replace(maps.raw, scores=maps.raw.scores[:, :, :, :, frame], times=())
        assert_close(maps[picture].raw.saliency(), alone.saliency(), atol=1e-6, rtol=0)
    overlay = maps[0].overlay(Image.fromarray((inside[0, 0] * 255).astype(np.uint8)))
    assert overlay.size[0] == EDGE


@pytest.mark.parametrize("sizes", [OLD, NEW, ADDED], ids=["1.0", "1.5", "2B"])
def test_the_negative_prompt_is_not_recorded(sizes: dict[str, Any]) -> None:
    """The first step sees the same noise with and without the negative prompt, which then leads it elsewhere."""
    pipe = make("CogVideoXPipeline", **sizes)
    guided = record(pipe, guidance_scale=6.0, negative_prompt="ugly").raw.scores
    alone, other = record(pipe).raw.scores, record(pipe, "ugly").raw.scores
    assert_close(guided[0], alone[0], atol=1e-4, rtol=1e-4)
    assert (guided[1] - alone[1]).abs().max() > 1e-3 and (other[0] - alone[0]).abs().max() > 1e-3


def test_several_videos_are_each_their_own() -> None:
    pipe = make("CogVideoXPipeline")
    prompts = ("a cat on the sofa", "a dragon on the rock")
    both = record(pipe, list(prompts), seeds=(1, 2), **GUIDED)
    assert len(both) == 18 and both.raw.scores.shape[2] == 2
    for at, prompt in enumerate(prompts):
        alone = record(pipe, prompt, seeds=(at + 1,), **GUIDED)
        assert_close(both.raw.scores[:, :, at : at + 1], alone.raw.scores, atol=1e-3, rtol=1e-3)
        assert_close(both[9 * at + 4].raw.saliency(), alone[4].raw.saliency(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("dynamic", [True, False])
def test_guidance_that_moves_is_one_run(dynamic: bool) -> None:
    """At timesteps 300 and 100 of 100 steps it is exactly 1; without guidance it always is."""
    pipe = make("CogVideoXPipeline")
    prompts = ["a cat on the sofa", "a dragon on the rock"]
    settings = {"guidance_scale": 3.0 if dynamic else 1.0, "use_dynamic_cfg": dynamic, "output_type": "latent"}
    maps = record(pipe, prompts, seeds=(1, 1), num_frames=1, num_inference_steps=100, **settings).raw
    assert maps.scores.shape[2] == 2 and maps.sigmas[0] == pytest.approx(0.99) and maps.sigmas[-1] < 0.02


def test_a_concept_is_its_own_pieces() -> None:
    pipe = make("CogVideoXPipeline")
    caption = require_family(pipe).caption(pipe, "light house", 24)
    rows, _ = pipe.encode_prompt("light house", do_classifier_free_guidance=False, max_sequence_length=24)
    assert_close(caption.tokens, rows[0, :2], atol=1e-6, rtol=0)


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
