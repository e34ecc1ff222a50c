"""The workflows open well: by their files alone, as the front end saved them."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
README = (WORKFLOWS.parent / "README.md").read_text(encoding="utf-8")
FILES = sorted(WORKFLOWS.glob("*.json"))
TITLE = 30
"""Height of a node's title bar, above its position."""
EXPLORED = [file.stem for file in FILES if "ConceptAttentionExplorer" in file.read_text(encoding="utf-8")]

Box = tuple[float, float, float, float]


def box(node: dict[str, Any]) -> Box:
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


def overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_node_lies_on_another_and_each_in_a_group(file: Path) -> None:
    graph = json.loads(file.read_text(encoding="utf-8"))
    nodes = {node["id"]: node for node in graph["nodes"]}
    lying = [
        (one["type"], other["type"])
        for one, other in combinations(nodes.values(), 2)
        if overlap(box(one), box(other))
    ]
    assert not lying
    groups = [(x, y, x + width, y + height) for x, y, width, height in (one["bounding"] for one in graph["groups"])]
    assert not any(overlap(one, other) for one, other in combinations(groups, 2))
    for node in nodes.values():
        left, top, right, bottom = box(node)
        assert any(g[0] <= left and g[1] <= top and right <= g[2] and bottom <= g[3] for g in groups), node["type"]
    for _, source, _, target, *_ in graph["links"]:
        assert {source, target} <= nodes.keys()


@pytest.mark.parametrize("name", [file.stem for file in FILES])
def test_a_workflow_is_one_screen(name: str) -> None:
    graph = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
    boxes = [(x, y, x + width, y + height) for x, y, width, height in (one["bounding"] for one in graph["groups"])]
    width = max(one[2] for one in boxes) - min(one[0] for one in boxes)
    height = max(one[3] for one in boxes) - min(one[1] for one in boxes)
    # With two samplings, or two models, there are more columns.
    wide = {"Redo a thing in detail": 2010, "Mask things on Wan 22 14B": 1750}.get(name, 1450)
    assert width <= wide and height <= 900, (width, height)
    if name in EXPLORED:
        assert sum(node["type"] == "ConceptAttentionExplorer" for node in graph["nodes"]) == 1
    assert len(EXPLORED) == 28
    if name == "A demo, mask things while you sample":
        assert len(graph["nodes"]) <= 10


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_notes_are_words(file: Path) -> None:
    """Notes are read by people: no code marks."""
    graph = json.loads(file.read_text(encoding="utf-8"))
    texts = [text for node in graph["nodes"] if "Note" in node["type"] for text in node["widgets_values"]]
    assert texts and not any("`" in str(text) for text in texts)


LOADERS = ("UNETLoader", "CLIPLoader", "DualCLIPLoader", "QuadrupleCLIPLoader", "VAELoader", "CheckpointLoaderSimple")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_file_of_a_model_is_offered(file: Path) -> None:
    """What a loader names, from where and to which folder; and the CLIP is of the type that the README says."""
    graph = json.loads(file.read_text(encoding="utf-8"))
    for node in graph["nodes"]:
        if node["type"] not in LOADERS:
            continue
        named = {value for value in node["widgets_values"] if str(value).endswith(".safetensors")}
        offered = node["properties"].get("models", [])
        assert {one["name"] for one in offered} == named, node["type"]
        for one in offered:
            assert one["url"].startswith("https://huggingface.co/") and one["url"].endswith(f"/{one['name']}")
            assert one["directory"] in ("diffusion_models", "text_encoders", "vae", "checkpoints")
        if node["type"] == "CLIPLoader":
            family = file.stem.removeprefix("Mask things on ").replace("FLUX2 Klein", "FLUX.2").partition(" 22")[0]
            (row,) = (line for line in README.splitlines() if line.startswith(f"| {family} |"))
            assert f"CLIPLoader, type {node['widgets_values'][1]} " in row
