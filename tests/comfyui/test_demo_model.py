"""The demo model is an ordinary Flux to ComfyUI: stock nodes load it, encode with it, sample it and change it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from conceptattention_core.evaluate.datasets.scenes.scenes import HELD_OUT, scene

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "demo_model").glob("*.safetensors"))
PROMPT = "a house and a palm tree on the sand under a sunset"


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    """As ComfyUI's executor runs nodes."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def demo(pack: dict[str, Any]) -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE from the node."""
    return tuple(pack["ConceptAttentionDemoModel"].execute().result)


@pytest.fixture(scope="module")
def prompt(comfy: SimpleNamespace, demo: tuple[Any, Any, Any]) -> Any:
    return comfy.nodes.CLIPTextEncode().encode(demo[1], PROMPT)[0]


def velocity(model: Any) -> Tensor:
    """One evaluation on fixed inputs."""
    draw = torch.Generator().manual_seed(0)
    x, context = torch.randn(2, 16, 32, 32, generator=draw), torch.randn(2, 32, 128, generator=draw)
    pooled = torch.randn(2, 64, generator=draw)
    return model.model.diffusion_model(x, torch.tensor([0.3, 0.8]), context, pooled)


def sampled(
    comfy: SimpleNamespace, demo: tuple[Any, Any, Any], positive: Any, model: Any = None, steps: int = 3
) -> Tensor:
    latent = comfy.nodes.EmptyLatentImage().generate(256, 256, 1)[0]
    empty = comfy.nodes.ConditioningZeroOut().zero_out(positive)[0]
    out = comfy.nodes.common_ksampler(model or demo[0], 7, steps, 1.0, "euler", "simple", positive, empty, latent)
    return out[0]["samples"]


def test_the_files_are_small_and_say_how_they_were_made() -> None:
    assert len(FILES) == 3
    assert sum(file.stat().st_size for file in FILES) <= 12_000_000
    for file in FILES:
        with safe_open(file, "pt") as opened:
            assert json.loads(opened.metadata()["made_by"])["command"].startswith("python tools/train_demo.py")


def test_the_stock_loader_gives_the_same_model(comfy: SimpleNamespace, demo: tuple[Any, Any, Any]) -> None:
    """UNETLoader is `comfy.sd.load_diffusion_model` on a path."""
    stock = comfy.sd.load_diffusion_model(str(ROOT / "demo_model" / "demo_flux.safetensors"))
    comfy.nodes.comfy.model_management.load_models_gpu([stock, demo[0]])
    assert type(stock.model).__name__ == "Flux"
    assert torch.equal(velocity(stock), velocity(demo[0]))


def test_the_vae_round_trip(comfy: SimpleNamespace, demo: tuple[Any, Any, Any]) -> None:
    scenes = [scene(HELD_OUT + index).image for index in range(16)]
    images = torch.from_numpy(np.stack(scenes)).float() / 255.0
    latent = comfy.nodes.VAEEncode().encode(demo[2], images)[0]
    assert latent["samples"].shape == (16, 16, 32, 32)
    back = comfy.nodes.VAEDecode().decode(demo[2], latent)[0].float()
    psnr = -10 * (back - images).square().mean(dim=(1, 2, 3)).log10()
    assert psnr.mean() >= 27.0


def test_the_latent_is_in_fluxs_format(comfy: SimpleNamespace, demo: tuple[Any, Any, Any]) -> None:
    """As the model sees it, a latent is about white."""
    images = torch.from_numpy(np.stack([scene(HELD_OUT + index).image for index in range(8)])).float() / 255.0
    seen = demo[0].model.process_latent_in(demo[2].encode(images))
    assert abs(seen.mean()) < 0.1
    assert 0.85 < seen.std() < 1.15


def test_tiled_coding(comfy: SimpleNamespace, demo: tuple[Any, Any, Any]) -> None:
    image = torch.from_numpy(scene(HELD_OUT, 512).image.copy()).float()[None] / 255.0
    latent = comfy.nodes.VAEEncodeTiled().encode(demo[2], image, 320, 64)[0]
    assert latent["samples"].shape == (1, 16, 64, 64)
    back = comfy.nodes.VAEDecodeTiled().decode(demo[2], latent, 320, 64)[0]
    assert back.shape == image.shape
    assert (back - image).abs().mean() < 0.1


def test_text_is_encoded_by_both_encoders(demo: tuple[Any, Any, Any], prompt: Any) -> None:
    (context, extra), *_ = prompt
    assert context.shape[0] == 1 and context.shape[2] == 128
    assert extra["pooled_output"].shape == (1, 64)
    assert context.isfinite().all() and extra["pooled_output"].isfinite().all()
    other = demo[1].encode_from_tokens(demo[1].tokenize("a boat on the sea"), return_dict=True)
    assert other["cond"].shape != context.shape or not torch.allclose(other["cond"], context)
    assert not torch.allclose(other["pooled_output"], extra["pooled_output"])


def test_flux_pieces_of_a_long_word(demo: tuple[Any, Any, Any]) -> None:
    """Concepts of several pieces, by Flux's own tokenizer: light+house, wind+mill, snow+man, palm+tree."""
    for word in ("lighthouse", "windmill", "snowman", "palm tree"):
        pieces = [piece for piece, _ in demo[1].tokenize(word)["t5xxl"][0]]
        assert pieces.index(1) == 2


def test_a_long_prompt_and_unknown_words(comfy: SimpleNamespace, demo: tuple[Any, Any, Any]) -> None:
    text = "an extraordinary (zebra:1.2) beside a house, " * 10
    encoded = comfy.nodes.CLIPTextEncode().encode(demo[1], text)[0]
    assert encoded[0][0].shape[1] > 32
    assert sampled(comfy, demo, encoded, steps=1).isfinite().all()


def test_text_encoders_equal_transformers(demo: tuple[Any, Any, Any]) -> None:
    """ComfyUI's T5 computes what the one that was trained computes."""
    transformers = pytest.importorskip("transformers")
    encoder = demo[1].cond_stage_model.t5xxl.transformer
    state = {name: tensor.float() for name, tensor in encoder.state_dict().items()}
    config = transformers.T5Config(
        vocab_size=32128, d_model=128, d_kv=64, num_heads=2, d_ff=256, num_layers=1, feed_forward_proj="gated-gelu"
    )
    reference = transformers.T5EncoderModel(config).eval()
    reference.load_state_dict(state | {"encoder.embed_tokens.weight": state["shared.weight"]})
    tokens = demo[1].tokenize(PROMPT)
    ids = torch.tensor([[piece for piece, _ in tokens["t5xxl"][0]]])
    expected = reference(ids).last_hidden_state
    assert torch.allclose(demo[1].encode_from_tokens(tokens), expected, atol=1e-5)


def test_the_sampler_makes_a_picture(comfy: SimpleNamespace, demo: tuple[Any, Any, Any], prompt: Any) -> None:
    guided = comfy.nodes.NODE_CLASS_MAPPINGS.get("FluxGuidance")
    positive = guided.execute(prompt, 3.5)[0] if guided else prompt
    picture = comfy.nodes.VAEDecode().decode(demo[2], {"samples": sampled(comfy, demo, positive)})[0]
    assert picture.shape == (1, 256, 256, 3)
    assert picture.isfinite().all()
    assert picture.std() > 0.05


def test_lora_changes_model_and_text(comfy: SimpleNamespace, demo: tuple[Any, Any, Any], prompt: Any) -> None:
    """One LoRA under the usual names, on a Flux block, on T5 and on CLIP-L."""
    draw = torch.Generator().manual_seed(1)
    shapes = {
        "lora_unet_double_blocks_0_img_attn_proj": (128, 128),
        "lora_te1_text_model_encoder_layers_0_mlp_fc1": (128, 64),
        "lora_te2_encoder_block_0_layer_1_DenseReluDense_wo": (128, 256),
    }
    lora = {}
    for name, (rows, columns) in shapes.items():
        lora[f"{name}.lora_up.weight"] = torch.randn(rows, 4, generator=draw)
        lora[f"{name}.lora_down.weight"] = torch.randn(4, columns, generator=draw)
    model, clip = comfy.sd.load_lora_for_models(demo[0], demo[1], lora, 1.0, 1.0)
    changed = comfy.nodes.CLIPTextEncode().encode(clip, PROMPT)[0]
    assert not torch.allclose(changed[0][0], prompt[0][0])
    assert not torch.allclose(changed[0][1]["pooled_output"], prompt[0][1]["pooled_output"])
    plain = sampled(comfy, demo, prompt, steps=1)
    assert not torch.allclose(sampled(comfy, demo, prompt, model=model, steps=1), plain)
    assert torch.equal(sampled(comfy, demo, prompt, steps=1), plain)


def test_a_missing_file_is_one_clear_error(pack: dict[str, Any], tmp_path: Path) -> None:
    load = pack["ConceptAttentionDemoModel"].execute.__func__.__globals__["load_demo_flux"]
    with pytest.raises(FileNotFoundError, match=r"demo_flux\.safetensors.*Install the pack again"):
        load(tmp_path)
