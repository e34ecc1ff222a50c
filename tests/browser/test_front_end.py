"""What a person does with the pack in the browser: drop a workflow, run it, look, search, ask for help."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.comfy_server import PACK, Graph

pytestmark = pytest.mark.browser

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
NAMES = ("Concept Attention Demo", "Concept Attention Flux")

DROP = """([name, text]) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([text], name, {type: 'application/json'}));
    const at = {clientX: innerWidth / 2, clientY: innerHeight / 2, bubbles: true, cancelable: true};
    document.querySelector('#graph-canvas').dispatchEvent(new DragEvent('drop', {...at, dataTransfer}));
}"""

PREVIEWS = """async () => {
    const shown = {};
    for (const node of app.graph.nodes.filter((node) => ['PreviewImage', 'MaskPreview'].includes(node.type))) {
        const image = node.imgs?.[0];
        if (!image?.complete || !image.naturalWidth) return null;
        const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight).getContext('2d');
        canvas.drawImage(image, 0, 0);
        const {data} = canvas.getImageData(0, 0, image.naturalWidth, image.naturalHeight);
        const colors = new Set(new Uint32Array(data.buffer));
        shown[node.title] = [image.naturalWidth, image.naturalHeight, colors.size];
    }
    return shown;
}"""

MISSING = "() => app.graph.nodes.map((node) => node.type).filter((type) => !LiteGraph.registered_node_types[type])"


def drop(front_end: Any, name: str) -> None:
    """Drop a workflow file on the canvas, and wait until it is there."""
    file = WORKFLOWS / f"{name}.json"
    count = len(json.loads(file.read_text(encoding="utf-8"))["nodes"])
    front_end.page.evaluate("() => app.graph.clear()")
    front_end.page.evaluate(DROP, [file.name, file.read_text(encoding="utf-8")])
    front_end.page.wait_for_function("(count) => app.graph.nodes.length === count", arg=count)
    front_end.page.click("[aria-label^='Fit View']")
    front_end.page.wait_for_timeout(600)  # the view glides there


def until(front_end: Any, condition: Callable[[], Any], timeout: float = 60) -> Any:
    """Wait for a condition, the page living on meanwhile, and return what it found."""
    end = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < end, f"nothing after {timeout} s"
        front_end.page.wait_for_timeout(200)
    return found


def press_run(front_end: Any) -> None:
    """Press Run until the server has the prompt: a front end that is still starting may let the first press go by."""

    def queued() -> bool:
        queue = front_end.server.json("/queue")
        return bool(queue["queue_running"] or queue["queue_pending"] or front_end.server.json("/history"))

    for _ in range(5):
        front_end.page.click("[data-testid=queue-button]")
        end = time.monotonic() + 10
        while not queued() and time.monotonic() < end:
            front_end.page.wait_for_timeout(200)
        if queued():
            return
    front_end.screenshot("not queued")
    raise AssertionError("the front end never queued the workflow")


def test_the_demo_runs_and_shows_its_maps(front_end: Any) -> None:
    page = front_end.page
    drop(front_end, NAMES[0])
    assert page.evaluate(MISSING) == []
    press_run(front_end)
    history = until(front_end, lambda: front_end.server.json("/history"), timeout=300)
    result = front_end.server.wait(next(iter(history)))
    assert result.ok, result.error
    shown = until(front_end, lambda: page.evaluate(PREVIEWS))
    page.wait_for_timeout(600)
    front_end.screenshot("demo")
    heat_maps = {title: values for title, values in shown.items() if title.startswith("Heat map: ")}
    assert len(heat_maps) == 4 and len(shown) == 8
    for title, (width, height, colors) in shown.items():
        assert width == 256 and (height > 256 if "all concepts" in title else height == 256)
        assert colors > (1 if "Mask" in title else 10), f"{title} is one flat colour"
    assert front_end.complaints == []


def test_a_node_is_found_by_what_it_is_for(front_end: Any) -> None:
    page = front_end.page
    for words in ("saliency", "text mask", "heatmap"):
        page.evaluate("() => app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
        page.get_by_placeholder("Add a node...").fill(words)
        page.get_by_text("Concept Attention", exact=True).first.wait_for()
        page.get_by_text("Apply Concept Attention", exact=True).first.wait_for()
        front_end.screenshot(f"search {words}")
        page.keyboard.press("Escape")
        page.get_by_placeholder("Add a node...").wait_for(state="hidden")


@pytest.mark.parametrize("name", ["ConceptAttentionApply", "ConceptAttention", "ConceptAttentionDemoModel"])
def test_a_help_page_opens(front_end: Any, name: str) -> None:
    page = front_end.page
    drop(front_end, NAMES[0])
    page.evaluate(
        "(name) => app.canvas.selectNode(app.graph.nodes.find((node) => node.type === name))",
        name,
    )
    page.click("[data-testid=info-button]")
    text = (WORKFLOWS.parent / "web" / "docs" / f"{name}.md").read_text(encoding="utf-8")
    last_hint = text.replace("`", "").replace("*", "").split("\n- ")[-1].split()[:4]
    page.get_by_text(" ".join(last_hint)).first.wait_for()
    front_end.screenshot(f"help {name}")
    page.click("[aria-label='Toggle properties panel']")


def test_the_flux_workflow_works_on_any_flux(front_end: Any) -> None:
    """It opens without missing nodes; with its three loaders replaced by the demo model's, the server runs it."""
    page = front_end.page
    drop(front_end, NAMES[1])
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
    assert len(result.entry["outputs"]) == 8
    assert front_end.complaints == []


def test_the_template_browser_lists_both_workflows(front_end: Any) -> None:
    assert sorted(front_end.server.json("/workflow_templates")[PACK]) == list(NAMES)
    for name in NAMES:
        path = f"/api/workflow_templates/{PACK}/{name.replace(' ', '%20')}"
        assert front_end.server.json(f"{path}.json") == json.loads((WORKFLOWS / f"{name}.json").read_text("utf-8"))
        assert front_end.server.request(f"{path}.jpg")[:2] == b"\xff\xd8", "the thumbnail is no JPEG"
