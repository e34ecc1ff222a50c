"""The command line and the demo model, as somebody with nothing else installed meets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from conceptattention_core.adapters.diffusers.demo import demo_folder, load_demo_pipeline, unknown_words
from conceptattention_core.cli import main
from conceptattention_core.storage import load_maps

ROOT = Path(__file__).resolve().parents[2]
NEEDS_DEMO = pytest.mark.skipif(not any(demo_folder().glob("*.safetensors")), reason="the demo model is not there")


@NEEDS_DEMO
def test_generate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["generate", "a house and a dragon", "--concepts", "house, palm tree", "--steps", "2", "--size", "64", "96"]
    assert main([*call, "--out", str(tmp_path / "new"), "--mask", "otsu"]) == 0
    said = capsys.readouterr()
    assert "The demo model does not know: dragon." in said.err and "Wrote 7 files" in said.out
    files = {path.name for path in (tmp_path / "new").iterdir()}
    named = {f"{kind}-{name}.png" for kind in ("heatmap", "mask") for name in ("house", "palm-tree")}
    assert files == named | {"picture.png", "overlay.png", "maps.safetensors"}
    maps = load_maps(tmp_path / "new" / "maps.safetensors")
    assert maps.concepts == ("house", "palm tree", "background") and maps.scores.shape == (2, 6, 1, 3, 4, 6)
    assert set(np.unique(np.array(Image.open(tmp_path / "new" / "mask-house.png")))) <= {0, 255}


@NEEDS_DEMO
def test_the_demo_model_gets_real_guidance(tmp_path: Path) -> None:
    """Seven is its default, one is none, and what is recorded is the prompt's half either way."""
    call = ["generate", "a house", "--concepts", "house, sky", "--steps", "2", "--size", "64"]
    made = {}
    for name, cfg in (("default", []), ("seven", ["--cfg", "7"]), ("none", ["--cfg", "1"])):
        assert main([*call, *cfg, "--out", str(tmp_path / name)]) == 0
        maps = load_maps(tmp_path / name / "maps.safetensors")
        made[name] = np.array(Image.open(tmp_path / name / "picture.png")), maps.scores
    assert np.array_equal(made["default"][0], made["seven"][0])
    assert np.abs(made["none"][0].astype(int) - made["seven"][0]).mean() > 2
    assert torch.equal(made["none"][1][0], made["seven"][1][0])  # the same noise, before guidance has moved anything


@NEEDS_DEMO
def test_encode(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)).save(photo)
    assert main(["encode", str(photo), "--concepts", "sea, sky", "--out", str(tmp_path), "--seeds", "2"]) == 0
    maps = load_maps(tmp_path / "maps.safetensors")
    assert maps.scores.shape == (2, 6, 1, 3, 16, 16) and maps.sigmas == (0.5, 0.5)
    assert Image.open(tmp_path / "heatmap-sea.png").size == (70, 50)


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encode", str(tmp_path / "none.jpg"), "--concepts", "sea, sky"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    with pytest.raises(SystemExit):
        main(["generate", "a house"])
    with pytest.raises(FileNotFoundError, match=r"demo_flux\.safetensors"):
        load_demo_pipeline(tmp_path)


@NEEDS_DEMO
def test_the_demo_reads_its_words_without_padding() -> None:
    pipe: Any = load_demo_pipeline()
    context, pooled, _ = pipe.encode_prompt("a house", "a house")
    assert context.shape == (1, len(pipe.tokenizer_2("a house").input_ids), 128) and pooled.shape == (1, 64)
    assert len(pipe.encode_prompt(["a house", "a boat on the sea"])[0]) == 2
    assert unknown_words(pipe, "a house, a dragon.") == ["dragon"]
    assert not torch.equal(pipe.encode_prompt("a boat", "a boat")[0], context)


@NEEDS_DEMO
def test_tokenizers_of_other_weights_are_told(tmp_path: Path) -> None:
    for file in demo_folder().iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tables = json.loads((tmp_path / "demo_tokenizers.json").read_text(encoding="utf-8"))
    tables["t5"]["pieces"].pop()
    (tmp_path / "demo_tokenizers.json").write_text(json.dumps(tables), encoding="utf-8")
    with pytest.raises(ValueError, match=r"tools\.demo\.tokenizers"):
        load_demo_pipeline(tmp_path)


def test_the_package_is_the_library_alone() -> None:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    described = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = described["tool"]["setuptools"]["packages"]
    assert all(name.startswith("conceptattention_core") for name in packages)
    folders = {path.parent for path in (ROOT / "conceptattention_core").rglob("*.py")}
    code = set(packages) - {"conceptattention_core.demo_model"}
    assert {".".join(folder.relative_to(ROOT).parts) for folder in folders} == code
    assert "dependencies" in described["project"]["dynamic"] and "dependencies" not in described["project"]
    assert (ROOT / "conceptattention_core" / "py.typed").is_file()
