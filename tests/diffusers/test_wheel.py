"""The wheel that `pip install .` makes: whole, nothing else in it, and it works where nothing of this checkout is."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tools.package.wheel import build_wheel, try_out

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("setuptools", minversion="70.1")  # from which on it builds wheels by itself
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def test_it_holds_the_library_and_the_demo_model(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        held = {name for name in file.namelist() if ".dist-info/" not in name}
    code = {path.relative_to(ROOT).as_posix() for path in (ROOT / "conceptattention_core").rglob("*.py")}
    models = [path for path in (ROOT / "demo_model").iterdir() if path.suffix in (".safetensors", ".json")]
    data = {f"conceptattention_core/demo_model/{path.name}" for path in models}
    assert held == code | data | {"conceptattention_core/py.typed"} and data


@pytest.mark.slow
def test_it_works_alone(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel]
    subprocess.run([str(part) for part in install], check=True)
    env = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    where = [sys.executable, "-c", "import conceptattention_core as it; print(it.__file__)"]
    told = subprocess.run(where, cwd=tmp_path, env=env, check=True, capture_output=True, text=True).stdout
    assert Path(told.strip()).is_relative_to(site)
    try_out(sys.executable, tmp_path, env)
