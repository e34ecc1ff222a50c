"""Concept Attention Mask's dynamic combos: a choice brings its own knobs, and the server gets their values."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.browser

NODE = "ConceptAttentionMask"
KNOBS = """() => app.graph.nodes.find((node) => node.type === 'ConceptAttentionMask')
    .widgets.map((widget) => widget.name).filter((name) => name.includes('.'))"""


def choose(front_end: Any, combo: str, value: str) -> None:
    """Click on a combo, and on a value in its menu."""
    front_end.page.mouse.click(*front_end.place(NODE, combo))
    front_end.page.locator(".litecontextmenu .litemenu-entry").get_by_text(value, exact=True).click()


def test_choices_bring_their_knobs_and_run(front_end: Any) -> None:
    front_end.drop("Concept Attention Inpaint")
    assert front_end.page.evaluate(KNOBS) == []
    choose(front_end, "method", "soft")
    front_end.until(lambda: front_end.page.evaluate(KNOBS) == ["method.low", "method.high", "method.gamma"])
    choose(front_end, "keep", "several")
    front_end.until(lambda: front_end.page.evaluate(KNOBS)[3:] == ["keep.regions"])
    front_end.screenshot("mask choices")
    result = front_end.run()
    assert result.ok, result.error
    (sent,) = (spec["inputs"] for spec in result.entry["prompt"][2].values() if spec["class_type"] == NODE)
    knobs = {"method.low": 0.3, "method.high": 0.7, "method.gamma": 1, "keep.regions": 2}
    assert sent.items() >= {"method": "soft", "keep": "several", **knobs}.items()
    choose(front_end, "method", "percentile")
    front_end.until(lambda: front_end.page.evaluate(KNOBS) == ["method.percentile", "keep.regions"])
