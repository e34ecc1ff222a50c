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
    assert "The demo model does not know: dragon." in said.err and "Wrote 8 files" in said.out
    files = {path.name for path in (tmp_path / "new").iterdir()}
    named = {f"{kind}-{name}.png" for kind in ("heatmap", "mask") for name in ("house", "palm-tree")}
    assert files == named | {"picture.png", "overlay.png", "weights.png", "maps.safetensors"}
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
    assert main(["evaluate", "voc", "--data", str(tmp_path)]) == 2
    assert "VOCdevkit/VOC2012" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["generate", "a house"])
    with pytest.raises(FileNotFoundError, match=r"demo_flux\.safetensors"):
        load_demo_pipeline(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--concepts", "x" * 400], "A name in `concepts` has 400 letters, and at most 200"),
        (["--concepts", "(boat:1.3), sea"], "which is a prompt's weight; concepts have none. Write: boat."),
        (["--concepts", "sea", "--background", "{a|b}"], "`background` holds '{a|b}', which is a prompt's choice"),
        (["--concepts", "sea", "--background", "Sea"], "'sea' has nothing to compete with"),
        (["--concepts", "x\ud83d"], "`concepts` holds half a character, \\ud83d"),
        (["--concepts", "sea, sky", "--size", "0"], "--size (0) must lie between 16 and"),
        (["--concepts", "sea, sky", "--size", "64", "64", "64"], "--size takes one side, or height and width"),
        (["--concepts", "sea, sky", "--threshold", "nan"], "--threshold (nan) must lie between 0 and 1."),
        (["--concepts", "sea, sky", "--guidance", "inf"], "--guidance (inf) must"),
        (["--concepts", "sea, sky", "--steps", "0"], "--steps (0) must lie between 1 and"),
        (["--concepts", "sea, sky", "--cfg=-1"], "--cfg (-1.0) must"),
        (["--concepts", "sea, sky", "--seed=-1"], "--seed (-1) must"),
        (["--concepts", "sea, sky", "--out", __file__], "nothing can be written to"),
        (["--concepts", "sea, sky", "--out", f"{__file__}/new"], "nothing can be written to"),
    ],
    ids=range(14),
)
def test_what_will_not_do_is_one_line_before_any_work(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr("conceptattention_core.adapters.diffusers.load.load_pipeline", pytest.fail)
    assert main(["generate", "a boat", "--out", str(tmp_path / "new"), *options]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said and said.count("\n") == 1
    assert not (tmp_path / "new").exists()


@NEEDS_DEMO
def test_the_command_line_reads_names_as_the_nodes_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    concepts = f"House；sky. , house, {'palm tree ' * 19}"
    call = ["generate", "A HOUSE", "--concepts", concepts, "--background", "SKY, sea", "--steps", "1", "--size", "64"]
    assert main([*call, "--out", str(tmp_path)]) == 0
    assert "does not know" not in capsys.readouterr().err
    maps = load_maps(tmp_path / "maps.safetensors")
    assert maps.concepts == ("House", "sky", ("palm tree " * 19).strip(), "sea")
    assert max(len(path.name) for path in tmp_path.iterdir()) < 80


@NEEDS_DEMO
def test_the_demo_reads_its_words_without_padding() -> None:
    pipe: Any = load_demo_pipeline()
    context, pooled, _ = pipe.encode_prompt("a house", "a house")
    assert context.shape == (1, len(pipe.tokenizer_2("a house").input_ids), 128) and pooled.shape == (1, 64)
    assert len(pipe.encode_prompt(["a house", "a boat on the sea"])[0]) == 2
    assert unknown_words(pipe, "a house, a dragon.") == ["dragon"]
    assert unknown_words(pipe, "A House, the SKY") == unknown_words(pipe, "a house, the sky")
    assert torch.equal(pipe.encode_prompt("A House", "A House")[0], context)
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
