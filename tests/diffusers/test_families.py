"""Every family's pipelines: the picture does not change, and the maps are those of the prompt, picture by picture."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from conceptattention_core.adapters.diffusers import ConceptAttention, Concepts
from conceptattention_core.adapters.diffusers.families import denoisers, require_family
from conceptattention_core.adapters.diffusers.families.qwen import PICTURE
from conceptattention_core.cli import main
from conceptattention_core.evaluate.cli import main as evaluate
from conceptattention_core.storage import load_maps

from .models import make
from .test_generate import CONCEPTS, MASK, PHOTO, state_of

ROOT = Path(__file__).resolve().parents[2]
EDGE = 64
PLACES = {
    "StableDiffusion3Pipeline": 77,  # behind CLIP's rows
    "Flux2KleinPipeline": 1,  # behind "user"
    "Flux2Pipeline": 21,  # at the end of 24, in front of a colon
    "QwenImagePipeline": 0,  # what leads the template is cut off
    "QwenImageEditPipeline": 0,
    "ZImagePipeline": 1,
    "ChromaPipeline": 0,
    "Krea2Pipeline": 0,
    "LongCatImagePipeline": 0,
    "OvisImagePipeline": 0,
    "Cosmos2TextToImagePipeline": 0,
    "Lumina2Pipeline": 3,  # behind "system <Prompt Start>"
    "AuraFlowPipeline": 0,
    "HiDreamImagePipeline": 0,
    "HunyuanImagePipeline": 0,
    "JoyImageEditPipeline": 0,
    "JoyImageEditPlusPipeline": 0,
    "StableDiffusionXLPipeline": 0,
    "StableDiffusionPipeline": 0,
}
CFG: dict[str, dict[str, Any]] = {
    "StableDiffusion3Pipeline": {"guidance_scale": 3.0},
    "Flux2KleinPipeline": {"guidance_scale": 3.0},
    "QwenImagePipeline": {"true_cfg_scale": 3.0, "negative_prompt": "ugly"},
    "ZImagePipeline": {"guidance_scale": 2.0},
    "ChromaPipeline": {"guidance_scale": 3.0},
    "Krea2Pipeline": {"guidance_scale": 2.0},
    "LongCatImagePipeline": {"guidance_scale": 3.0, "negative_prompt": "ugly"},
    "OvisImagePipeline": {"guidance_scale": 3.0},
    "Lumina2Pipeline": {"guidance_scale": 3.0},
    "AuraFlowPipeline": {"guidance_scale": 3.0},
    "HiDreamImagePipeline": {"guidance_scale": 3.0},
    "HunyuanImagePipeline": {"guidance_scale": 3.0},
    "JoyImageEditPipeline": {"guidance_scale": 3.0},
    "JoyImageEditPlusPipeline": {"guidance_scale": 3.0},
    "StableDiffusionXLPipeline": {"guidance_scale": 3.0},
    "StableDiffusionPipeline": {"guidance_scale": 3.0},
    "AnimaModularPipeline": {"guidance_scale": 3.0},
    "Cosmos2TextToImagePipeline": {"guidance_scale": 3.0},
}
NONE = {"StableDiffusion3": 1.0, "Flux2": 1.0, "Chroma": 1.0, "Lumina2": 1.0, "LongCat": 1.0, "Ovis": 1.0}
NONE |= {"StableDiffusion": 1.0, "Anima": 1.0, "AuraFlow": 1.0, "HiDream": 1.0, "HunyuanImage": 1.0, "JoyImage": 1.0}
NONE |= {"CogVideoX": 1.0, "Wan": 1.0, "LTX": 1.0, "Cosmos2": 1.0, "Krea2": 0.0, "ZImage": 0.0}
"""Each family's guidance scale for none."""

FROM = {"image": PHOTO, "strength": 0.5, "num_inference_steps": 4}
LATE = {"image": PHOTO, "strength": 0.8, "num_inference_steps": 3}
KINDS: dict[str, dict[str, Any]] = {
    **CFG,
    "Flux2Pipeline": {},
    "StableDiffusion3Img2ImgPipeline": FROM,
    "StableDiffusion3InpaintPipeline": {**FROM, "mask_image": MASK},
    "ChromaImg2ImgPipeline": FROM,
    "QwenImageImg2ImgPipeline": FROM,
    "QwenImageInpaintPipeline": {**FROM, "mask_image": MASK},
    "QwenImageEditPipeline": {"image": PHOTO, "true_cfg_scale": 1.0},
    "QwenImageEditPlusPipeline": {"image": [PHOTO, PHOTO], "true_cfg_scale": 3.0, "negative_prompt": "ugly"},
    "JoyImageEditPipeline": {"image": PHOTO, "guidance_scale": 3.0},
    "JoyImageEditPlusPipeline": {"images": [PHOTO, PHOTO], "guidance_scale": 3.0},
    "StableDiffusionXLImg2ImgPipeline": {**LATE, "guidance_scale": 3.0},
    "StableDiffusionXLInpaintPipeline": {**LATE, "mask_image": MASK},
    "StableDiffusionXLControlNetPipeline": {"image": PHOTO, "guidance_scale": 3.0},
    "StableDiffusionXLControlNetImg2ImgPipeline": {**LATE, "control_image": PHOTO},
    "StableDiffusionXLControlNetInpaintPipeline": {**LATE, "mask_image": MASK, "control_image": PHOTO},
    "StableDiffusionXLPAGPipeline": {"pag_scale": 2.0, "guidance_scale": 3.0},
    "StableDiffusionImg2ImgPipeline": {**LATE, "image": PHOTO.resize((32, 32)), "guidance_scale": 3.0},
    "StableDiffusionInpaintPipeline": {**LATE, "mask_image": MASK},
    "StableDiffusionControlNetPipeline": {"image": PHOTO, "guidance_scale": 3.0},
    "StableDiffusionControlNetImg2ImgPipeline": {**LATE, "control_image": PHOTO},
    "StableDiffusionControlNetInpaintPipeline": {**LATE, "mask_image": MASK, "control_image": PHOTO},
    "StableDiffusionPAGPipeline": {"pag_scale": 2.0},
    "ZImageImg2ImgPipeline": FROM,
    "ZImageInpaintPipeline": {**FROM, "mask_image": MASK},
    "Flux2KleinInpaintPipeline": {**FROM, "mask_image": MASK},
    "Flux2KleinKVPipeline": {"image": PHOTO},
    "StableDiffusion3ControlNetPipeline": {"control_image": PHOTO, "guidance_scale": 3.0},
    "StableDiffusion3ControlNetInpaintingPipeline": {"control_image": PHOTO, "control_mask": MASK},
    "QwenImageControlNetPipeline": {"control_image": PHOTO, "true_cfg_scale": 3.0, "negative_prompt": "ugly"},
    "QwenImageControlNetInpaintPipeline": {"control_image": PHOTO, "control_mask": MASK},
    "ZImageControlNetPipeline": {"control_image": PHOTO, "guidance_scale": 2.0},
    "ZImageControlNetInpaintPipeline": {"image": PHOTO, "mask_image": MASK, "control_image": PHOTO},
}


def paint(pipe: Any, prompt: Any = "a dragon on the rock", seeds: tuple[int, ...] = (0,), **settings: Any) -> Any:
    """Call a pipeline, small and quick: its pictures as ``(B, [F,] H, W, 3)``. seeds: one a picture."""
    prefix = next((name for name in NONE if type(pipe).__name__.startswith(name)), None)
    edge = EDGE * require_family(pipe).token_pixels // 16
    call = {
        "prompt": prompt,
        "num_inference_steps": 2,
        "height": edge,
        "width": edge,
        "max_sequence_length": 24,
        "generator": [torch.Generator().manual_seed(seed) for seed in seeds],
        "output_type": "np",
        **({"guidance_scale": NONE[prefix]} if prefix else {}),
        **settings,
    }
    if len(seeds) == 1:
        call["generator"] = call["generator"][0]
    if hasattr(pipe, "guider") and prefix:  # a part of the pipeline says what in others the call does
        pipe.guider.guidance_scale = call["guidance_scale"]
    if "LongCat" in type(pipe).__name__:
        call["enable_prompt_rewrite"] = False  # by its text encoder, which would have to be a real one
    torch.manual_seed(0)  # some pipelines draw from it what their VAE makes of a control picture
    if isinstance(pipe, diffusers.ModularPipeline):
        asked = set(pipe.blocks.input_names) & set(call)
        return pipe(**{**{name: call[name] for name in asked}, "output_type": "np"}, output="images")
    made = pipe(**taken(pipe.__call__, call))
    return made.frames if hasattr(made, "frames") else made.images


def taken(function: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """Those of the settings that a pipeline's function has."""
    return {name: value for name, value in settings.items() if name in inspect.signature(function).parameters}


def own_projection(pipe: Any) -> Any:
    """The last of its family's spaces, where it lacks the method's own."""
    spaces = require_family(pipe).projections
    return "output" if "output" in spaces else spaces[-1]


def record(pipe: Any, *args: Any, concepts: Any = CONCEPTS, **settings: Any) -> Any:
    with ConceptAttention(pipe, concepts, max_sequence_length=24, projection=own_projection(pipe)) as attention:
        paint(pipe, *args, **settings)
    return attention.maps()


@pytest.mark.parametrize("kind", KINDS)
def test_the_picture_is_the_same_and_the_pipeline_too(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # EditPlus brings its reference pictures to a million pixels each, which takes the tiny VAE half a minute.
    monkeypatch.setattr("diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus.VAE_IMAGE_SIZE", 96 * 96)
    pipe = make(kind)
    plain, (model,) = paint(pipe, **KINDS[kind]), denoisers(pipe)
    before = state_of(model)
    with ConceptAttention(pipe, CONCEPTS, max_sequence_length=24, projection=own_projection(pipe)) as attention:
        assert state_of(model) != before
        inside = paint(pipe, **KINDS[kind])
    assert np.array_equal(plain, inside) and np.std(plain) > 0
    assert state_of(model) == before
    maps = attention.maps().raw
    assert maps.scores.shape == (2, len(require_family(pipe).blocks(model)), 1, 3, 4, 4)
    assert maps.image_size == (4 * maps.token_pixels,) * 2 == plain.shape[1:3]
    assert 0.3 < maps.sigmas[0] <= 1 and maps.sigmas[1] < maps.sigmas[0]
    assert kind in ConceptAttention.supported()[maps.family]
    assert maps.scores.isfinite().all() and (maps.scores.std(dim=(-2, -1)) > 0).all()


@pytest.mark.parametrize("kind", CFG)
def test_the_negative_prompt_is_not_recorded(kind: str) -> None:
    """The first step sees the same noise with and without the negative prompt, which then leads it elsewhere."""
    pipe = make(kind)
    negative = {} if "Klein" in kind else {"negative_prompt": "ugly"}
    guided = record(pipe, **{**CFG[kind], **negative}).raw.scores
    alone = record(pipe).raw.scores
    other = record(pipe, "ugly").raw.scores
    assert guided.shape == alone.shape == other.shape
    assert_close(guided[0], alone[0], atol=1e-4, rtol=1e-4)
    assert (guided[1] - alone[1]).abs().max() > 1e-2 and (other[0] - alone[0]).abs().max() > 1e-2


@pytest.mark.parametrize("kind", [*CFG, "Flux2Pipeline"])
def test_several_pictures_are_each_their_own(kind: str) -> None:
    pipe = make(kind)
    prompts = ("a cat on the sofa", "a dragon on the rock")
    settings: dict[str, Any] = {**CFG.get(kind, {}), "width": 6 * require_family(pipe).token_pixels}
    negative = {"negative_prompt": ["ugly"] * 2} if kind.startswith(("QwenImage", "LongCat")) else {}
    each = 1 if kind == "JoyImageEditPlusPipeline" else 2  # which paints one picture of a prompt
    asked = [prompt for prompt in prompts for _ in range(2 // each)]
    maps = record(pipe, asked, seeds=(1, 2, 3, 4), num_images_per_prompt=each, **{**settings, **negative})
    assert len(maps) == 4 and maps.raw.scores.shape[-2:] == (4, 6)
    for index in range(4):
        alone = record(pipe, prompts[index // 2], seeds=(index + 1,), **settings)
        assert_close(maps[index].raw.scores, alone.raw.scores, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", ["StableDiffusion3Pipeline", "ZImagePipeline", "Flux2KleinPipeline"])
def test_the_command_line_finds_the_family_by_the_index_file(kind: str, tmp_path: Path) -> None:
    sizes = {"n_layers": 16} if kind == "ZImagePipeline" else {}  # whose maps are read from layer 14 on
    make(kind, **sizes).save_pretrained(tmp_path / "model")
    shared = ["--concepts", "dragon, rock", "--size", "64", "--model", str(tmp_path / "model"), "--device", "cpu"]
    call = ["generate", "a dragon on the rock", *shared, "--steps", "2", "--out", str(tmp_path / "new")]
    assert main(call) == 0
    made = load_maps(tmp_path / "new" / "maps.safetensors")
    assert kind in ConceptAttention.supported()[made.family] and made.scores.shape[2:] == (1, 3, 4, 4)
    picture = str(tmp_path / "new" / "picture.png")
    assert main(["encode", picture, *shared, "--seeds", "1", "--out", str(tmp_path / "old")]) == 0
    seen = load_maps(tmp_path / "old" / "maps.safetensors")
    assert seen.family == made.family and seen.sigmas == (0.5,) and seen.temperature == made.temperature


def test_the_evaluation_runs_on_it(tmp_path: Path) -> None:
    make("Flux2KleinPipeline").save_pretrained(tmp_path / "model")
    call = ["scenes", "--images", "1", "--size", "64", "--device", "cpu", "--model", str(tmp_path / "model")]
    assert evaluate([*call, "--ablate", "blocks", "--out", str(tmp_path / "report")]) == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    family = report["settings"]["family"]
    assert family["name"] == "FLUX.2" and family["depth"] == 3 and family["blocks"] == [-3, -1]
    ranges = {(row["method"]["first_block"], row["method"]["last_block"]) for row in report["rows"]}
    assert (ROOT / family["file"]).is_file() and ranges >= {(-3, -1), (0, 0), (1, 1), (2, 2)}


def test_a_model_of_no_family_is_told_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = {"_class_name": "StableDiffusionLDM3DPipeline", "_diffusers_version": "0.41.0"}
    (tmp_path / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    call = ["generate", "a boat", "--concepts", "boat, sea", "--model", str(tmp_path), "--out", str(tmp_path / "new")]
    assert main(call) == 2
    said = capsys.readouterr().err
    assert "does not know the pipeline StableDiffusionLDM3DPipeline" in said
    assert "The nearest pipeline is StableDiffusion3Pipeline" in said and not (tmp_path / "new").exists()


# A modular pipeline has no `encode_prompt`: test_diffusers_families has Anima's rows beside ComfyUI's.
READ = [kind for kind in CFG if kind != "AnimaModularPipeline"]


@pytest.mark.parametrize("kind", [*READ, "Flux2Pipeline", "QwenImageEditPipeline"])
def test_a_concept_is_its_own_pieces(kind: str) -> None:
    """Row for row what the pipeline makes of the concept as a prompt."""
    pipe = make(kind)
    caption = require_family(pipe).caption(pipe, "light house", 24)
    settings: dict[str, Any] = {"max_sequence_length": 24, "do_classifier_free_guidance": False}
    if kind == "StableDiffusionPipeline":
        settings |= {"device": "cpu", "num_images_per_prompt": 1}
    if kind == "StableDiffusion3Pipeline":
        settings |= {"prompt_2": "light house", "prompt_3": "light house"}
    if kind == "QwenImageEditPipeline":
        pipe = make("QwenImagePipeline")  # a concept has no picture beside it, and this template shows none
        edit = make(kind)
        pipe.prompt_template_encode = edit.prompt_template_encode.replace(PICTURE, "")
        pipe.prompt_template_encode_start_idx = edit.prompt_template_encode_start_idx
    if kind == "JoyImageEditPlusPipeline":
        pipe = make("JoyImageEditPipeline")  # whose template is the same, and needs no picture
    rows, more = pipe.encode_prompt(prompt="light house", **taken(pipe.encode_prompt, settings))[:2]
    # Krea 2's padding stands in the middle, and the models of the other two read none.
    rows = rows[0][more[0].bool()].flatten(1) if kind.startswith(("Krea2", "Lumina2", "Hunyuan")) else rows[0]
    place = PLACES[kind]
    assert caption.position == place and caption.length == len(rows)
    own = caption.tokens[list(caption.own)]
    assert len(own) == 2
    assert_close(own, rows[place : place + 2], atol=1e-6, rtol=0)


def test_stable_diffusion_3_without_t5_is_read_by_clip() -> None:
    pipe = make("StableDiffusion3Pipeline")
    pipe.text_encoder_3 = None
    caption = require_family(pipe).caption(pipe, "light house", 24)
    rows = pipe.encode_prompt(*["light house"] * 3, do_classifier_free_guidance=False, max_sequence_length=24)[0][0]
    assert caption.position == 0 and rows[0].any() and not rows[77:].any()
    assert_close(caption.tokens, rows[:2], atol=1e-6, rtol=0)


def test_skip_layer_guidance_adds_nothing() -> None:
    """It calls the transformer a second time a step, with the prompt alone, and leaves a block out."""
    pipe = make("StableDiffusion3Pipeline")
    plain = record(pipe, guidance_scale=3.0).raw
    skips = {"guidance_scale": 3.0, "skip_guidance_layers": [1], "skip_layer_guidance_stop": 1.0}
    picture = paint(pipe, **skips, skip_layer_guidance_start=0.0)
    with ConceptAttention(pipe, CONCEPTS, max_sequence_length=24) as attention:
        assert np.array_equal(paint(pipe, **skips, skip_layer_guidance_start=0.0), picture)
    skipped = attention.maps().raw
    assert skipped.scores.shape == plain.scores.shape and torch.equal(skipped.scores[0], plain.scores[0])


def test_perturbed_attention_guidance_is_one_clear_error() -> None:
    pipe = make("StableDiffusion3PAGPipeline", pag_applied_layers=["blocks.1"])
    with ConceptAttention(pipe, CONCEPTS, max_sequence_length=24), pytest.raises(ValueError, match="pag_scale=0"):
        paint(pipe, pag_scale=2.0)


def test_guidance_that_ends_early() -> None:
    """From there on the batch has no half of the negative prompt's, and two pictures are two."""
    pipe = make("ZImagePipeline")
    run = {"seeds": (1, 2), "num_images_per_prompt": 2, "num_inference_steps": 4}
    cut = record(pipe, **run, guidance_scale=2.0, cfg_truncation=0.4).raw
    whole = record(pipe, **run, guidance_scale=2.0).raw
    assert cut.scores.shape == whole.scores.shape == (4, 3, 2, 3, 4, 4)
    same = [torch.allclose(*pair, atol=1e-4) for pair in zip(cut.scores, whole.scores, strict=True)]
    assert same[0] and not same[-1]


def test_concepts_without_captions_are_told() -> None:
    pipe = make("QwenImagePipeline")
    with pytest.raises(ValueError, match="Qwen-Image needs to know where a concept's pieces stand"):
        ConceptAttention(pipe, Concepts(("a", "b"), 0, torch.zeros(1, 2, 16)))
    pipe.text_encoder = None
    with pytest.raises(ValueError, match="no text encoder"), ConceptAttention(pipe, CONCEPTS):
        pass
