"""dev.py's promise: every failure is one line and a status, and nothing half-made is taken for whole."""

from __future__ import annotations

import ast
import io
import socket
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dev
from conceptattention_core.pictures.colors import concept_colors
from tools.server import environment, run_workflow

EARLY = ("dev.py", "tools/__init__.py", "tools/server/__init__.py", "tools/server/environment.py")


@pytest.mark.parametrize("name", EARLY)
def test_old_pythons_can_parse_it_to_be_told(name: str) -> None:
    ast.parse((environment.ROOT / name).read_text(encoding="utf-8"), feature_version=(3, 8))


def test_wrong_python_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    assert dev.main(["demo"]) == 1
    assert "Python 3.10 to 3.13 is needed" in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_folder_that_is_no_comfyui_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    assert dev.main(["serve"]) == 1
    assert capsys.readouterr().err.strip() == (
        f"dev.py: COMFYUI_PATH is {tmp_path}, which is no ComfyUI: it has no main.py, no comfy, no requirements.txt"
    )


def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(environment.Failure, match=f"port {port} cannot be used"):
            dev.claim_port(port)
    assert dev.claim_port(None) > 0


def test_a_server_that_dies_is_reported_with_its_last_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("print('INFO fine')\nprint('ImportError: no kitchen')\nprint('bye')\nexit(3)\n")
    monkeypatch.setattr(dev, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(dev, "BASE", tmp_path)
    monkeypatch.setattr(dev, "has_gpu", lambda: True)
    monkeypatch.setattr(environment, "LOGS", tmp_path / "logs")
    with pytest.raises(environment.Failure, match=r"died \(exit 3\): ImportError: no kitchen \[log: .*server\.log"):
        dev.Server(tmp_path, None, []).__enter__()


def test_an_installation_counts_only_when_it_came_to_its_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pins = tmp_path / "requirements.txt"
    pins.write_text("torch==1")
    ran: list[str] = []
    works = {"Installing uv"}
    monkeypatch.setattr(environment, "VENV", tmp_path)
    monkeypatch.setattr(environment, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(environment, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(environment, "run_logged", lambda what, *_: ran.append(what) or what in works)
    with pytest.raises(environment.Failure, match=r"is there a network.*install\.log"):
        environment.install_requirements([pins])
    assert len(ran) == 3 and not (tmp_path / "installed").exists()

    works.add(ran[1])  # uv, the second time
    ran.clear()
    environment.install_requirements([pins])
    environment.install_requirements([pins])
    assert len(ran) == 2, "the second time there is nothing to do"
    pins.write_text("torch==2")
    environment.install_requirements([pins])
    assert len(ran) == 4, "other pins are installed"


def test_pips_index_is_handed_to_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PYTHON", Path(sys.executable))
    monkeypatch.delenv("UV_DEFAULT_INDEX", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple")
    assert environment.uv_environment()["UV_DEFAULT_INDEX"] == "https://index.example/simple"


def test_unpacking_takes_plain_files_of_one_folder_only(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("top/vendor/ComfyUI/comfy/x.py", "top/vendor/other.py", "top/setup.py"):
            member = tarfile.TarInfo(name)
            member.size = 2
            tar.addfile(member, io.BytesIO(b"ok"))
        link = tarfile.TarInfo("top/vendor/ComfyUI/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    environment.unpack(archive, "vendor/ComfyUI", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["comfy", "x.py"]


@pytest.mark.parametrize("name", ["top/vendor/ComfyUI/../../../../evil.py", "top/vendor/ComfyUI//evil.py"])
def test_unpacking_refuses_to_leave_its_folder(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(environment.Failure, match="outside its folder"):
        environment.unpack(archive, "vendor/ComfyUI", tmp_path / "deep" / "out")


def test_a_clone_is_known_by_its_code(tmp_path: Path) -> None:
    """Any change of what runs, or one more file of it, makes another hash; line ends and pictures do not."""
    (tmp_path / "comfy").mkdir()
    (tmp_path / "comfy" / "a.py").write_bytes(b"x = 1\ny = 2\n")
    (tmp_path / "requirements.txt").write_bytes(b"torch\n")
    first = environment.code_digest(tmp_path)
    (tmp_path / "comfy" / "a.py").write_bytes(b"x = 1\r\ny = 2\r\n")
    (tmp_path / "picture.png").write_bytes(b"0")
    assert environment.code_digest(tmp_path) == first
    seen = {first}
    for name, content in (("comfy/a.py", b"x = 2"), ("custom_nodes.py", b""), ("requirements.txt", b"torch\nevil\n")):
        (tmp_path / name).write_bytes(content)
        seen.add(environment.code_digest(tmp_path))
    assert len(seen) == 4
    assert set(environment.COMFYUI_CODE) == set(environment.COMFYUI_SDISTS)


def test_every_package_is_locked_by_hash() -> None:
    """What is asked for is there, at the version asked for, and nothing without a hash."""
    entries = (environment.ROOT / "requirements-dev.lock").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    entries = [line for line in entries if line and not line.startswith("#")]
    assert len(entries) > 100 and all("==" in line and "--hash=sha256:" in line for line in entries)
    locked = {line.split(" ")[0] for line in entries}
    asked = (environment.ROOT / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()
    wanted = (line.partition("#")[0].partition(";")[0].strip() for line in asked)
    assert {line for line in wanted if line} <= locked


def test_shares_are_counted_without_the_legend(tmp_path: Path) -> None:
    palette = (concept_colors(3, 1).numpy() * 255).astype(np.uint8)
    labels = np.repeat(palette[[0, 1, 1, 2, 0, 0]], 8, axis=0)[:, None].repeat(32, axis=1)  # the last third: legend
    Image.fromarray(labels).save(tmp_path / "labels.png")
    assert run_workflow.concept_shares(tmp_path / "labels.png", 32, 3, 1) == [0.25, 0.5, 0.25]


def test_a_picture_that_was_not_saved_is_named(tmp_path: Path) -> None:
    workflow = {"7": {"class_type": "SaveImage", "inputs": {"filename_prefix": "demo/picture"}}}
    outputs = {"7": {"images": [{"filename": "picture_1.png", "subfolder": "demo", "type": "output"}]}}
    with pytest.raises(SystemExit, match="saved no heatmap, no overlay, no mask, no labels"):
        run_workflow.saved_files(workflow, outputs, tmp_path)
