"""The evaluation on ComfyUI's own models, by the command that a user types."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMFYUI = Path(os.environ.get("COMFYUI_PATH", ROOT / ".comfyui" / "ComfyUI"))


def evaluate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "conceptattention_core.evaluate", "scenes", "--images", "1", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_blocks_and_temperature_on_the_demo_model(tmp_path: Path) -> None:
    done = evaluate("--comfyui", str(COMFYUI), "--ablate", "blocks", "temperature", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["settings"]["family"]["depth"] == 6 and report["rows"][0]["accuracy"] > 0.8
    asked = report["settings"]["ablate"]["temperature"]
    best = max((report["rows"][index] for index in asked), key=lambda row: row["true_miou"])
    last = (tmp_path / "report.md").read_text().rstrip().splitlines()[-3:]
    assert last[0].startswith("default_blocks = (")
    assert last[1] == f"temperature = {best['method']['temperature']:.4g}" and last[2] == "```"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--comfyui", "nowhere"], "is no ComfyUI"),
        (["--comfyui", str(COMFYUI), "--unet", "x.safetensors", "--model", "other"], "--unet, --clip and --vae"),
    ],
)
def test_what_is_missing_is_said_in_one_line(arguments: list[str], message: str) -> None:
    done = evaluate(*arguments)
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1
