"""Concept Explorer in the real front end, in both of its renderers: what is seen is what the node gives."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tools.server.comfy_server import Node
from tools.server.front_end import fit_view, wait_for_start

from .making import MAKE

pytestmark = pytest.mark.browser

BUILD = "async () => {" + MAKE + """
    const model = add('ConceptAttentionDemoModel', 0, 0);
    const positive = add('CLIPTextEncode', 250, 200, {text: 'boat, sea, sky'});
    const negative = add('CLIPTextEncode', 250, 450, {text: ''});
    const latent = add('EmptySD3LatentImage', 0, 300, {width: 192, height: 160, batch_size: 2});
    const apply = add('ConceptAttentionApply', 250, -250, {concepts: 'boat, sea, sky'});
    const sampler = add('KSampler', 750, 0, {
        seed: 4, control_after_generate: 'fixed', steps: 6, cfg: 7, sampler_name: 'euler', scheduler: 'simple'});
    const decode = add('VAEDecode', 1100, 0);
    const explorer = add('ConceptAttentionExplorer', 1350, 0);
    const image = add('MaskToImage', 1900, 0);
    const save = add('SaveImage', 1900, 150);
    link(model, 'MODEL', apply, 'model'); link(model, 'CLIP', apply, 'clip');
    link(model, 'CLIP', positive, 'clip'); link(model, 'CLIP', negative, 'clip');
    link(apply, 'MODEL', sampler, 'model'); link(positive, 'CONDITIONING', sampler, 'positive');
    link(negative, 'CONDITIONING', sampler, 'negative'); link(latent, 'LATENT', sampler, 'latent_image');
    link(sampler, 'LATENT', decode, 'samples'); link(model, 'VAE', decode, 'vae');
    link(apply, 'CONCEPT_ATTENTION', explorer, 'maps'); link(sampler, 'LATENT', explorer, 'samples');
    link(decode, 'IMAGE', explorer, 'image');
    link(explorer, 'mask', image, 'mask'); link(image, 'IMAGE', save, 'images');
    await app.loadGraphData(app.graph.serialize());  // as a file is opened
    return String(save.id);
}"""

CANVAS = """() => {
    const canvas = explorer().page.canvas, {width, height} = canvas;
    return [width, height, Array.from(canvas.getContext('2d').getImageData(0, 0, width, height).data)];
}"""
APPLIED = """() => {
    const canvas = app.graph.nodes.find((node) => node.type === 'ConceptAttentionApply').conceptLive;
    if (!canvas) return null;
    const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return [new Set(new Uint32Array(data.buffer)).size];
}"""
BARS = """() => [...document.querySelectorAll('.concept-explorer .bars > *')].map(
    (bar) => [parseFloat(bar.style.height), bar.className])"""
FIND = "window.explorer = () => app.graph.nodes.find((n) => n.type === 'ConceptAttentionExplorer').conceptExplorer"


class Driver:
    """A person's hands on the explorer."""

    def __init__(self, front_end: Any) -> None:
        self.front_end, self.page = front_end, front_end.page

    def ready(self) -> None:
        self.page.evaluate(FIND)
        self.settle()

    def run(self) -> Any:
        result = self.front_end.run()
        assert result.ok, result.error
        self.page.evaluate(FIND)
        (key,) = {shown["explorer"][0] for shown in result.entry["outputs"].values() if "explorer" in shown}
        self.front_end.until(lambda: self.page.evaluate("() => explorer()?.kept.key") == key)
        self.settle()
        if not self.control("canvas").is_visible():  # on a busy machine the window starts late, and moves away
            fit_view(self.page)
        return result

    def settle(self) -> None:
        """Wait until all that the explorer asked the server is drawn."""
        idle = "() => !!explorer()?.maps && explorer().page.canvas.getAttribute('aria-busy') !== 'true'"
        self.front_end.until(lambda: self.page.evaluate(idle))

    def view(self, name: str) -> None:
        self.control("select[aria-label=View]").select_option(name)
        self.settle()

    def control(self, selector: str) -> Any:
        return self.page.locator(f".concept-explorer {selector}").first

    def slide(self, name: str, value: float) -> None:
        self.control(f"input[aria-label='{name}']").evaluate(
            "(input, value) => { input.value = value; input.dispatchEvent(new Event('input', {bubbles: true})) }", value
        )
        self.settle()

    def canvas(self) -> np.ndarray:
        """What is on the canvas, ``(H, W, 4)``."""
        width, height, data = self.page.evaluate(CANVAS)
        return np.array(data, np.uint8).reshape(height, width, 4)

    def said(self) -> str:
        return self.control("[role=status]").inner_text()

    def state(self) -> dict[str, Any]:
        return json.loads(self.page.evaluate("() => explorer().value") or "{}")

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Where a place in parts of the picture is in the window: the picture is fitted into the canvas' box."""
        box = self.control("canvas").bounding_box()
        width, height = self.page.evaluate("() => [explorer().page.canvas.width, explorer().page.canvas.height]")
        scale = min(box["width"] / width, box["height"] / height)
        left, top = box["x"] + (box["width"] - width * scale) / 2, box["y"] + (box["height"] - height * scale) / 2
        return left + x * width * scale, top + y * height * scale


@pytest.fixture(params=[False, True], ids=["LiteGraph", "Nodes 2.0"])
def driver(front_end: Any, request: pytest.FixtureRequest) -> Any:
    setting = "async (on) => { await app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on) }"
    front_end.page.evaluate(setting, request.param)
    yield Driver(front_end)
    front_end.page.evaluate("() => app.graph.clear()")
    front_end.page.evaluate(setting, False)


def test_what_is_seen_is_what_the_node_gives(driver: Any, request: pytest.FixtureRequest) -> None:
    page, front_end = driver.page, driver.front_end
    save = Node(page.evaluate(BUILD))
    fit_view(page)
    assert "Run the workflow" in driver.said()
    result = driver.run()
    front_end.screenshot(f"explorer {request.node.callspec.id}")

    def same(made: Any) -> np.ndarray:
        driver.view("mask")
        seen, given = driver.canvas()[..., :3], made.pictures(save)[0]
        assert seen.shape == given.shape == (160, 192, 3)
        assert np.array_equal(seen, given)
        return given

    first = same(result)
    assert 0.005 < (first > 0).mean() < 0.6

    # The pointer reads every concept's share; a click chooses the strongest; the threshold moves the mask at once.
    driver.view("heat")
    page.mouse.move(*driver.point(0.5, 0.06))
    assert "%" in driver.said() and driver.said().startswith("sky ")
    page.mouse.click(*driver.point(0.5, 0.06))
    assert driver.state()["concept"] == "sky"
    before = driver.canvas()
    driver.slide("Threshold", 0.8)
    assert driver.state()["threshold"] == 0.8 and not np.array_equal(driver.canvas(), before)
    second = same(driver.run())
    assert not np.array_equal(second, first)

    # Blocks, steps and temperature ask the server for other maps, and the node reads them alike.
    driver.slide("Blocks from", 4)
    driver.slide("Steps from", 3)
    driver.slide("Temperature", 0.3)
    assert driver.state()["first_block"] == -2 and driver.state()["start"] == 0.5
    driver.slide("Threshold", 0.3)
    third = same(driver.run())
    assert not np.array_equal(third, second)

    # The picture's edges, and the weighing of blocks, on and off.
    for name in ("Edges", "Auto"):
        driver.control(f"button:text-is('{name}')").click()
        driver.settle()
        assert driver.state()[{"Edges": "edges", "Auto": "reading"}[name]] == {"Edges": False, "Auto": "auto"}[name]
    # Beside the blocks' sliders, those that Auto trusts: of the six the last two, which were chosen.
    bars = page.evaluate(BARS)
    assert [height > 4 for height, _ in bars] == [False] * 4 + [True] * 2 and max(bars)[0] == 100
    assert [name for _, name in bars] == ["bar out"] * 4 + ["bar"] * 2
    front_end.screenshot(f"explorer weights {request.node.callspec.id}")
    other = same(driver.run())
    assert not np.array_equal(other, third)
    for name in ("Edges", "Auto"):
        driver.control(f"button:text-is('{name}')").click()
        driver.settle()
    assert not driver.control(".weights").is_visible()
    # Painted strokes are in the mask, and taken back.
    driver.view("heat")
    inside = bool(third[20, 40].max())
    driver.control(f"button[title^='Paint on the picture to {'take' if inside else 'add'}']").click()
    page.mouse.move(*driver.point(0.1, 0.1))
    page.mouse.down()
    page.mouse.move(*driver.point(0.4, 0.15), steps=8)
    page.mouse.up()
    assert len(driver.state()["strokes"]) == 1 and len(driver.state()["strokes"][0]["points"]) > 3
    fourth = same(driver.run())
    assert fourth[20, 40, 0] == (0 if inside else 255)
    driver.control("button[title='Take back the last stroke or point']").click()
    assert np.array_equal(same(driver.run()), third)


SELECT = """() => {
    const find = (type) => app.graph.nodes.find((node) => node.type === type);
    const add = (type, y) => {
        const node = LiteGraph.createNode(type);
        node.pos = [2300, y];
        app.graph.add(node);
        return node;
    };
    const link = (from, output, to, input) => from.connect(
        from.outputs.findIndex((one) => one.name === output), to, to.inputs.findIndex((one) => one.name === input));
    const explorer = find('ConceptAttentionExplorer'), select = add('ConceptAttentionSelect', 0);
    const image = add('MaskToImage', 600), save = add('SaveImage', 750);
    link(find('ConceptAttentionApply'), 'concept_attention', select, 'maps');
    link(find('KSampler'), 'LATENT', select, 'samples'); link(find('VAEDecode'), 'IMAGE', select, 'image');
    for (const name of ['points', 'negative_points', 'batch_index']) link(explorer, name, select, name);
    link(select, 'mask', image, 'mask'); link(image, 'IMAGE', save, 'images');
    return String(save.id);
}"""
SELECTED = "() => Array.from(explorer().selection?.mask ?? [])"


def test_what_is_clicked_on_is_what_concept_select_gives(driver: Any, request: pytest.FixtureRequest) -> None:
    page, front_end = driver.page, driver.front_end
    page.evaluate(BUILD)
    save = Node(page.evaluate(SELECT))
    fit_view(page)
    first = driver.run()  # nothing is clicked on: Concept Select waits
    assert save.id not in first.entry["outputs"]
    driver.slide("Picture", 1)
    driver.control("button:text-is('Select +')").click()
    page.mouse.click(*driver.point(0.5, 0.9))
    driver.control("button:text-is('Select +')").click()
    driver.settle()
    thing = page.evaluate(SELECTED)
    assert 0.02 < np.mean(thing) < 0.95 and thing[144 * 192 + 96] == 1 and "Selected: " in driver.said()
    page.keyboard.down("Alt")
    page.mouse.click(*driver.point(0.5, 0.06))
    page.keyboard.up("Alt")
    driver.settle()
    front_end.screenshot(f"explorer select {request.node.callspec.id}")
    seen = np.array(page.evaluate(SELECTED)).reshape(160, 192)
    assert [(one["add"], one["select"], one["picture"]) for one in driver.state()["strokes"]] == [
        (True, True, 1),
        (False, True, 1),
    ]
    assert np.array_equal(driver.run().pictures(save)[0][..., 0] > 0, seen > 0)
    # Taken back like strokes; and with nothing left to select by, nothing is selected.
    driver.control("button[title^='Take back the last stroke']").click()
    driver.settle()
    assert page.evaluate(SELECTED) == thing and len(driver.state()["strokes"]) == 1
    driver.control("button[title^='Take back the last stroke']").click()
    assert page.evaluate(SELECTED) == [] and "Selected" not in driver.said()


def test_every_view_and_the_keyboard(driver: Any, request: pytest.FixtureRequest) -> None:
    page = driver.page
    page.evaluate(BUILD)
    fit_view(page)
    driver.run()
    shown = {}
    for view in ("heat", "all", "mask", "blocks", "steps"):
        driver.view(view)
        shown[view] = driver.canvas()
        assert len(np.unique(shown[view].reshape(-1, 4), axis=0)) >= 2, view
        driver.front_end.screenshot(f"explorer {view} {request.node.callspec.id}")
    assert len({picture.tobytes() for picture in shown.values()}) == 5
    driver.view("steps")

    def first_step() -> float | None:
        page.mouse.click(*driver.point(0.1, 0.1))  # a node that still grows is clicked beside
        return driver.state().get("end")

    assert driver.front_end.until(first_step) == pytest.approx(1 / 6)
    driver.view("heat")
    driver.control("canvas").focus()
    page.keyboard.press("ArrowRight")
    assert driver.state()["concept"] == "sea"
    threshold = driver.state()["threshold"]
    page.keyboard.press("ArrowUp")
    assert driver.state()["threshold"] == pytest.approx(threshold + 0.02)
    assert len(page.evaluate("() => app.graph.nodes.map((n) => n.id)")) == 10, "no key reached the graph"
    driver.control(".legend button:has-text('sky')").click()
    assert driver.state()["concept"] == "sky"
    before = driver.canvas()
    driver.slide("Picture", 1)
    assert not np.array_equal(driver.canvas(), before)
    driver.control("canvas").focus()
    scale = page.evaluate("() => app.canvas.ds.scale")
    page.mouse.move(*driver.point(0.5, 0.5))
    page.mouse.wheel(0, 300)
    assert page.evaluate("() => app.canvas.ds.scale") == scale


def test_it_survives_a_reload_and_says_when_maps_are_gone(front_end: Any) -> None:
    driver, page = Driver(front_end), front_end.page
    page.evaluate(BUILD)
    fit_view(page)
    driver.run()
    driver.control(".legend button:has-text('sea')").click()
    driver.view("mask")
    before = driver.canvas()
    saved = page.evaluate("() => app.graph.serialize()")
    page.reload()
    wait_for_start(page)
    page.evaluate("async (saved) => { await app.loadGraphData(saved) }", saved)
    fit_view(page)
    driver.ready()
    assert np.array_equal(driver.canvas(), before) and driver.state()["concept"] == "sea"

    # A copy has its own choices; maps that the server no longer has are said to be gone.
    for node in saved["nodes"]:
        if node["type"] == "ConceptAttentionExplorer":
            node["properties"]["concept_explorer"]["key"] = "0" * 32
    page.evaluate("async (saved) => { await app.loadGraphData(saved) }", saved)
    page.evaluate(FIND)
    front_end.until(lambda: "maps are gone" in driver.said())
    driver.run()
    driver.view("mask")
    assert np.array_equal(driver.canvas(), before)


def test_old_strokes_never_land_on_a_new_picture(front_end: Any) -> None:
    driver, page = Driver(front_end), front_end.page
    save = Node(page.evaluate(BUILD))
    fit_view(page)
    driver.run()
    driver.control("button[title^='Paint on the picture to add']").click()
    page.mouse.click(*driver.point(0.1, 0.1))
    assert driver.run().pictures(save)[0][16, 19].min() == 255
    page.evaluate("() => { app.graph.nodes.find((n) => n.type === 'KSampler').widgets[0].value = 77 }")
    result = driver.run()
    driver.view("mask")
    assert np.array_equal(driver.canvas()[..., :3], result.pictures(save)[0])
    assert "belong to another picture" in driver.said()
    assert driver.canvas()[16, 19, 0] == 0


def test_maps_are_live_while_the_picture_forms(front_end: Any) -> None:
    """Frames are drawn in the explorer that waits for this sampler, where preview pictures are on."""
    driver, page = Driver(front_end), front_end.page
    page.evaluate(BUILD)
    fit_view(page)
    page.evaluate(FIND)
    setting = "async (value) => { await app.extensionManager.setting.set('Comfy.Execution.PreviewMethod', value) }"
    page.evaluate("() => { app.graph.nodes.find((n) => n.type === 'KSampler').widgets[2].value = 60 }")
    page.evaluate(setting, "latent2rgb")
    try:
        assert front_end.run().ok
        front_end.until(lambda: page.evaluate("() => !!explorer()?.maps"))
        assert page.evaluate("() => explorer().frames ?? 0") >= 1
        # Also in the node that prepared the model: colours over the step's preview.
        colors = page.evaluate(APPLIED)
        assert colors and colors[0] > 100, colors
        front_end.screenshot("live maps")
    finally:
        page.evaluate(setting, "default")
    driver.settle()
    assert driver.said().startswith("boat: mask")  # and at the end the maps themselves are there


def test_copies_are_their_own_and_a_subgraph_is_no_obstacle(front_end: Any) -> None:
    driver, page = Driver(front_end), front_end.page
    page.evaluate(BUILD)
    fit_view(page)
    driver.run()
    driver.slide("Threshold", 0.3)
    two = page.evaluate("""async () => {
        const node = app.graph.nodes.find((one) => one.type === 'ConceptAttentionExplorer');
        app.canvas.copyToClipboard([node]);
        app.canvas.pasteFromClipboard();
        const both = app.graph.nodes.filter((one) => one.type === node.type);
        const [first, second] = both.map((one) => one.conceptExplorer);
        const before = second.state.threshold;
        second.set({threshold: 0.9});
        return [before, first.state.threshold, second.state.threshold];
    }""")
    assert two == [0.3, 0.3, 0.9]
    inside = page.evaluate("""() => {
        const [first, copy] = app.graph.nodes.filter((one) => one.type === 'ConceptAttentionExplorer');
        app.graph.remove(copy);
        app.canvas.selectItems([first]);
        const made = app.graph.convertToSubgraph(app.canvas.selectedItems);
        window.explorer = () => made.subgraph.nodes.find((one) => one.type === first.type).conceptExplorer;
        explorer().about = explorer().maps = null;
        return explorer().state.threshold;
    }""")
    assert inside == 0.3
    assert front_end.run().ok
    front_end.until(lambda: page.evaluate("() => !!explorer()?.maps"))
    assert page.evaluate("() => explorer().about.names") == ["boat", "sea", "sky", "background"]


def test_tabs_are_their_own(front_end: Any) -> None:
    """Another window of the browser with the same workflow, and another workflow in this one, change nothing here."""
    driver, page = Driver(front_end), front_end.page
    page.evaluate(BUILD)
    fit_view(page)
    driver.run()
    driver.control(".legend button:has-text('sea')").click()
    before, saved = driver.canvas(), page.evaluate("() => app.graph.serialize()")

    second = page.context.browser.new_page(viewport=page.viewport_size)
    second.set_default_timeout(120_000)
    second.goto(front_end.server.url)
    wait_for_start(second)
    second.evaluate("async (saved) => { await app.loadGraphData(saved) }", saved)
    fit_view(second)
    other = Driver(replace(front_end, page=second))
    other.ready()
    assert np.array_equal(other.canvas(), before), "the same workflow shows the same"
    other.control(".legend button:has-text('sky')").click()
    second.evaluate("() => { app.graph.nodes.find((n) => n.type === 'KSampler').widgets[0].value = 78 }")
    other.run()
    second.close()
    page.bring_to_front()
    assert np.array_equal(driver.canvas(), before) and driver.state()["concept"] == "sea"

    # Another workflow's tab, and back.
    page.evaluate("async () => { await app.extensionManager.command.execute('Comfy.NewBlankWorkflow') }")
    front_end.until(lambda: not page.evaluate("() => app.graph.nodes.some((n) => n.conceptExplorer)"))
    page.evaluate("async () => { await app.extensionManager.command.execute('Workspace.PreviousOpenedWorkflow') }")
    front_end.until(lambda: page.evaluate("() => app.graph.nodes.some((n) => n.conceptExplorer)"))
    driver.ready()
    assert np.array_equal(driver.canvas(), before) and driver.state()["concept"] == "sea"


def test_a_restart_of_the_server_is_said_and_a_run_brings_the_maps_back(front_end: Any) -> None:
    driver, page, server = Driver(front_end), front_end.page, front_end.server
    page.evaluate(BUILD)
    fit_view(page)
    driver.run()
    before = driver.canvas()
    server.__exit__(None, None, None)
    server.__enter__()
    driver.slide("Threshold", 0.5)  # what needs no server goes on
    assert not np.array_equal(driver.canvas(), before) and driver.said().startswith("boat: mask")
    driver.slide("Blocks from", 4)
    assert "maps are gone" in driver.said()
    page.evaluate("() => explorer().set({threshold: 0.35, first_block: null, last_block: null})")
    driver.run()
    assert np.array_equal(driver.canvas(), before)
