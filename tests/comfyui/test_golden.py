"""Parity with the paper authors' own code, through the pack's public nodes on ComfyUI's own Flux."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from .helpers import APPLY, READ, conditioning, run_sampler, table_clip


@pytest.mark.usefixtures("rounded_exp")
def test_golden_case(golden: Any, pack: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    config, expected = golden.config, golden.tensors
    words = [f"concept{index}" for index in range(config["concepts"])]
    clip = table_clip(words, expected["concepts"][0])
    model, attention = pack["ConceptAttentionApply"].execute(golden.model, clip, ",".join(words), **APPLY)

    scores_module = sys.modules[pack["ConceptAttention"].__module__.rsplit(".", 2)[0] + ".conceptattention_core.scores"]
    seen = []
    real_block = scores_module.concept_block
    monkeypatch.setattr(scores_module, "concept_block", lambda *args: seen.append(real_block(*args)) or seen[-1])

    positive = conditioning(expected["context"], expected["pooled"], guidance=config["guidance"])
    sample, _ = run_sampler(model, positive, expected["latent"], [config["timestep"], 0.0])
    mask, *_, maps = pack["ConceptAttention"].execute(attention, {"samples": sample}, **READ)

    vectors = torch.stack([vectors.output for vectors in seen])
    assert_close(vectors, expected["concept_vectors"], atol=1e-5, rtol=0)
    assert_close(maps.scores[0].flatten(-2), expected["scores"], atol=5e-4, rtol=0)
    assert_close(maps.saliency(0, -1), expected["saliency"], atol=1e-5, rtol=0)
    unpatched, _ = run_sampler(golden.model, positive, expected["latent"], [config["timestep"], 0.0])
    assert torch.equal(sample, unpatched)
    h, w = config["latent_h"], config["latent_w"]
    assert mask.shape == (config["batch"], 8 * h, 8 * w) and maps.image_size == (8 * h, 8 * w)
