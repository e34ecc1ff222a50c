"""What a user reads when a workflow cannot work: one clear message, at the node that has to be changed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tools.server.comfy_server import Node, Refused, Server

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
    """With the CLIP of FLUX.1: the smallest SD3 that ComfyUI recognises, loaded by its own node."""
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
    assert result.failed_node
    assert result.failed_node == "ConceptAttentionApply"
    assert "This MODEL is Stable Diffusion 3" in result.error and "TripleCLIPLoader" in result.error


def test_a_wrong_wire_is_refused_when_queueing(server: Server, workflow: Any) -> None:
    graph = workflow()
    graph.read(graph.loader[0], graph.sample(graph.loader[0])[0])
    with pytest.raises(Refused) as refused:
        server.queue(graph)
    (node,) = refused.value.report["node_errors"].values()
    assert node["class_type"] == "ConceptAttention" and node["errors"][0]["type"] == "return_type_mismatch"


HALF = "x\ud83d"
"""Half a character, which JSON may hold and no log can show."""


@pytest.mark.parametrize("field", ["concepts", "background", "concept", "prompt", "filename_prefix", "mask concept"])
def test_half_a_character_does_not_stop_the_server(server: Server, workflow: Any, field: str) -> None:
    graph = workflow(prompt=HALF if field == "prompt" else "a house")
    own = {field: f"sky, {HALF}"} if field in ("concepts", "background") else {}
    apply = graph.apply(**own)
    reader = graph.add(
        "ConceptAttention",
        concept_attention=apply[1],
        samples=graph.sample(apply[0])[0],
        concept=HALF if field == "concept" else "",
        **{"threshold": 0.5, "softness": 0.1, "first_block": -10, "last_block": -1, "softmax_temperature": 1.0},
    )
    prefix = HALF if field == "filename_prefix" else "maps"
    graph.add("ConceptAttentionSave", maps=reader[3], filename_prefix=prefix)
    mask = graph.add("ConceptAttentionMask", maps=reader[3], **MASK, concept=HALF if "mask" in field else "")
    graph.add("MaskPreview", mask=mask[0])
    result = server.run(graph, timeout=60)
    if field != "prompt":  # that one is ComfyUI's own node's
        assert result.failed_node.startswith("ConceptAttention") and "holds half a character" in result.error
        assert f"`{field.split()[-1]}`" in result.error and "\\ud83d" in result.error
    plain = workflow()
    apply = plain.apply()
    plain.read(apply[1], plain.sample(apply[0])[0])
    assert server.run(plain, timeout=60).ok, "the queue goes on"


MASK = {
    "grow": 0,
    "blur": 0,
    "fill_holes": False,
    "min_area": 0.0,
    "invert": False,
    "refine_edges": True,
    "min_presence": 0.0,
    "first_block": -10,
    "last_block": -1,
    "softmax_temperature": 1.0,
}


@pytest.mark.parametrize(
    ("method", "problem"), [({}, ""), ({"method": "Otsu"}, "`method` is 'Otsu'. Choose one of: argmax, soft")]
)
def test_an_api_file_without_a_method(server: Server, workflow: Any, method: dict[str, str], problem: str) -> None:
    graph = workflow()
    apply = graph.apply()
    graph.read(apply[1], graph.sample(apply[0])[0])
    reader = graph.readers and next(node for node, spec in graph.items() if spec["class_type"] == "ConceptAttention")
    mask = graph.add("ConceptAttentionMask", maps=Node(reader)[3], concept="house", **MASK, **method)
    graph.add("MaskPreview", mask=mask[0])
    result = server.run(graph)
    assert result.ok is not bool(problem) and problem in result.error


def test_the_log_holds_no_other_trouble(server: Server) -> None:
    """Loading the pack and running it writes no warning of its own."""
    assert "Cannot import" not in server.log_text() and "IMPORT FAILED" not in server.log_text()
