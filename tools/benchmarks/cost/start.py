"""What the pack adds to ComfyUI's start."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

from .setting import ROOT

START = """
import asyncio, json, sys, time
sys.path.insert(0, sys.argv[1])
import comfy.cli_args
comfy.cli_args.args.cpu = sys.argv[3] == "cpu"
import execution, server, nodes

async def main():
    start = time.perf_counter()
    await nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False)
    builtin, before, start = time.perf_counter() - start, set(sys.modules), time.perf_counter()
    assert await nodes.load_custom_node(sys.argv[2], module_parent="custom_nodes")
    return builtin, time.perf_counter() - start, sorted(set(sys.modules) - before)

print(json.dumps(asyncio.run(main())))
"""


def start_report(args: argparse.Namespace, times: int) -> tuple[str, str]:
    """The table row on ComfyUI's start, and a line on the modules that come in with the pack."""
    command = [sys.executable, "-c", START, str(args.comfyui), str(ROOT), args.device]
    runs = []
    for _ in range(times):
        done = subprocess.run(command, cwd=args.comfyui, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"ComfyUI did not start: {done.stderr.strip()}")
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    added = sorted(seconds for _, seconds, _ in runs)
    pack = str(ROOT).replace(".", "_x_")  # as ComfyUI names its modules
    foreign = [name for name in runs[0][2] if pack not in name]
    row = f"| ComfyUI's start | {statistics.median(run[0] for run in runs):.2f} s for its own extra nodes | "
    row += f"+ {statistics.median(added):.3f} s | {added[0]:.3f} .. {added[-1]:.3f} s | at most 0.3 s |"
    return row, f"Modules that only the pack brings in: its own, {', '.join(foreign) or 'and no other'}."
