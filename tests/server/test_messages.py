"""What a user reads when a workflow cannot work: one clear message, at the node that has to be changed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tools.server.comfy_server import Refused, Server

pytestmark = pytest.mark.server


def test_unknown_concept(server: Server, workflow: Any) -> None:
    graph = workflow()
    apply = graph.apply("house, grass, sky")
    graph.read(apply[1], graph.sample(apply[0])[0], concept="hose")
    result = server.run(graph)
    assert result.failed_node == "ConceptAttention"
    assert "There is no concept 'hose'. Did you mean 'house'?" in result.error


def test_no_concept(server: Server, workflow: Any) -> None:
    graph = workflow()
    apply = graph.apply(" ,\n, ")
    graph.read(apply[1], graph.sample(apply[0])[0])
    result = server.run(graph)
    assert result.failed_node == "ConceptAttentionApply" and "No concept is named" in result.error


def test_a_percent_range_without_steps(server: Server, workflow: Any) -> None:
    graph = workflow()
    apply = graph.apply(start_percent=0.98, end_percent=0.99)
    graph.read(apply[1], graph.sample(apply[0])[0])
    result = server.run(graph)
    assert result.failed_node == "ConceptAttention" and "start_percent" in result.error


@pytest.mark.parametrize("source", ["another run", "a node in between", "an unpatched model", "no sampler"])
def test_a_latent_that_no_recorded_run_made(server: Server, workflow: Any, source: str) -> None:
    graph = workflow()
    apply = graph.apply()
    own = graph.sample(apply[0], seed=1)[0]
    if source == "another run":
        latent = graph.sample(graph.apply("sun, sea")[0], seed=2)[0]
    elif source == "a node in between":
        latent = graph.add("LatentFlip", samples=own, flip_method="y-axis: horizontally")[0]
    elif source == "an unpatched model":
        latent = graph.sample(graph.loader[0], seed=3)[0]
    else:
        latent = graph.latent[0]
    graph.read(apply[1], own)
    graph.read(apply[1], latent)
    result = server.run(graph)
    assert result.failed_node == "ConceptAttention"
    assert any(text in result.error for text in ("This LATENT was not made by", "No sampler has run on this")), source
    assert "Connect the" in result.error


def test_another_kind_of_model(server: Server, workflow: Any) -> None:
    """The smallest SD3 that ComfyUI recognises, loaded by its own node."""
    folder = server.base / "models" / "diffusion_models"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {
            "joint_blocks.0.context_block.attn.qkv.weight": torch.zeros(192, 64),
            "x_embedder.proj.weight": torch.zeros(64, 16, 2, 2),
            "x_embedder.proj.bias": torch.zeros(64),
            "pos_embed": torch.zeros(1, 64, 64),
            "y_embedder.mlp.0.weight": torch.zeros(64, 32),
            "context_embedder.weight": torch.zeros(64, 32),
            "context_embedder.bias": torch.zeros(64),
            "final_layer.linear.weight": torch.zeros(64, 64),
        },
        folder / "sd3.safetensors",
    )
    graph = workflow()
    sd3 = graph.add("UNETLoader", unet_name="sd3.safetensors", weight_dtype="default")
    apply = graph.apply(model=sd3[0])
    graph.read(apply[1], graph.sample(apply[0])[0])
    result = server.run(graph)
    assert result.failed_node == "ConceptAttentionApply" and "works on FLUX.1 models" in result.error


def test_a_wrong_wire_is_refused_when_queueing(server: Server, workflow: Any) -> None:
    graph = workflow()
    graph.read(graph.loader[0], graph.sample(graph.loader[0])[0])
    with pytest.raises(Refused) as refused:
        server.queue(graph)
    (node,) = refused.value.report["node_errors"].values()
    assert node["class_type"] == "ConceptAttention" and node["errors"][0]["type"] == "return_type_mismatch"


def test_the_log_holds_no_other_trouble(server: Server) -> None:
    """Loading the pack and running it writes no warning of its own."""
    assert "Cannot import" not in server.log_text() and "IMPORT FAILED" not in server.log_text()
