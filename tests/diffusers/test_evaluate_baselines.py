"""CLIP's and DINO's rows in the evaluation: on tiny random models, against their formulas worked out on the spot."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from conceptattention_core.adapters.diffusers.demo import demo_folder
from conceptattention_core.evaluate.baselines.attention import rollout, stretch
from conceptattention_core.evaluate.baselines.clip import Clip
from conceptattention_core.evaluate.baselines.dino import Dino
from conceptattention_core.evaluate.baselines.vision import to_pixels
from conceptattention_core.evaluate.cli import main

NEEDS_DEMO = pytest.mark.skipif(not any(demo_folder().glob("*.safetensors")), reason="the demo model is not there")
SIDE, GRID = 32, 4
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": SIDE, "patch_size": 8}
NAMES = ["cat", "sofa", "dragon"]


def save(model: Any, folder: Path) -> Path:
    """A model with weights large enough that its attention is far from even, as the hub has them."""
    torch.manual_seed(5)
    for name, weight in model.named_parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.02 if "patch_embedding" in name else 0.5)
    model.save_pretrained(folder)
    settings = {"image_processor_type": "ViTImageProcessor", "image_mean": MEAN, "image_std": STD}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("clip")
    words = ["<pad>", "</s>", "<unk>", "a", "photo", "of", *NAMES]
    backend = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    specials = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=77, **specials).save_pretrained(folder)
    text = {
        "vocab_size": 16,
        "bos_token_id": 1,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "eos_token_id": 1,
    }
    config = CLIPConfig(text_config=text, vision_config={**SIZES, "intermediate_size": 24}, projection_dim=12)
    return save(CLIPModel(config), folder)


@pytest.fixture(scope="module")
def dino_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from transformers import (
        Dinov2Config,
        Dinov2Model,
        Dinov2WithRegistersConfig,
        Dinov2WithRegistersModel,
        DINOv3ViTConfig,
        DINOv3ViTModel,
        ViTConfig,
        ViTModel,
    )

    models = {
        "v1": ViTModel(ViTConfig(**SIZES, intermediate_size=24), add_pooling_layer=False),
        "v2": Dinov2Model(Dinov2Config(**SIZES, mlp_ratio=2)),
        "v3": DINOv3ViTModel(DINOv3ViTConfig(**SIZES, intermediate_size=24, num_register_tokens=3)),
        "registers": Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**SIZES, mlp_ratio=2, num_register_tokens=3)),
    }
    return {name: save(model, tmp_path_factory.mktemp(name)) for name, model in models.items()}


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (48, 72, 3), dtype=np.uint8)


def looked_at(folder: Path, pixels: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
    """CLIP's own answer to the texts, by its own forward: logits ``(C,)``, each layer's attention ``(1, heads, T, T)``,
    and what the last layer's first norm makes of the tokens ``(1, T, D)``.
    """
    from transformers import AutoTokenizer, CLIPModel

    model: Any = CLIPModel.from_pretrained(folder, attn_implementation="eager").eval()
    texts = AutoTokenizer.from_pretrained(folder)([f"a photo of a {name}" for name in NAMES], return_tensors="pt")
    texts.pop("token_type_ids", None)
    tokens: list[Tensor] = []
    attentions: list[Tensor] = []
    layers = model.vision_model.encoder.layers
    layers[-1].layer_norm1.register_forward_hook(lambda _module, _inputs, output: tokens.append(output))
    for layer in layers:
        layer.self_attn.register_forward_hook(lambda _module, _inputs, output: attentions.append(output[1]))
    return model(**texts, pixel_values=pixels).logits_per_image[0], attentions, tokens[0]


def test_gradcam_weights_the_heads_with_their_gradient(clip_folder: Path, picture: np.ndarray) -> None:
    logits, attentions, _ = looked_at(clip_folder, to_pixels(picture, SIDE, MEAN, STD))
    found = Clip(str(clip_folder), "cpu").attention_gradcam(picture, NAMES)
    for logit, one in zip(logits, found, strict=True):
        (gradient,) = torch.autograd.grad(logit, attentions[-1], retain_graph=True)
        (left, right), (slope, other) = attentions[-1][0, :, 0, 1:].detach(), gradient[0, :, 0, 1:]
        expected = (left * slope.mean() + right * other.mean()) / 2
        assert expected.std() > 1e-4
        torch.testing.assert_close(one.flatten(), expected, rtol=1e-4, atol=1e-6)


def test_gradcam_weights_the_features_with_their_gradient(clip_folder: Path, picture: np.ndarray) -> None:
    """By captum, against the model's own forward and autograd; and nothing stays on the model."""
    pytest.importorskip("captum")
    logits, _, tokens = looked_at(clip_folder, to_pixels(picture, SIDE, MEAN, STD))
    clip = Clip(str(clip_folder), "cpu")
    for logit, one in zip(logits, clip.feature_gradcam(picture, NAMES), strict=True):
        (gradient,) = torch.autograd.grad(logit, tokens, retain_graph=True)
        expected = (tokens[0, 1:] @ gradient[0, 1:].mean(dim=0)).detach()
        assert expected.std() > 1e-4 and expected.min() < 0
        torch.testing.assert_close(one.flatten(), expected, rtol=1e-4, atol=1e-5)
    assert not any(module._forward_hooks for module in clip._model.modules())


def test_relevance_gathers_through_the_layers(clip_folder: Path, picture: np.ndarray) -> None:
    logits, attentions, _ = looked_at(clip_folder, to_pixels(picture, SIDE, MEAN, STD))
    found = Clip(str(clip_folder), "cpu").relevance(picture, NAMES)
    for logit, one in zip(logits, found, strict=True):
        gradients = torch.autograd.grad(logit, attentions, retain_graph=True)
        first, second, third = (
            torch.relu(gradient[0] * attention[0]).sum(dim=0) / 2
            for gradient, attention in zip(gradients, attentions, strict=True)
        )
        identity = torch.eye(len(first))
        gathered = (identity + third) @ (identity + second) @ (identity + first)
        torch.testing.assert_close(one.flatten(), gathered[0, 1:].detach(), rtol=1e-4, atol=1e-6)
    assert found.std(dim=0).max() > 1e-4  # each name has its own


def test_rollout_of_two_layers_by_hand() -> None:
    """Two heads whose mean is ((0.5, 0.5), (0, 1)), then one layer that swaps the two tokens."""
    first = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    second = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    # (first + 1) / 2 = ((0.75, 0.25), (0, 1)); (second + 1) / 2 = all 0.5
    torch.testing.assert_close(rollout([first, second]), torch.tensor([[0.375, 0.625], [0.375, 0.625]]))


@pytest.mark.parametrize("version", ["v1", "v2", "registers"])
def test_dino_is_the_last_layers_softmax(dino_folders: dict[str, Path], version: str, picture: np.ndarray) -> None:
    """The class token's queries by the patches' keys, as the last layer's own linear layers have made them."""
    dino = Dino(str(dino_folders[version]), "cpu")
    made: dict[str, Tensor] = {}
    for name, module in dino._model.named_modules():
        kind = name.rsplit(".", 1)[-1]
        if kind in ("query", "q_proj", "key", "k_proj"):  # the last layer's is the last that is kept
            module.register_forward_hook(lambda _m, _i, output, kind=kind[0]: made.update({kind: output[0]}))
    found = dino.attention(picture, NAMES)
    queries, keys = (made[kind].reshape(-1, 2, 8).permute(1, 0, 2) for kind in "qk")
    attention = torch.softmax(queries @ keys.transpose(1, 2) / 8**0.5, dim=-1).mean(dim=0)
    expected = attention[0, -GRID * GRID :].reshape(GRID, GRID)
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected.expand(3, -1, -1))
    assert dino.weights == Dino(str(dino_folders[version]), "cpu").weights  # though a pooler is made up each time


def test_dino_v3(dino_folders: dict[str, Path], picture: np.ndarray) -> None:
    """Patches stand behind the registers; of the model's own attention, which turns queries and keys by their place."""
    dino = Dino(str(dino_folders["v3"]), "cpu")
    pixels = to_pixels(picture, SIDE, MEAN, STD)
    (attention,) = dino._model(pixels, output_attentions=True).attentions[-1]
    expected = attention.mean(dim=0)[0, 1 + 3 :].reshape(GRID, GRID)
    torch.testing.assert_close(dino.attention(picture, ["cat"])[0], expected)


def rows_of(clip_folder: Path, dino_folder: Path) -> dict[str, Callable[..., Tensor]]:
    clip, dino = Clip(str(clip_folder), "cpu"), Dino(str(dino_folder), "cpu")
    return {
        **{"features": clip.feature_gradcam, "heads": clip.attention_gradcam, "relevance": clip.relevance},
        **{"rollout": clip.rollout, "dino": dino.attention},
    }


@pytest.mark.parametrize("row", ["features", "heads", "relevance", "rollout", "dino"])
def test_a_spot_is_where_it_is(row: str, clip_folder: Path, dino_folders: dict[str, Path]) -> None:
    """In a plain picture, to a model that knows no places, one patch differs: second row, third place."""
    if row == "features":
        pytest.importorskip("captum")
    reads = rows_of(clip_folder, dino_folders["registers"])
    model: Any = reads[row].__self__._model  # type: ignore[attr-defined]
    for name, weight in model.named_parameters():
        if "position_embedding" in name:
            weight.data.zero_()
    plain = np.full((2 * SIDE, 4 * SIDE, 3), 90, dtype=np.uint8)  # patches of 16 by 32 pixels
    plain[16 + 4 : 32 - 4, 64 + 8 : 96 - 8] = (255, 0, 60)
    found = reads[row](plain, NAMES[:1])[0]
    elsewhere = torch.ones(GRID, GRID, dtype=torch.bool)
    elsewhere[1, 2] = False
    others = found[elsewhere]
    assert (others.max() - others.min()) < 1e-5 < (found[1, 2] - others.mean()).abs()


def test_maps_are_cut_at_zero_and_stretched() -> None:
    found = stretch(torch.tensor([[[-2.0, 0.0], [1.0, 4.0]]]))
    assert found.tolist() == [[[0, 0], [0.25, 1]]]
    assert stretch(torch.full((1, 2, 2), 3.0)).tolist() == [[[0, 0], [0, 0]]]


@NEEDS_DEMO
def test_clip_on_the_scenes(clip_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three more rows for pictures with several things; a second run with more pictures keeps what is done."""
    pytest.importorskip("captum")
    call = ["scenes", "--size", "128", "--device", "cpu", "--baselines", "clip", "--clip-model", str(clip_folder)]
    call += ["--out", str(tmp_path)]
    assert main([*call, "--images", "1"]) == 0
    first = (tmp_path / "pictures-0.jsonl").read_bytes()
    assert main([*call, "--images", "2"]) == 0
    assert (tmp_path / "pictures-0.jsonl").read_bytes().startswith(first)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    *ours, gradcam, heads, relevance = report["rows"]
    assert [row["name"] for row in (gradcam, heads)] == ["GradCAM of features, CLIP", "GradCAM of attention, CLIP"]
    assert len(ours) == 3 and gradcam["class_iou"] != relevance["class_iou"] and gradcam["map"] is None
    assert report["settings"]["baselines"] == [row["method"] for row in (gradcam, heads, relevance)]
    assert gradcam["method"]["weights"] == Clip(str(clip_folder), "cpu").weights
    table = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert (
        f"| **GradCAM of features, CLIP** | {100 * gradcam['accuracy']:.2f} | {100 * gradcam['true_miou']:.2f} |"
        in table
    )
    assert gradcam["method"]["weights"] in table
    capsys.readouterr()
    assert main([*call[:5], "--out", str(tmp_path)]) == 2  # without them it is another run
    assert "baselines" in capsys.readouterr().err


@NEEDS_DEMO
def test_one_object_a_picture(clip_folder: Path, dino_folders: dict[str, Path], tmp_path: Path) -> None:
    """VOC's single-class protocol has every row; DINO's numbers are those of its map, above its own mean."""
    pytest.importorskip("captum")
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / "VOC2012" / name).mkdir(parents=True)
    numbers = np.zeros((30, 50), dtype=np.uint8)
    numbers[5:25, 10:30] = 8
    pixels = np.random.default_rng(1).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "VOC2012/JPEGImages/a.jpg")
    Image.fromarray(numbers).save(tmp_path / "VOC2012/SegmentationClass/a.png")
    (tmp_path / "VOC2012/ImageSets/Segmentation/val.txt").write_text("a\n")
    call = ["voc", "--data", str(tmp_path / "VOC2012"), "--device", "cpu", "--size", "64", "--label-size", "full"]
    call += ["--out", str(tmp_path / "out"), "--baselines", "dino", "clip", "--clip-model", str(clip_folder)]
    assert main([*call, "--dino-model", str(dino_folders["v1"]), "--background", "sofa, dragon"]) == 0
    rows = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))["rows"]
    kinds = [row["method"]["baseline"] for row in rows[3:]]
    assert kinds == ["feature_gradcam", "attention_gradcam", "relevance", "rollout", "attention"] and all(
        0 < row["map"] < 1 for row in rows[3:]
    )

    seen = np.array(Image.open(tmp_path / "VOC2012/JPEGImages/a.jpg"))
    coarse = Dino(str(dino_folders["v1"]), "cpu").attention(seen, ["cat"])
    fine = torch.nn.functional.interpolate(coarse[None], (30, 50), mode="nearest-exact")[0, 0]
    right = (fine > coarse.mean()).numpy() == (numbers == 8)
    assert rows[-1]["accuracy"] == right.mean()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--baselines", "dino"], "DINO knows no names"),
        (["--baselines", "clip", "--clip-model", "no/such/folder"], "--clip-model no/such/folder cannot be loaded"),
        (["--baselines", "clip", "--clip-model", "DINO"], "it is of type vit, not clip"),
        (["--baselines", "clip", "--clip-model", "PART"], "its file has no visual_projection.weight"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str],
    told: str,
    clip_folder: Path,
    dino_folders: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "clip" in arguments:
        pytest.importorskip("captum")
    shutil.copytree(clip_folder, tmp_path / "part")
    weights = load_file(clip_folder / "model.safetensors")
    weights.pop("visual_projection.weight")
    save_file(weights, tmp_path / "part" / "model.safetensors", {"format": "pt"})
    folders = {"DINO": str(dino_folders["v1"]), "PART": str(tmp_path / "part")}
    asked = [folders.get(one, one) for one in arguments]
    assert main(["scenes", "--images", "1", *asked]) == 2
    said = capsys.readouterr().err.splitlines()[-1]  # transformers may have had its say before
    assert said.startswith("error: ") and told in said


def test_without_captum_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    assert main(["scenes", "--images", "1", "--baselines", "clip"]) == 2
    assert "pip install captum" in capsys.readouterr().err
