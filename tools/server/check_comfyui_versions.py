"""Does the pack load, and its demo run, on other versions of ComfyUI? One line for each.

    .venv/bin/python -m tools.server.check_comfyui_versions 0.20.1 0.30.0

A version is fetched into .comfyui/versions, by git or from the package index; a folder is taken as it is. Those of its
requirements that this environment does not satisfy are installed beside it, for its server alone.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import re
import sys
import time
from pathlib import Path

from packaging.requirements import Requirement

from conceptattention_core.concepts import parse_concepts

from .comfy_server import Graph, Server
from .environment import ROOT, STATE, Failure, check_comfyui, fetch_comfyui, fresh_log, run_logged, uv_environment
from .run_workflow import concept_shares, saved_files

DEMO = ROOT / "workflows" / "api" / "demo.json"
VERSIONS = STATE / "versions"
NOT_NEEDED = "comfyui-workflow-templates"  # pictures and films, hundreds of megabytes of them


def unsatisfied(requirements: Path) -> list[str]:
    """The lines of a requirements file that this environment does not satisfy."""
    lines = (line.partition("#")[0].strip() for line in requirements.read_text(encoding="utf-8").splitlines())
    missing = []
    for wanted in (Requirement(line) for line in lines if line):
        try:
            satisfied = wanted.specifier.contains(importlib.metadata.version(wanted.name), prereleases=True)
        except importlib.metadata.PackageNotFoundError:
            satisfied = False
        if not satisfied and wanted.name != NOT_NEEDED:
            missing.append(str(wanted))
    return missing


def install_beside(requirements: list[str], folder: Path) -> None:
    """Install into a folder of its own, without what they ask for in turn: this environment has that."""
    log = fresh_log("versions.log")
    command = [sys.executable, "-m", "uv", "pip", "install", "--no-deps", "--target", folder, *requirements]
    what = f"Installing {', '.join(requirements)}"
    if requirements and not folder.is_dir() and not run_logged(what, command, log, uv_environment()):
        raise Failure(f"cannot install {', '.join(requirements)}", log)


def run_demo(comfyui: Path, packages: Path, folder: Path) -> str:
    """Run the demo workflow on a server of this ComfyUI; how much of the picture each concept won, or what failed."""
    workflow = Graph(json.loads(DEMO.read_text(encoding="utf-8")))
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    with Server(comfyui, folder, environment=environment) as server:
        if not server.json("/object_info/ConceptAttentionApply"):
            found = re.findall(r"Cannot import .*custom_nodes.*|\w*Error: .*", server.log_text())
            return f"FAILED to load: {found[-1] if found else server.log}"
        result = server.run(workflow, timeout=900)
        if not result.ok:
            return f"FAILED in {result.failed_node}: {result.error.splitlines()[0]}"
        files = saved_files(workflow, result.entry["outputs"], folder / "output")
    apply = next(node["inputs"] for node in workflow.values() if node["class_type"] == "ConceptAttentionApply")
    size = next(node["inputs"]["height"] for node in workflow.values() if "height" in node["inputs"])
    names, background = parse_concepts(apply["concepts"], apply["background"])
    shares = concept_shares(files["labels"][0], size, len(names), background)
    return "runs: " + ", ".join(f"{name} {share:.1%}" for name, share in zip(names, shares, strict=True))


def check(wanted: str) -> str:
    """The line for a version, or for a ComfyUI in a folder."""
    started = time.monotonic()
    given = Path(wanted).resolve() if Path(wanted).is_dir() else None
    home = VERSIONS / (given.name if given else wanted)
    home.mkdir(parents=True, exist_ok=True)
    version = wanted
    try:
        comfyui = check_comfyui(given) if given else fetch_comfyui(wanted, home / "ComfyUI")
        version = re.findall(r"[\d.]+\d", (comfyui / "comfyui_version.py").read_text())[0]
        install_beside(unsatisfied(comfyui / "requirements.txt"), home / "packages")
        verdict = run_demo(comfyui, home / "packages", home / "base")
    except (Failure, RuntimeError, TimeoutError) as error:
        verdict = f"FAILED: {' '.join(str(error).split())[-500:]}"
    return f"ComfyUI {version}: {verdict} ({time.monotonic() - started:.0f} s)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="+", help="such as 0.20.1, or the folder of a ComfyUI")
    lines = [check(version) for version in parser.parse_args().versions]
    print("\n".join(lines))
    sys.exit(any("FAILED" in line for line in lines))


if __name__ == "__main__":
    main()
