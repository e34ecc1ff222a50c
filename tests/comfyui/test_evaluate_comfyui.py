"""The evaluation on ComfyUI's own models, by the command that a user types."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from conceptattention_core.evaluate.datasets.scenes.scenes import HELD_OUT, scene
from conceptattention_core.scores import Projection
from conceptattention_core.stream import ConceptKeys

ROOT = Path(__file__).resolve().parents[2]
KINDS: tuple[tuple[Projection, ConceptKeys, str], ...] = (
    ("output", "both", "house, sky"),
    ("output", "image", "house, sky"),
    ("value", "both", "sea, sand, boat"),
)
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
        (["--all-blocks"], "This needs ComfyUI"),
        (["--comfyui", str(COMFYUI), "--unet", "x.safetensors", "--model", "other"], "--unet, --clip and --vae"),
    ],
)
def test_what_is_missing_is_said_in_one_line(arguments: list[str], message: str) -> None:
    done = evaluate(*arguments)
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1


@torch.inference_mode()
def test_readings_share_a_forward(comfy: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three kinds of maps from one forward for each noise are those of three forwards."""
    from conceptattention_core.adapters.comfy import encode
    from conceptattention_core.adapters.comfy.evaluate import load_demo
    from conceptattention_core.adapters.comfy.text import encode_concepts
    from conceptattention_core.concepts import parse_concepts
    from conceptattention_core.evaluate.host import Look, Reading

    host = load_demo()
    forwards = []
    once = encode.evaluate_once
    monkeypatch.setattr(encode, "evaluate_once", lambda *args, **more: forwards.append(0) or once(*args, **more))
    image = scene(HELD_OUT, 96).image
    look = Look("a house", (96, 96), 0.4, (0, 1), 3.5)
    readings = [
        Reading(encode_concepts(host._clip, parse_concepts(names, "")[0], 0, "mean", host._model), space, keys)
        for space, keys, names in KINDS
    ]
    together = host.read(image, look, readings)
    assert len(forwards) == 2
    for reading, maps in zip(readings, together, strict=True):
        (alone,) = host.read(image, look, [reading])
        assert torch.equal(maps.scores, alone.scores) and maps.concepts == reading.concepts.names
        assert maps.features is not None and alone.features is not None and torch.equal(maps.features, alone.features)
    assert not torch.equal(together[0].scores, together[1].scores)
    every = load_demo(all_blocks=True)
    (whole,) = every.read(image, look, readings[:1])
    assert every.family["depth"] == len(whole.blocks) > host.family["depth"] and every.family["blocks"] == (0, 5)
    assert torch.equal(whole.scores[:, :6], together[0].scores) and whole.scores[:, 6:].std() > 0
