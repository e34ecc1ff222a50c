"""Concept Attention Mask's dynamic combos: a choice brings its own knobs, and the server gets their values."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.browser

NODE = "ConceptAttentionMask"
KNOBS = """() => app.graph.nodes.find((node) => node.type === 'ConceptAttentionMask')
    .widgets.map((widget) => widget.name).filter((name) => name.includes('.'))"""


def test_choices_bring_their_knobs_and_run(front_end: Any) -> None:
    front_end.drop("Replace a thing")
    assert front_end.page.evaluate(KNOBS) == []
    front_end.choose(NODE, "method", "soft")
    front_end.until(lambda: front_end.page.evaluate(KNOBS) == ["method.low", "method.high", "method.gamma"])
    front_end.choose(NODE, "keep", "several")
    front_end.until(lambda: front_end.page.evaluate(KNOBS)[3:] == ["keep.regions"])
    front_end.page.wait_for_timeout(600)
    front_end.screenshot("mask choices")
    result = front_end.run()
    assert result.ok, result.error
    (sent,) = (spec["inputs"] for spec in result.entry["prompt"][2].values() if spec["class_type"] == NODE)
    knobs = {"method.low": 0.3, "method.high": 0.7, "method.gamma": 1, "keep.regions": 2}
    assert sent.items() >= {"method": "soft", "keep": "several", **knobs}.items()
    front_end.choose(NODE, "method", "percentile")
    front_end.until(lambda: front_end.page.evaluate(KNOBS) == ["method.percentile", "keep.regions"])

SAVED = ["", "soft", 0.11, 0.77, 2.5, 13, 0, False, "all", 1.5, False, True, 0.2, -65, -65, 1]
"""Widgets as the front end saved them when `soft` was what a new node had."""
VALUES = """() => app.graph.nodes.find((node) => node.type === 'ConceptAttentionMask')
    .widgets.filter((widget) => widget.serialize !== false).map((widget) => widget.value)"""


def test_a_workflow_saved_with_another_default_keeps_its_values(front_end: Any) -> None:
    page = front_end.page
    front_end.put(NODE)
    assert page.evaluate(VALUES)[1] == "argmax"
    saved = page.evaluate("() => app.graph.serialize()")
    saved["nodes"][0]["widgets_values"] = SAVED
    page.evaluate("async (saved) => { await app.loadGraphData(saved) }", saved)
    front_end.until(lambda: page.evaluate(VALUES) == [*SAVED, "maps", 0, False])
