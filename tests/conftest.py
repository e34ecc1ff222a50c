"""Puts the repository and a real ComfyUI (COMFYUI_PATH, which `dev.py test` sets) on the path."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMFYUI = Path(os.environ["COMFYUI_PATH"]) if "COMFYUI_PATH" in os.environ else ROOT / ".comfyui" / "ComfyUI"

# ComfyUI first: its nodes.py and this repository's nodes/ share a name, and only the pack itself means the latter.
sys.path[:0] = [str(COMFYUI), str(ROOT)]

ONE_SERVER = ("server", "browser")
"""Folders whose tests share a server or a window: they stay together. Elsewhere a file does, with its own fixtures."""


@pytest.hookimpl(tryfirst=True)  # before the group becomes part of a test's name
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What one of several processes does alone (`dev.py test` starts them)."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        room = item.path.relative_to(ROOT / "tests").parts[0]
        group = room if room in ONE_SERVER else item.path.relative_to(ROOT).as_posix()
        item.add_marker(pytest.mark.xdist_group(group))
