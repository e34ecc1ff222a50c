"""Puts the repository and a real ComfyUI (COMFYUI_PATH, which `dev.py test` sets) on the path."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMFYUI = Path(os.environ["COMFYUI_PATH"]) if "COMFYUI_PATH" in os.environ else ROOT / ".comfyui" / "ComfyUI"

# ComfyUI first: its nodes.py and this repository's nodes/ share a name, and only the pack itself means the latter.
sys.path[:0] = [str(COMFYUI), str(ROOT)]
