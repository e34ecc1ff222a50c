"""The demo workflow: dropped on the canvas, run, and looked at."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.browser


def test_the_demo_runs_and_shows_its_maps(front_end: Any) -> None:
    """One explorer in the middle: the picture with the boat's heat map, its mask, every concept in the legend."""
    front_end.drop("A demo, mask things while you sample")
    result = front_end.run()
    assert result.ok, result.error
    page = front_end.page
    find = "app.graph.nodes.find((node) => node.type === 'ConceptAttentionExplorer').conceptExplorer"
    front_end.until(lambda: page.evaluate(f"() => !!{find}?.maps && !!{find}.photo"))
    (title, (width, height, colors)), = front_end.previews().items()
    page.wait_for_timeout(600)
    front_end.screenshot("demo")
    assert (title, width, height) == ("Mask", 256, 256) and colors > 1
    legend = page.locator(".concept-explorer .legend button").all_inner_texts()
    assert [text.split()[0] for text in legend] == ["boat", "sea", "sky", "background"]
    assert page.locator(".concept-explorer [role=status]").first.inner_text().startswith("boat: mask ")
