"""What a person reads in the page when a concept's name is misspelt."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.browser


def test_an_unknown_concept_is_answered_with_the_nearest_name(front_end: Any) -> None:
    page = front_end.page
    front_end.drop("Replace a thing")
    page.mouse.click(*front_end.place("ConceptAttentionMask", "concept"))
    page.locator(".graphdialog input").fill("clou")
    page.keyboard.press("Enter")
    assert not front_end.run().ok
    page.get_by_test_id("error-overlay-see-errors").click()
    report = page.get_by_test_id("runtime-error-panel")
    report.get_by_text("There is no concept 'clou'. Did you mean 'cloud'?").first.wait_for()
    assert "**Node Type:** ConceptAttentionMask" in report.inner_text()
    front_end.screenshot("unknown concept")
    page.click("[aria-label='Toggle properties panel']")
