"""Anima in both hosts: the same text path and the same maps from the same weights."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
from diffusers.loaders import single_file_utils
from torch import Tensor
from torch.testing import assert_close
from transformers import BatchEncoding

from conceptattention_core import concepts as core
from conceptattention_core.adapters.diffusers.families import anima, find_family

from . import encoders
from .golden_cases import Case
from .graphs import randn
from .test_cosmos import MODELS
from .test_diffusers_families import record, weights_of
from .test_family_golden import core as pack_modules  # noqa: F401
from .test_family_golden import evaluate
from .test_video import build


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
    config, sizes, _, _ = MODELS["anima"]
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
