"""Does the library work with the oldest versions that it allows? Makes an environment of them, and tests it there.

    .venv/bin/python -m tools.package.floors

The environment lies in .comfyui/floors: every requirement of requirements-library.txt at its floor, what those need in
turn as new as they allow. It runs the core's and the diffusers adapter's tests and one picture of the command line.
ComfyUI's own floor is tested by tools/server/check_comfyui_versions.py, and safetensors' there, 0.4.2, here as well.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tools.server.environment import PYTHON, ROOT, STATE, uv_environment

HOME = STATE / "floors"
TESTS = ["tests/core", "tests/diffusers"]
COMFYUI_FLOOR = "safetensors==0.4.2"  # what ComfyUI 0.20.1 asks for
STORAGE = ["tests/core/test_damaged_maps.py", "tests/core/test_views_and_storage.py"]
BESIDE = ["aiohttp", "packaging", "pytest", "pytest-timeout", "hypothesis", "accelerate", "peft", "h5py", "captum"]


def run(*command: Any, **options: Any) -> None:
    print("$", *command, flush=True)
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True, **options)


def main() -> None:
    python = HOME / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    run(sys.executable, "-m", "venv", "--clear", HOME)
    install = [PYTHON, "-m", "uv", "pip", "install", "--quiet", "--python", python, "--only-binary", ":all:"]
    env = uv_environment()
    run(*install, "--resolution", "lowest-direct", "-r", ROOT / "requirements-library.txt", env=env)
    kept = Path(HOME, "kept.txt")
    listing = subprocess.run([str(part) for part in (*install[:4], "freeze", "--python", python)],
                             stdout=subprocess.PIPE, text=True, check=True).stdout  # fmt: skip
    kept.write_text(listing)
    run(*install, "--constraint", kept, *BESIDE, env=env)
    pytest = [python, "-m", "pytest", "--import-mode=importlib", "--confcutdir=tests", "-p", "no:cacheprovider", "-q"]
    run(*pytest, *TESTS)
    run(python, "-m", "conceptattention_core", "generate", "a house on the sand", "--concepts", "house, sky",
        "--steps", "2", "--out", HOME / "out")  # fmt: skip
    run(*install, "--no-deps", COMFYUI_FLOOR, env=env)
    run(*pytest, *STORAGE)


if __name__ == "__main__":
    main()
