"""Families that only read the prompt and have no file of numbers: the same weights in both hosts."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
from diffusers.loaders import single_file_utils
from einops import rearrange
from torch import Tensor
from torch.testing import assert_close
from transformers import BatchEncoding

from conceptattention_core import concepts as core
from conceptattention_core.adapters.diffusers.families import FAMILIES, anima, find_family

from . import encoders
from . import test_cosmos as cosmos
from . import test_cross_families as cross
from . import test_family_oracle as oracle
from . import test_ltx2 as ltx2
from .golden_cases import Case
from .graphs import randn
from .test_diffusers_families import record, weights_of
from .test_family_golden import core as pack_modules  # noqa: F401
from .test_family_golden import evaluate
from .test_video import build


@pytest.mark.usefixtures("rounded_exp")
@pytest.mark.parametrize(("name", "projection"), [one for one in cosmos.SETTINGS if one[0] != "anima"])
def test_cosmos_is_what_comfyui_makes_of_it(name: str, projection: Any, pack_modules: Any) -> None:  # noqa: F811
    """ComfyUI's own numbers, which the model's own forward holds (test_cosmos)."""
    config, sizes, _, _ = cosmos.MODELS[name]
    model, level, grid = build(config, sizes, 5), 0.6, (3, 4, 6) if "video" in name else (1, 4, 6)
    seen = randn(2, 16, grid[0], 2 * grid[1], 2 * grid[2], seed=9)
    text, rows = randn(2, 7, encoders.WIDTH, seed=1), randn(1, 3, encoders.WIDTH, seed=2)
    tensors = {"x": seen / (1 - level), "context": text, "concepts": rows}
    if "video" in name:
        tensors["c_concat"] = torch.zeros(2, 1, *seen.shape[2:])
    case = Case(name, {"unet_config": sizes}, tensors)
    apply = pack_modules("adapters.comfy.sampling").apply_concept_attention
    patched, runs = apply(model, case.concepts(pack_modules("concepts")), projection, 0.0, 1.0)
    latent, _, velocity = evaluate(case, patched, level / (1 - level))
    expected = runs.find(latent)

    transformer = diffusers.CosmosTransformer3DModel(
        in_channels=sizes["in_channels"],
        num_layers=sizes["num_blocks"],
        num_attention_heads=sizes["num_heads"],
        attention_head_dim=sizes["model_channels"] // sizes["num_heads"],
        text_embed_dim=sizes["crossattn_emb_channels"],
        adaln_lora_dim=sizes["adaln_lora_dim"],
        rope_scale=(1.0, 1.0, 1.0),
        extra_pos_embed_type=None,
    )
    state = weights_of(model.model)
    transformer.load_state_dict(single_file_utils.convert_cosmos_transformer_checkpoint_to_diffusers(state))
    inputs = {"hidden_states": seen, "timestep": torch.full((2,), level), "encoder_hidden_states": text}
    inputs |= {"padding_mask": torch.zeros(1, 1, 8, 8), "condition_mask": tensors.get("c_concat")}
    family = find_family(transformer)
    assert family is not None
    maps, made = record(family, transformer.eval(), inputs, case.concepts(core), projection)
    assert_close(made, velocity, atol=5e-5, rtol=0)
    assert maps.family == expected.family and maps.scores.shape == expected.scores.shape
    assert_close(maps.scores, expected.scores, atol=5e-4, rtol=0)
    assert_close(maps.saliency(0, -1), expected.saliency(0, -1), atol=1e-5, rtol=0)


@pytest.mark.usefixtures("rounded_exp")
@pytest.mark.parametrize("projection", ["cross_attention", "value", "gram"])
@pytest.mark.parametrize("name", ltx2.MODELS)
def test_ltx2_is_what_comfyui_makes_of_it(name: str, projection: Any, pack_modules: Any) -> None:  # noqa: F811
    """As above (test_ltx2). In diffusers the connector is the pipeline's: captions come behind it here."""
    sizes, width = ltx2.MODELS[name]
    sizes = {**sizes, "causal_temporal_positioning": True, "use_middle_indices_grid": True, "rope_type": "split"}
    sizes["frequencies_precision"] = "float64"
    model, size, seen = build("LTXAV", sizes, 5), (3, 4, 6), []
    named = ltx2.concepts(pack_modules, width)
    patched, runs = pack_modules("adapters.comfy.sampling").apply_concept_attention(model, named, projection, 0.0, 1.0)
    dit = model.model.diffusion_model
    handle = dit.register_forward_hook(lambda *given: seen.append(given[1:]), with_kwargs=True)
    with torch.inference_mode():
        expected = runs.find(ltx2.sample(patched, width, size, True, 1))
        captions = [ltx2.rows_of(model.model, rows) for rows in ltx2.captions(width)]
    handle.remove()
    ((x, (level, _)), told, (made_video, made_sound)) = seen[0]
    newer, inner = name == "2.3", sizes["cross_attention_dim"] if name == "2.3" else sizes["caption_channels"]

    transformer = diffusers.LTX2VideoTransformer3DModel(
        **{one: sizes[one] for one in LTX2_SIZES},
        caption_channels=sizes["caption_channels"],
        cross_attn_mod=newer,
        audio_cross_attn_mod=newer,
        gated_attn=newer,
        audio_gated_attn=newer,
        use_prompt_embeddings=not newer,
        rope_type="split",
        cross_attn_timestep_scale_multiplier=1,
    )
    state = single_file_utils.convert_ltx2_transformer_to_diffusers(weights_of(model.model))
    state = {one.replace("prompt_adaln_single", "prompt_adaln"): value for one, value in state.items()}
    transformer.load_state_dict(state)
    text = told["context"]
    inputs = {
        "hidden_states": rearrange(x[0], "b c t h w -> b (t h w) c"),
        "audio_hidden_states": rearrange(x[1], "b c t f -> b t (c f)"),
        "encoder_hidden_states": text[..., :inner],
        "audio_encoder_hidden_states": text[..., inner:],
        "timestep": 1000 * level,
        "sigma": 1000 * level,
        "audio_num_frames": x[1].shape[2],
        "fps": told["frame_rate"],
        **dict(zip(("num_frames", "height", "width"), size, strict=True)),
    }
    own = [core.Caption(rows[:, :inner], (at,), at, len(rows)) for rows, at in zip(captions, ltx2.OWN, strict=True)]
    concepts = core.Concepts(tuple("abc"), 0, torch.zeros(1, 3, inner), tuple(own))
    (family,) = [family for family in FAMILIES if family.owns(transformer)]
    maps, (made, sound) = record(family, transformer.eval(), inputs, concepts, projection)
    assert_close(rearrange(made, "b (t h w) c -> b c t h w", t=3, h=4), made_video, atol=5e-5, rtol=0)
    assert_close(rearrange(sound, "b t (c f) -> b c t f", c=8), made_sound, atol=5e-5, rtol=0)
    assert maps.family == expected.family and maps.scores.shape == expected.scores.shape
    assert_close(maps.scores, expected.scores, atol=5e-4, rtol=0)
    assert_close(maps.saliency(0, -1), expected.saliency(0, -1), atol=1e-5, rtol=0)


LTX2_SIZES = ("in_channels", "cross_attention_dim", "attention_head_dim", "num_attention_heads", "num_layers")
LTX2_SIZES += ("audio_cross_attention_dim", "audio_attention_head_dim", "audio_num_attention_heads")


@pytest.mark.usefixtures("rounded_exp")
@pytest.mark.parametrize("projection", ["cross_attention", "value"])
def test_stable_diffusion_1_is_what_comfyui_makes_of_it(projection: Any, pack_modules: Any) -> None:  # noqa: F811
    """As Ovis-Image, with sides that are whole on neither grid."""
    given = oracle.Given("SD15", cross.SD15, cross.WIDTH, channels=4, size=(7, 10))
    model, text = cross.unet("SD15", cross.SD15), randn(1, oracle.PROMPT, cross.WIDTH, seed=1)
    apply = pack_modules("adapters.comfy.sampling").apply_concept_attention
    patched, runs = apply(model, cross.concepts(pack_modules), projection, 0.0, 1.0)
    latent, denoised = oracle.evaluate(patched, given, text)
    expected = runs.find(latent)

    transformer = diffusers.UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        attention_head_dim=2,  # which is the number of heads
        cross_attention_dim=cross.WIDTH,
    )
    state = {f"model.diffusion_model.{name}": value for name, value in weights_of(model.model).items()}
    transformer.load_state_dict(single_file_utils.convert_ldm_unet_checkpoint(state, {"layers_per_block": 1}))
    level = torch.tensor(oracle.SIGMA)
    x = randn(1, given.channels, *given.size, seed=9)
    inputs = {
        "sample": x / (level**2 + 1).sqrt(),
        "timestep": model.model.model_sampling.timestep(level),
        "encoder_hidden_states": text,
    }
    (family,) = [family for family in FAMILIES if family.owns(transformer)]
    maps, made = record(family, transformer.eval(), inputs, cross.concepts(lambda _: core), projection)
    assert_close(x - level * made, denoised, atol=5e-5, rtol=0)
    assert maps.scores.shape == expected.scores.shape == (1, 7, 1, 3, 7, 10)
    assert_close(maps.scores, expected.scores, atol=5e-5, rtol=0)
    assert_close(maps.saliency(), expected.saliency(), atol=1e-5, rtol=0)
    assert maps.token_pixels == expected.token_pixels == 8


class Words:
    """What Anima's tokenizers make of a text in this test: its own letters' numbers."""

    def __call__(self, text: list[str], **more: Any) -> BatchEncoding:
        ids = torch.tensor([[ord(letter) % 32 for letter in text[0]]])
        return BatchEncoding({"input_ids": ids, "attention_mask": torch.ones_like(ids)})


class Reads:
    """Its text encoder, which answers with these rows."""

    dtype = torch.float32

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def __call__(self, **given: Any) -> Any:
        return SimpleNamespace(last_hidden_state=self.rows)


@torch.no_grad()
@pytest.mark.usefixtures("rounded_exp")
@pytest.mark.parametrize("projection", ["cross_attention", "value"])
def test_anima_is_what_comfyui_makes_of_it(
    projection: Any, pack_modules: Any, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:
    """Cosmos-Predict2 behind an adapter, which is the model's own in ComfyUI and the pipeline's in diffusers."""
    from comfy.ldm.anima import model as host

    source, target = encoders.WIDTH, 32
    small = {"source_dim": source, "target_dim": target, "model_dim": 64, "num_layers": 2}
    monkeypatch.setattr(host, "LLMAdapter", partial(host.LLMAdapter, **small, num_heads=2))
    config, sizes, _, _ = cosmos.MODELS["anima"]
    model, level, names = build(config, sizes, 5), 0.6, ("a", "sea", "boat")
    seen, text = randn(2, 16, 1, 8, 12, seed=9), randn(2, 7, target, seed=1)
    read = {name: randn(1, len(name), source, seed=at) for at, name in enumerate(names)}
    case = Case("anima", {"unet_config": sizes}, {"x": seen, "context": text})
    module, words = pack_modules("concepts"), Words()
    captions = []
    for name in names:
        numbers = tuple(words([name])["input_ids"][0].tolist())
        captions.append(module.Caption(read[name][0], tuple(range(len(name))), 0, len(name), numbers))
    apply = pack_modules("adapters.comfy.sampling").apply_concept_attention
    empty = torch.zeros(1, 3, source)
    patched, runs = apply(model, module.Concepts(names, 0, empty, tuple(captions)), projection, 0.0, 1.0)
    latent, _, velocity = evaluate(case, patched, level)
    expected = runs.find(latent)

    state = weights_of(model.model)
    adapter = {name.partition(".")[2]: state.pop(name) for name in list(state) if name.startswith("llm_adapter.")}
    conditioner = diffusers.AnimaTextConditioner(**small, num_attention_heads=2)
    conditioner.load_state_dict(adapter)
    transformer = diffusers.CosmosTransformer3DModel(
        in_channels=sizes["in_channels"],
        num_layers=sizes["num_blocks"],
        num_attention_heads=sizes["num_heads"],
        attention_head_dim=sizes["model_channels"] // sizes["num_heads"],
        text_embed_dim=target,
        adaln_lora_dim=sizes["adaln_lora_dim"],
        rope_scale=(1.0, 1.0, 1.0),
        extra_pos_embed_type=None,
    )
    transformer.load_state_dict(single_file_utils.convert_cosmos_transformer_checkpoint_to_diffusers(state))
    family = find_family(transformer, ["AnimaModularPipeline"])
    assert family is not None and family.name == expected.family == "Anima"

    def rows_of(name: str) -> Tensor:
        """As the family has them, from a pipeline of these parts."""
        parts = {"tokenizer": words, "t5_tokenizer": words, "text_conditioner": conditioner, "transformer": transformer}
        pipe = SimpleNamespace(text_encoder=Reads(read[name]), _execution_device=torch.device("cpu"), **parts)
        return anima.rows_of(pipe, name, 512)[0, : len(name)]

    pooled = torch.stack([rows_of(name).mean(dim=0) for name in names])[None]
    inputs = {"hidden_states": seen, "timestep": torch.full((2,), level), "encoder_hidden_states": text}
    inputs["padding_mask"] = torch.zeros(1, 1, 8, 12)
    maps, made = record(family, transformer.eval(), inputs, core.Concepts(names, 0, pooled), projection)
    assert_close(made, velocity, atol=5e-5, rtol=0)
    assert_close(maps.scores, expected.scores, atol=5e-4, rtol=0)
    assert_close(maps.saliency(0, -1), expected.saliency(0, -1), atol=1e-5, rtol=0)
