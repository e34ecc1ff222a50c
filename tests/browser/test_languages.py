"""The pack in another language: names, labels and tooltips, with the front end's own switch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

LOCALES = Path(__file__).resolve().parents[2] / "locales"
TITLE = "() => app.graph.nodes.find((node) => node.type === 'ConceptAttentionApply').title"
LABELS = """() => Object.fromEntries(app.graph.nodes.find((node) => node.type === 'ConceptAttentionMask')
    .widgets.map((widget) => [widget.name.replace('.', '_'), widget.label]))"""


@pytest.fixture
def japanese(front_end: Any) -> Iterator[dict[str, Any]]:
    """The Japanese texts, with the front end in Japanese and the inpainting workflow open."""
    front_end.drop("Concept Attention Inpaint Soft")
    texts = json.loads((LOCALES / "ja" / "nodeDefs.json").read_text(encoding="utf-8"))
    front_end.speak("ja")
    front_end.until(lambda: front_end.page.evaluate(TITLE) == texts["ConceptAttentionApply"]["display_name"])
    yield texts
    front_end.speak("en")
    front_end.until(lambda: front_end.page.evaluate(TITLE) == "Apply Concept Attention")


def test_a_node_speaks_japanese(front_end: Any, japanese: dict[str, Any]) -> None:
    page, texts = front_end.page, japanese["ConceptAttentionMask"]
    front_end.choose("ConceptAttentionMask", "method", "soft")
    labels = front_end.until(lambda: (found := page.evaluate(LABELS)).get("method_gamma") and found)
    assert labels == {name: texts["inputs"][name]["name"] for name in labels}
    for place, tooltip in (("grow", texts["inputs"]["grow"]["tooltip"]), ("mask", texts["outputs"]["0"]["tooltip"])):
        x, y = front_end.place("ConceptAttentionMask", place)
        page.mouse.move(x - 4, y)
        page.mouse.move(x, y)
        page.get_by_text(tooltip, exact=True).wait_for()
    front_end.screenshot("japanese")
    page.mouse.move(5, 5)
