"""The evaluation from end to end: the demo model on its scenes, killed, resumed, by two processes; and any Flux."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch.nn.functional import interpolate

from conceptattention_core.adapters.diffusers import ConceptAttention
from conceptattention_core.adapters.diffusers.demo import demo_folder, load_demo_pipeline
from conceptattention_core.evaluate.cli import main
from conceptattention_core.evaluate.datasets.scenes.scenes import HELD_OUT, scene
from conceptattention_core.evaluate.method import Method
from conceptattention_core.evaluate.protocol import Protocol
from conceptattention_core.evaluate.runner import Evaluator, Settings

ROOT = Path(__file__).resolve().parents[2]
NEEDS_DEMO = pytest.mark.skipif(not any(demo_folder().glob("*.safetensors")), reason="the demo model is not there")
SCENES = ["scenes", "--size", "128", "--device", "cpu", "--ablate", "keys", "reading"]


def evaluate(*arguments: str | Path) -> dict[str, Any]:
    """A run in this process; its report."""
    call = [str(argument) for argument in arguments]
    assert main(call) == 0
    return json.loads((Path(call[call.index("--out") + 1]) / "report.json").read_text(encoding="utf-8"))


def start(*command: str | Path) -> subprocess.Popen[bytes]:
    """A Python process of its own group, on one thread as this one is."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    parts = [sys.executable, *map(str, command)]
    return subprocess.Popen(parts, cwd=ROOT, env=env, start_new_session=True, stderr=subprocess.PIPE)


def lines(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines(keepends=True) if file.is_file() else []


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Six scenes by one process, never interrupted."""
    folder = tmp_path_factory.mktemp("single")
    return folder, evaluate(*SCENES, "--images", "6", "--out", folder)


@NEEDS_DEMO
def test_confusable_scenes(tmp_path: Path) -> None:
    """Two names a picture, whose masses lie partly on one another; the report says how much."""
    report = evaluate("confusable", "--size", "128", "--device", "cpu", "--images", "3", "--out", tmp_path)
    ours, *_ = report["rows"]
    assert report["settings"]["dataset"] == "confusable" and "background" in ours["class_iou"]
    assert all(0 < row["leakage"] < 1 for row in report["rows"])
    assert f"{100 * ours['leakage']:.2f}" in (tmp_path / "report.md").read_text(encoding="utf-8")


@NEEDS_DEMO
def test_stages_end_in_verdicts(tmp_path: Path) -> None:
    """Lists of two, trusted blocks, absent words: each with numbers of the right kind."""
    report = evaluate(*SCENES, "--images", "2", "--stages", "2", "3", "4", "--out", tmp_path)
    verdicts = (tmp_path / "stages.md").read_text(encoding="utf-8").split("\n\n")[1].splitlines()
    assert [line[0] for line in verdicts] == ["2", "3", "4"] and all("Verdict: " in line for line in verdicts)
    rows = {row["method"]["words"]: row for row in report["rows"]}
    assert 0.8 < rows["absent"]["presence"] <= 1 and 0 <= rows["absent"]["stolen"] < 0.1
    assert set(rows["pair"]["class_iou"]) >= {"background"} and rows["pair"]["accuracy"] > 0.8
    (trust,) = (row["trust"] for row in report["rows"] if "trust" in row)
    assert sum(trust["mean"]) == pytest.approx(1, abs=1e-4) and trust["pictures"] == 2


@NEEDS_DEMO
def test_the_numbers_are_those_of_the_maps(single: tuple[Path, dict[str, Any]]) -> None:
    """Each row, from its own forward and compared pixel by pixel; and the model finds more than chance."""
    pipe: Any = load_demo_pipeline()
    pipe.set_progress_bar_config(disable=True)
    _, report = single
    assert report["pictures"] == 6 and not report["failed"]
    for row in report["rows"][:3]:
        right = labelled = 0
        overlap: dict[str, np.ndarray] = {}
        for index in range(6):
            one = scene(HELD_OUT + 1000 + index, 128)
            projection = row["method"]["projection"]
            maps = ConceptAttention.encode(
                pipe, one.image.copy(), one.names, [], prompt=one.caption, projection=projection
            )
            shares = interpolate(maps.raw.saliency(), (128, 128), mode="bilinear")
            found, known = shares[0].argmax(dim=0).numpy() + 1, one.labels > 0
            right, labelled = right + int((found == one.labels)[known].sum()), labelled + int(known.sum())
            for label, name in enumerate(one.names, start=1):
                here, there = (found == label) & known, one.labels == label
                overlap[name] = overlap.get(name, np.zeros(2)) + np.array([(here & there).sum(), (here | there).sum()])
        assert row["accuracy"] == right / labelled
        assert row["true_miou"] == pytest.approx(np.mean([both / either for both, either in overlap.values()]))
    ours, _, value, *_ = report["rows"]
    assert ours["accuracy"] > 0.5 and min(ours["map"], value["map"]) > 0.5


@NEEDS_DEMO
@pytest.mark.slow
def test_a_killed_run_goes_on(single: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Killed without warning in the middle and continued: what was done is kept, the report the same to the byte."""
    file = tmp_path / "pictures-0.jsonl"
    process = start("-m", "conceptattention_core.evaluate", *SCENES, "--images", "5000", "--out", tmp_path)
    until = time.monotonic() + 500
    while len(lines(file)) < 4 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = [line for line in lines(file) if line.endswith(b"\n")]
    file.write_bytes(b"".join(before) + b'{"picture": "10000')  # as if the kill had cut a line off
    assert len(before) >= 4 and not (tmp_path / "report.json").exists()
    evaluate(*SCENES, "--images", "6", "--out", tmp_path)
    after = lines(file)
    assert after[: len(before)] == before and len(after) == max(7, len(before))
    assert (tmp_path / "report.json").read_bytes() == (single[0] / "report.json").read_bytes()
    assert (tmp_path / "report.md").read_bytes() == (single[0] / "report.md").read_bytes()


@NEEDS_DEMO
@pytest.mark.slow
def test_two_processes_give_what_one_gives(single: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "-m", "conceptattention_core.evaluate"]
    process = start(*launch, *SCENES, "--images", "6", "--out", tmp_path)
    _, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors.decode()[-2000:]
    assert [len(lines(tmp_path / f"pictures-{index}.jsonl")) for index in (0, 1)] == [4, 4]
    assert (tmp_path / "report.json").read_bytes() == (single[0] / "report.json").read_bytes()


@NEEDS_DEMO
def test_other_settings_are_told(single: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in single[0].iterdir()}
    assert main([*SCENES, "--images", "6", "--pooling", "first", "--out", str(single[0])]) == 2
    said = capsys.readouterr().err
    assert "error: " in said and "holds results of other settings" in said and "--out" in said
    assert {path: path.read_bytes() for path in single[0].iterdir()} == before


@NEEDS_DEMO
@pytest.mark.parametrize(
    "damage",
    [
        b"\x00\x00\x00",
        b'{"picture": "3"}',
        b'{"picture": 3, "error": "x"}',
        b'{"picture": "3", "counts": [{"right": "many", "labelled": 1, "classes": {}, "ap": null, "leakage": null}]}',
        b'{"picture": "3", "counts": 5}',
        b"[" * 100_000,
        b"[]",
        b"\xff",
    ],
    ids=range(8),
)
def test_damaged_results_are_told(
    single: tuple[Path, dict[str, Any]], tmp_path: Path, damage: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that says which, before any picture; nothing of the folder is changed."""
    whole = lines(single[0] / "pictures-0.jsonl")
    for at in (0, 2):
        file = tmp_path / "pictures-0.jsonl"
        file.write_bytes(b"".join([*whole[:at], damage + b"\n", *whole[at + 1 :]]))
        before = file.read_bytes()
        assert main([*SCENES, "--images", "6", "--out", str(tmp_path)]) == 2
        said = capsys.readouterr().err
        assert f"error: Line {at + 1} of {file} is damaged" in said and file.read_bytes() == before


@NEEDS_DEMO
def test_memory_does_not_grow_with_the_pictures() -> None:
    """The process's peak after 4 pictures is the peak after 12: nothing of a picture stays."""
    methods = [Method(), Method(projection="value", first_block=3), Method(pooling="first")]
    methods += [Method(noise_level=0.2, reading="auto"), Method(keys="image", temperature=0.1)]
    evaluator = Evaluator(load_demo_pipeline(), methods, Protocol(background=(), prompt="caption"), Settings(256))
    peaks = []
    for index in range(12):
        one = scene(HELD_OUT + 1000 + index)
        evaluator.evaluate(sample_of(one))
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)  # MiB on Linux
    assert peaks[-1] - peaks[3] < 4, peaks  # one picture's tensors are about 20 MiB


def sample_of(one: Any) -> Any:
    from conceptattention_core.evaluate.datasets import Sample

    return Sample(one.image.copy(), one.labels.astype(np.int16), one.names, one.caption)


def write_folder(folder: Path, keys: Sequence[str]) -> Path:
    """Photographs of noise: a cat above, "background" below, and a strip that is not labelled."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    (folder / "names.txt").write_text("0 background\n1 cat\n2 sofa\n")
    numbers = np.zeros((40, 60), dtype=np.uint8)
    numbers[:20], numbers[20:, 50:], numbers[38:] = 1, 2, 255
    for seed, key in enumerate(keys):
        pixels = np.random.default_rng(seed).integers(0, 255, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{key}.png")
        Image.fromarray(numbers).save(folder / "labels" / f"{key}.png")
    return folder


def test_a_local_model_on_a_folder_of_pictures(
    make_pipe: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Flux that diffusers saved, the whole study, a damaged picture among the good ones, which is then repaired."""
    make_pipe(num_layers=4).save_pretrained(tmp_path / "tiny-flux")
    data, out = write_folder(tmp_path / "data", "abc"), tmp_path / "out"
    whole = (data / "images" / "b.png").read_bytes()
    (data / "images" / "b.png").write_bytes(whole[:200])
    call = ["folder", "--data", data, "--model", tmp_path / "tiny-flux", "--device", "cpu", "--size", "64"]
    call += ["--study", "--out", out]
    damaged = evaluate(*call)
    assert damaged["pictures"] == 2 and list(damaged["failed"]) == ["b"]
    assert "picture b failed: " in capsys.readouterr().err and "- b: " in (out / "report.md").read_text()
    (data / "images" / "b.png").write_bytes(whole)
    report = evaluate(*call)
    assert report["pictures"] == 3 and not report["failed"]
    assert len(lines(out / "pictures-0.jsonl")) == 5  # settings, a, b's failure, c, b

    methods = [row["method"] for row in report["rows"]]
    ablate = report["settings"]["ablate"]
    assert {name: len(rows) for name, rows in ablate.items()} == {
        "projection": 6,
        "blocks": 2 + 3 * 4,
        "noise": 27,
        "keys": 4,
        "pooling": 3,
        "temperature": 11,
        "reading": 3,
    }
    text = (out / "report.md").read_text()
    for line in ("default_blocks = (", "temperature = ", "measured = ", "no fields of that file: projection "):
        assert line in text
    assert {methods[index]["keys"] for index in ablate["keys"]} == {"both", "image", "concepts", "none"}
    assert len({row["map"] for index, row in enumerate(report["rows"]) if index in ablate["keys"]}) == 4
    assert {name for row in report["rows"] for name in row["class_iou"]} == {"background", "cat", "sofa"}
    for name in [*(f"{ask}-{what}" for ask in ablate for what in ("accuracy", "true-miou")), "blocks-maps"]:
        pixels = np.array(Image.open(out / f"{name}.png"))
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10 and pixels.shape[1] > 600


def test_one_object_a_picture_beside_the_papers_figures(make_pipe: Any, tmp_path: Path) -> None:
    """VOC's single-class protocol: above the map's own mean, foreground and background, on 224 x 224."""
    make_pipe().save_pretrained(tmp_path / "tiny-flux")
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / "VOC2012" / name).mkdir(parents=True)
    numbers = np.zeros((30, 50), dtype=np.uint8)
    numbers[5:25, 10:30], numbers[25:, :] = 8, 255  # a cat, and void
    for key in ("2007_000001", "2007_000002"):
        noise = np.random.default_rng(int(key[-1])).integers(0, 255, (30, 50, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "VOC2012" / "JPEGImages" / f"{key}.jpg")
        Image.fromarray(numbers).save(tmp_path / "VOC2012" / "SegmentationClass" / f"{key}.png")
    (tmp_path / "VOC2012/ImageSets/Segmentation/val.txt").write_text("2007_000001\n2007_000002\n")
    call = ["voc", "--data", tmp_path / "VOC2012", "--model", tmp_path / "tiny-flux", "--device", "cpu"]
    report = evaluate(*call, "--background", "background, rock", "--size", "64", "--out", tmp_path / "out")
    for row in report["rows"]:
        assert row["paper_miou"] == row["accuracy"] / (2 - row["accuracy"])
        assert list(row["class_iou"]) == ["background", "foreground"]
        assert row["true_miou"] == sum(row["class_iou"].values()) / 2
    assert report["published"][0]["accuracy"] == 87.85
    table = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "| Concept Attention, Flux (paper) | 87.85 |  |  | 76.45 | 90.19 |" in table
    done = [json.loads(line) for line in lines(tmp_path / "out" / "pictures-0.jsonl")[1:]]
    assert {counts["labelled"] for line in done for counts in line["counts"]} == {187 * 224}  # 25 rows of 30, of 224


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["voc", "--data", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "VOCdevkit/VOC2012" in said and said.count("\n") == 1
    with pytest.raises(SystemExit):
        main(["scenes", "--images", "0"])


@pytest.mark.parametrize("command", ["", "scenes", "imagenet-segmentation", "voc", "folder"])
def test_help_shows_a_command_that_parses(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    from conceptattention_core.evaluate.cli import build_parser

    with pytest.raises(SystemExit):
        main([command, "--help"] if command else ["--help"])
    text = capsys.readouterr().out.replace("\\\n", " ")
    examples = re.findall(r"^ +python -m conceptattention_core\.evaluate (\S.*)", text, re.MULTILINE)
    assert len(examples) == (1 if command else 4)
    for one in examples:
        assert build_parser().parse_args(one.split()).model
