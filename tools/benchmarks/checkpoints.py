"""Earlier demo models, out of the repository's own history: stand-ins for models that nobody has measured.

They differ in how far they were taught the space that the maps are read in, which is said in `docs/measured.md`.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

CHECKPOINTS = {"today": "97f951d", "T2": "3ae5596", "T1": "a49a21e", "untaught": "ce0573e"}
"""Commits. today: taught in all blocks at the end; T2: in blocks 2 to 5; T1: late and weakly; untaught: not at all."""


def checkpoint_folder(name: str, cache: Path) -> Path:
    """A checkpoint's three files, written below `cache` once. name: of `CHECKPOINTS`, or any commit.

    Raises RuntimeError where the history is not there (a shallow clone, an installed package).
    """
    commit = CHECKPOINTS.get(name, name)
    folder = cache / commit
    for file in ("demo_flux", "demo_text_encoders", "demo_vae"):
        path = folder / f"{file}.safetensors"
        if path.is_file():
            continue
        shown = subprocess.run(
            ["git", "-C", str(ROOT), "show", f"{commit}:demo_model/{path.name}"], capture_output=True, check=False
        )
        if shown.returncode:
            raise RuntimeError(
                f"{name} ({commit}) is not in this clone's history: {shown.stderr.decode().strip()}. "
                "Fetch the whole history: git fetch --unshallow"
            )
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_bytes(shown.stdout)
        part.rename(path)
    return folder
