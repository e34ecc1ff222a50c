"""Every workflow of the pack: in the template browser, dropped on the canvas, and run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools.server.comfy_server import PACK, Graph, Refused

pytestmark = pytest.mark.browser

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
NAMES = sorted(file.stem for file in WORKFLOWS.glob("*.json"))
FLUX = "Mask things on FLUX1"

FAMILIES = [
    name for name in NAMES if name != FLUX and "DemoModel" not in (WORKFLOWS / f"{name}.json").read_text("utf-8")
]
"""Those that want files of a family."""

LOADERS = {
    *("UNETLoader", "VAELoader", "CheckpointLoaderSimple"),
    *("CLIPLoader", "DualCLIPLoader", "QuadrupleCLIPLoader"),
}

MISSING = "() => app.graph.nodes.map((node) => node.type).filter((type) => !LiteGraph.registered_node_types[type])"

CROWDED = """() => {
    const boxes = app.graph.nodes.map((node) => [node.title, ...node.pos, node.pos[0] + node.size[0],
        node.pos[1] + node.size[1]]);
    const groups = app.graph.groups.map(({pos, size}) => [...pos, pos[0] + size[0], pos[1] + size[1]]);
    return boxes.filter((one) => {
        const [title, left, top, right, bottom] = one;
        const on = (other) => left < other[3] && other[1] < right && top - 30 < other[4] && other[2] - 30 < bottom;
        const inside = (group) => group[0] <= left && group[1] <= top - 30 && right <= group[2] && bottom <= group[3];
        return !groups.some(inside) || boxes.some((other) => other !== one && on(other));
    }).map(([title, left, top, right, bottom]) => [title, right - left, bottom - top]);
}"""
"""The nodes that lie on another one or outside of their group, with their sizes; 30: a title bar."""


def test_the_template_browser_lists_every_workflow(front_end: Any) -> None:
    assert sorted(front_end.server.json("/workflow_templates")[PACK]) == NAMES
    assert sorted(file.stem for file in WORKFLOWS.glob("*.jpg")) == NAMES, "a thumbnail each: `tools.workflows.save`"
    for name in NAMES:
        path = f"/api/workflow_templates/{PACK}/{name.replace(' ', '%20')}"
        assert front_end.server.json(f"{path}.json") == json.loads((WORKFLOWS / f"{name}.json").read_text("utf-8"))
        assert front_end.server.request(f"{path}.jpg")[:2] == b"\xff\xd8", f"the thumbnail of {name} is no JPEG"


@pytest.mark.parametrize("name", [name for name in NAMES if name != FLUX and name not in FAMILIES])
def test_a_workflow_runs_as_it_is(front_end: Any, name: str) -> None:
    front_end.drop(name)
    assert front_end.page.evaluate(MISSING) == []
    result = front_end.run()
    assert result.ok, result.error
    shown = front_end.previews()
    front_end.page.wait_for_timeout(600)
    front_end.screenshot(name)
    assert shown, "nothing to look at"
    assert front_end.page.evaluate(CROWDED) == [], "a node has grown with what it shows"
    assert not [title for title, (_, _, colors) in shown.items() if colors == 1], "pictures of one flat colour"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_familys_workflow_lacks_nothing_but_files(front_end: Any, name: str) -> None:
    """Every node is there, and all that the server objects to is that the models are not on this machine."""
    front_end.drop(name)
    assert front_end.page.evaluate(MISSING) == []
    graph = Graph(front_end.page.evaluate("async () => (await app.graphToPrompt()).output"))
    with pytest.raises(Refused) as refused:
        front_end.server.queue(graph)
    errors = refused.value.report["node_errors"]
    assert errors and {graph[node]["class_type"] for node in errors} <= LOADERS
    assert {error["type"] for one in errors.values() for error in one["errors"]} == {"value_not_in_list"}


def test_the_flux_workflow_works_on_any_flux(front_end: Any) -> None:
    """It opens without missing nodes; with its three loaders replaced by the demo model's, the server runs it."""
    page = front_end.page
    front_end.drop(FLUX)
    assert page.evaluate(MISSING) == []
    front_end.screenshot("flux")
    graph = Graph(page.evaluate("async () => (await app.graphToPrompt()).output"))
    loaders = {"UNETLoader": 0, "DualCLIPLoader": 1, "VAELoader": 2}
    replaced = {node: loaders[spec["class_type"]] for node, spec in graph.items() if spec["class_type"] in loaders}
    assert len(replaced) == 3
    for node in replaced:
        del graph[node]
    for spec in graph.values():
        for key, value in spec["inputs"].items():
            if isinstance(value, list) and value[0] in replaced:
                spec["inputs"][key] = ["demo", replaced[value[0]]]
    graph["demo"] = {"class_type": "ConceptAttentionDemoModel", "inputs": {}}
    (latent,) = (spec for spec in graph.values() if spec["class_type"] == "EmptySD3LatentImage")
    (sampler,) = (spec for spec in graph.values() if spec["class_type"] == "KSampler")
    latent["inputs"] |= {"width": 128, "height": 128}
    sampler["inputs"]["steps"] = 2
    result = front_end.server.run(graph)
    assert result.ok, result.error
    assert len(result.entry["outputs"]) == 2  # the explorer, and its mask
