"""Nodes are found by words that a person would look for, who does not know their names."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.browser

WORDS = {
    "Apply Concept Attention": "saliency",
    "Concept Attention": "heatmap",
    "Concept Attention Boxes": "bounding box",
    "Concept Attention Heatmap": "visualize attention",
    "Concept Attention Mask": "inpaint mask",
    "Concept Attention from Image": "segment photo",
    "Concept Segmentation": "semantic segmentation",
    "Load Concept Attention Maps": "import maps",
    "Load Demo Flux": "tiny flux",
    "Save Concept Attention Maps": "export maps",
}


@pytest.mark.parametrize("name", WORDS)
def test_a_node_is_found_by_what_it_is_for(front_end: Any, name: str) -> None:
    page = front_end.page
    page.evaluate("() => app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    page.get_by_placeholder("Add a node...").fill(WORDS[name])
    page.locator("#results-list").get_by_text(name, exact=True).first.wait_for()
    front_end.screenshot(f"search {WORDS[name]}")
    page.keyboard.press("Escape")
    page.get_by_placeholder("Add a node...").wait_for(state="hidden")
