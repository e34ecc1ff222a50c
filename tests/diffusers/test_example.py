"""The documentation's script and notebook run as they stand."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptattention_core.adapters.diffusers.demo import demo_folder
from tools.package.notebook import PAGE, code_cells, picture, run

ROOT = Path(__file__).resolve().parents[2]


needs_demo = pytest.mark.skipif(not any(demo_folder().glob("*.safetensors")), reason="the demo model is not there")


@needs_demo
def test_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = ROOT / "docs" / "examples" / "generate.py"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script)])
    runpy.run_path(str(script), run_name="__main__")
    wanted = {"picture.png", "overlay.png", "palm tree.png", "house.png", "maps.safetensors"}
    assert {path.name for path in (tmp_path / "output" / "examples").iterdir()} == wanted


@needs_demo
def test_notebook() -> None:
    """Each cell makes the picture that it shows, as far as machines agree about a picture."""
    notebook = json.loads(PAGE.read_text(encoding="utf-8"))
    pictures = 0
    for cell, value in zip(code_cells(notebook), run(notebook), strict=True):
        shown = picture(cell)
        assert (shown is None) == (not isinstance(value, Image.Image)), "Run: python -m tools.package.notebook"
        if shown is not None:
            made, kept = (np.asarray(one.convert("RGB"), float) for one in (value, shown))
            assert made.shape == kept.shape and np.abs(made - kept).mean() < 4 and kept.std() > 20
            pictures += 1
    assert pictures == 5
