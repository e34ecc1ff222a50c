"""Does `pip install .` give a library that works by itself? Builds the wheel, and tries it in a bare environment.

    .venv/bin/python -m tools.package.wheel

The environment lies in .comfyui/wheel and has nothing but the wheel and what it asks for. A picture is made there and
the maps are measured, from an empty folder, so that nothing of this checkout can be imported.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.server.environment import PYTHON, ROOT, STATE, uv_environment

HOME = STATE / "wheel"
PARTS = ("pyproject.toml", "README.md", "LICENSE", "requirements-library.txt", "conceptattention_core", "demo_model")
"""What the wheel is made of."""

COMMANDS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("conceptattention_core", "generate", "a house on the sand", "--concepts", "house, sky", "--steps", "2"),
        "maps.safetensors",
    ),
    (("conceptattention_core.evaluate", "scenes", "--images", "1", "--device", "cpu"), "report.json"),
)
"""Modules that are run with their arguments, and a file that each writes."""


def build_wheel(folder: Path) -> Path:
    """Build from a copy of this checkout's parts, so that no earlier build is mixed in. Returns the file."""
    with tempfile.TemporaryDirectory() as copy:
        for name in PARTS:
            take = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            take(ROOT / name, Path(copy, name))
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder]
        subprocess.run([*map(str, command), copy], check=True)
    (wheel,) = folder.glob("conceptattention-*.whl")
    return wheel


def try_out(python: Path | str, folder: Path, env: dict[str, str] | None = None) -> None:
    """Run what a user runs first, in an empty folder. Raises CalledProcessError or FileNotFoundError where it fails."""
    for index, (arguments, written) in enumerate(COMMANDS):
        here = folder / f"run{index}"
        here.mkdir(parents=True)
        run([python, "-m", *arguments, "--out", here / "out"], cwd=here, env=env)
        if not (here / "out" / written).is_file():
            raise FileNotFoundError(f"{' '.join(arguments)} wrote no {written}.")


def run(command: Sequence[Any], **options: Any) -> None:
    print("$", *command, flush=True)
    subprocess.run([str(part) for part in command], check=True, **options)


def main() -> None:
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    wheel = build_wheel(HOME)
    python = HOME / ("env/Scripts/python.exe" if os.name == "nt" else "env/bin/python")
    run([sys.executable, "-m", "venv", HOME / "env"])
    run([PYTHON, "-m", "uv", "pip", "install", "--quiet", "--python", python, wheel], env=uv_environment())
    try_out(python, HOME)


if __name__ == "__main__":
    main()
