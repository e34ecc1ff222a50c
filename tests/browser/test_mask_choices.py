"""Concept Attention Mask's dynamic combos: a choice brings its own knobs, and the server gets their values."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.browser

NODE = "ConceptAttentionMask"
KNOBS = """() => app.graph.nodes.find((node) => node.type === 'ConceptAttentionMask')
    .widgets.map((widget) => widget.name).filter((name) => name.includes('.'))"""


def test_choices_bring_their_knobs_and_run(front_end: Any) -> None:
    front_end.drop("Concept Attention Inpaint")
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
