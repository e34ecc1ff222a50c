"""tools.check_install in a ComfyUI with another pack: a report that can be pasted, and a status that tells."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMFYUI = Path(os.environ.get("COMFYUI_PATH", ROOT / ".comfyui" / "ComfyUI"))

BROKEN = "raise ImportError('no kitchen')\n"
CHANGING = """
import itertools
import comfy.model_patcher
count, clone = itertools.count(1), comfy.model_patcher.ModelPatcher.clone
def changed(self, *args, **kwargs):
    made = clone(self, *args, **kwargs)
    factor = 1 + next(count) / 100
    made.set_model_sampler_post_cfg_function(lambda args: args["denoised"] * factor)
    return made
comfy.model_patcher.ModelPatcher.clone = changed
NODE_CLASS_MAPPINGS = {}
"""


@pytest.mark.slow
def test_the_report(tmp_path: Path) -> None:
    """One neighbour that does not load is told; one that makes the pack change pictures fails the check."""
    if not (ROOT / "demo_model" / "demo_flux.safetensors").is_file():
        pytest.skip("the demo model is not here")
    comfyui = tmp_path / "ComfyUI"
    comfyui.mkdir()
    for one in COMFYUI.iterdir():
        if one.name != "custom_nodes":
            (comfyui / one.name).symlink_to(one)
    (comfyui / "custom_nodes").mkdir()
    (comfyui / "custom_nodes" / "broken.py").write_text(BROKEN)
    (comfyui / "custom_nodes" / "changing.py").write_text(CHANGING)
    (comfyui / "custom_nodes" / "off.disabled").mkdir()
    (comfyui / "custom_nodes" / "pack under another name").symlink_to(ROOT)
    (comfyui / "main.py").unlink()
    shutil.copy(COMFYUI / "main.py", comfyui / "main.py")  # so that its folder is this one
    command = [sys.executable, "-m", "tools.check_install", "--comfyui", str(comfyui)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    said = done.stdout.splitlines()
    assert done.returncode == 1, done.stdout + done.stderr
    assert said[0] == said[-1] == "```" and "other packs: broken.py, changing.py" in said
    for line in ("ok: all 12 nodes", "FAILED: the pack changed the picture", "log: ImportError: no kitchen"):
        assert any(one.startswith(line) for one in said), done.stdout
    assert str(tmp_path) not in "".join(said[:5])
