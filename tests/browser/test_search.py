"""Nodes are found by words that a person would look for, who does not know their names."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.browser

WORDS = {
    "Apply Concept Attention": "saliency",
    "Concept Attention": "heatmap",
    "Concept Attention Boxes": "bounding box",
    "Concept Explorer": "interactive mask",
    "Concept Attention Heatmap": "visualize attention",
    "Concept Attention Mask": "inpaint mask",
    "Concept Attention from Image": "segment photo",
    "Concept Segmentation": "semantic segmentation",
    "Load Concept Attention Maps": "import maps",
    "Load Demo Flux": "tiny flux",
    "Save Concept Attention Maps": "export maps",
}

ASKED = {
    "text to mask": "Concept Attention Mask",
    "mask from text": "Concept Attention Mask",
    "where is": "Concept Explorer",
    "find object": "Concept Explorer",
    "object mask": "Concept Attention Mask",
    "clipseg": "Concept Attention Mask",
    "sam": "Concept Attention Boxes",
    "grounding dino": "Concept Attention Boxes",
    "matting": "Concept Attention Mask",
    "region": "Concept Attention Mask",
    "daam": "Apply Concept Attention",
    "attention": "Concept Attention",
}
"""What people type who look for what this pack does, by other names."""


@pytest.mark.parametrize(("words", "name"), [*((words, name) for name, words in WORDS.items()), *ASKED.items()])
def test_a_node_is_found_by_what_it_is_for(front_end: Any, words: str, name: str) -> None:
    page = front_end.page
    page.evaluate("() => app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    page.get_by_placeholder("Add a node...").fill(words)
    page.locator("#results-list").get_by_text(name, exact=True).first.wait_for()
    front_end.screenshot(f"search {words}")
    page.keyboard.press("Escape")
    page.get_by_placeholder("Add a node...").wait_for(state="hidden")
