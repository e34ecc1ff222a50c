"""The pack in another language: names, labels and tooltips."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tools.server.front_end import wait_for_start

pytestmark = pytest.mark.browser

LOCALES = Path(__file__).resolve().parents[2] / "locales"
NODE = "ConceptAttentionMask"
LABELS = """() => Object.fromEntries(app.graph.nodes.find((node) => node.type === 'ConceptAttentionMask')
    .widgets.filter((widget) => widget.serialize !== false)
    .map((widget) => [widget.name.replace('.', '_'), widget.label]))"""
EXPLORER = """() => {
    const root = document.querySelector('.concept-explorer');
    const read = (name) => [...root.querySelectorAll(`[${name}]`)].map((one) => one.getAttribute(name));
    const written = [...root.querySelectorAll('button, option, [role=status]')].map((one) => one.textContent);
    return [...read('title'), ...read('aria-label'), ...written].filter(Boolean);
}"""
PLACEHOLDERS = """() => Object.fromEntries(app.graph.nodes[0].widgets.filter(
    (widget) => widget.element?.tagName === 'TEXTAREA').map((widget) => [widget.name, widget.element.placeholder]))"""
TITLES = "() => Object.fromEntries(app.graph.nodes.map((node) => [node.type, node.title]))"


@pytest.fixture
def japanese(front_end: Any) -> Iterator[Any]:
    """A window of its own, opened with the setting: a switch in an open one can come before the texts are loaded."""
    front_end.server.request("/settings", {"Comfy.Locale": "ja"})
    page = front_end.page.context.browser.new_page(viewport=front_end.page.viewport_size)
    page.set_default_timeout(120_000)
    page.goto(front_end.server.url)
    wait_for_start(page)
    yield replace(front_end, page=page)
    page.close()
    front_end.page.bring_to_front()
    front_end.server.request("/settings", {"Comfy.Locale": "en"})


def test_the_nodes_speak_japanese(japanese: Any) -> None:
    page = japanese.page
    texts = json.loads((LOCALES / "ja" / "nodeDefs.json").read_text(encoding="utf-8"))
    japanese.drop("Replace a thing")
    titles = page.evaluate(TITLES)
    for node in ("ConceptAttentionDemoModel", "ConceptAttentionApply"):
        assert titles[node] == texts[node]["display_name"]
    texts = texts[NODE]
    japanese.choose(NODE, "method", "soft")
    labels = japanese.until(lambda: (found := page.evaluate(LABELS)).get("method_gamma") and found)
    assert labels == {name: texts["inputs"][name]["name"] for name in labels}
    for place, tooltip in (("grow", texts["inputs"]["grow"]["tooltip"]), ("mask", texts["outputs"]["0"]["tooltip"])):
        x, y = japanese.place(NODE, place)
        page.mouse.move(x - 4, y)
        page.mouse.move(x, y)
        page.get_by_text(tooltip, exact=True).wait_for()
    page.evaluate("() => app.canvas.selectNode(app.graph.nodes.find((one) => one.type === 'ConceptAttentionMask'))")
    page.click("[data-testid=info-button]")
    panel = page.get_by_test_id("properties-panel")
    panel.get_by_text(texts["outputs"]["3"]["tooltip"]).first.wait_for()
    assert panel.get_by_text(texts["description"]).first.is_visible()
    # Boxes for several lines say what belongs into them.
    for kind in ("ConceptAttentionApply", "ConceptAttentionFromImage"):
        japanese.put(kind)
        told = json.loads((LOCALES / "ja" / "nodeDefs.json").read_text(encoding="utf-8"))[kind]["inputs"]
        shown = page.evaluate(PLACEHOLDERS)
        assert shown and shown == {name: told[name]["name"] for name in shown}
    # The explorer's own controls, which the front end knows nothing of.
    japanese.put("ConceptAttentionExplorer")
    told = japanese.until(lambda: page.evaluate(EXPLORER))
    assert len(told) > 40 and not [text for text in told if not re.search(r"[ぁ-ヿ一-鿿〜]", text)]
    japanese.screenshot("japanese")
