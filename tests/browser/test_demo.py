"""The demo workflow: dropped on the canvas, run, and looked at."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.browser


def test_the_demo_runs_and_shows_its_maps(front_end: Any) -> None:
    front_end.drop("Concept Attention Demo")
    result = front_end.run()
    assert result.ok, result.error
    shown = front_end.previews()
    front_end.page.wait_for_timeout(600)
    front_end.screenshot("demo")
    heat_maps = {title: values for title, values in shown.items() if title.startswith("Heat map: ")}
    assert len(heat_maps) == 4 and len(shown) == 8
    for title, (width, height, colors) in shown.items():
        assert width == 256 and (height > 256 if "all concepts" in title else height == 256)
        assert colors > (1 if "Mask" in title else 10), f"{title} is one flat colour"
