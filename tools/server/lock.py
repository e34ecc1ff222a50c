"""Write requirements-dev.lock: every package that dev.py installs, for Python 3.10 to 3.13, by version and hash.

    .venv/bin/python -m tools.server.lock

Run it after a change of requirements-dev.txt or of the ComfyUI that `environment.py` fetches.
"""

from __future__ import annotations

import subprocess

from .environment import LOCK, PYTHON, ROOT, fetch_comfyui, uv_environment

HEADER = "# Made by tools/server/lock.py of ComfyUI's requirements and requirements-dev.txt; do not edit.\n"


def main() -> None:
    wanted = [fetch_comfyui() / "requirements.txt", ROOT / "requirements-dev.txt"]
    command = [PYTHON, "-m", "uv", "pip", "compile", "--universal", "--python-version", "3.10", "--generate-hashes"]
    command += ["--no-annotate", "--no-header", "--quiet", *wanted]
    made = subprocess.run(command, env=uv_environment(), stdout=subprocess.PIPE, text=True, check=True).stdout
    LOCK.write_text(HEADER + made, encoding="utf-8")
    print(LOCK)


if __name__ == "__main__":
    main()
