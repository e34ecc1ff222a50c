"""The documentation's script runs as it stands."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from conceptattention_core.adapters.diffusers.demo import demo_folder

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not any(demo_folder().glob("*.safetensors")), reason="the demo model is not there")
def test_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = ROOT / "docs" / "examples" / "generate.py"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script)])
    runpy.run_path(str(script), run_name="__main__")
    wanted = {"picture.png", "overlay.png", "palm tree.png", "house.png", "maps.safetensors"}
    assert {path.name for path in (tmp_path / "output" / "examples").iterdir()} == wanted
