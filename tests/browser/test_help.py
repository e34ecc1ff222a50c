"""The help pages, opened with the Info button over a node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

PAGES = Path(__file__).resolve().parents[2] / "web" / "docs"


@pytest.mark.parametrize("node", sorted(page.stem for page in PAGES.glob("*.md")))
def test_a_help_page_opens(front_end: Any, node: str) -> None:
    page = front_end.page
    front_end.put(node)
    page.click("[data-testid=info-button]")
    text = (PAGES / f"{node}.md").read_text(encoding="utf-8").replace("`", "").replace("*", "")
    last_words = text.split("\n- ")[-1].split()[:4]
    page.get_by_test_id("properties-panel").get_by_text(" ".join(last_words)).first.wait_for()
    front_end.screenshot(f"help {node}")
    page.click("[aria-label='Toggle properties panel']")
