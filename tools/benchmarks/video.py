"""What reading a video costs: seconds and memory of each reading node. Prints a Markdown table.

    python -m tools.benchmarks.video --comfyui ~/ComfyUI [--frames 21 --size 480 832]

Maps of Wan's size (81 pictures of 480 x 832 from 21 frames, five concepts, 4 steps, 30 blocks), made up: a blob for
each concept, moving, and noise. Each node runs in a process of its own, on the maps and on grey pictures. Seconds are
of the processor; memory is the peak over what maps, pictures and libraries take before.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from .quality import ROOT, start_comfyui

CONCEPTS = ("boat", "sea", "sky", "island", "background")
BLOCKS = {"first_block": -65, "last_block": -65, "softmax_temperature": 1.0}
PLAIN = {"grow": 0, "blur": 0, "fill_holes": False, "min_area": 0.0, "invert": False, "min_presence": 0.0}
STYLE = {"layout": "pictures", "colors": "heat", "scale": "shared", "alpha": 0.6}
NODES: dict[str, dict[str, Any]] = {
    "ConceptAttentionMask": {"concept": "boat", "method": {"method": "argmax"}, "keep": {"keep": "all"},
                             "refine_edges": True, **PLAIN, **BLOCKS},
    "ConceptAttentionHeatmap": {"concept": "boat", **STYLE, **BLOCKS},
    "ConceptAttentionSegmentation": {"concept": "", "refine_edges": True, "min_area": 0.0, "fill_holes": False,
                                     **BLOCKS},
    "ConceptAttentionExplorer": {},
}  # fmt: skip


def made_up(frames: int, size: tuple[int, int]) -> Any:
    """Maps of a video in which every concept but the background has a blob of its own that moves."""
    from conceptattention_core.maps import ConceptAttentionMaps
    from conceptattention_core.times import picture_times

    h, w = size[0] // 16, size[1] // 16
    generator = torch.Generator().manual_seed(0)
    scores = 0.5 * torch.randn(4, 30, 1, len(CONCEPTS), frames, h, w, generator=generator)
    for at in range(len(CONCEPTS) - 1):
        x = w * (0.1 + 0.8 * torch.linspace(at / 4, 1 - at / 4, frames))[:, None, None]
        y = h * (0.2 + 0.2 * at)
        far = (torch.arange(w) - x) ** 2 + (torch.arange(h)[:, None] - y) ** 2
        scores[:, :, :, at] += 4 * torch.exp(-far / (0.02 * w * w))
    times = picture_times(frames, 4)
    sigmas = (1.0, 0.75, 0.5, 0.25)
    return ConceptAttentionMaps(
        scores, CONCEPTS, 1, tuple(range(30)), sigmas, size, "value", 16, "Wan", (0, -1), times=times
    )


def measure(name: str, options: argparse.Namespace) -> None:
    import asyncio

    start_comfyui(options.comfyui)
    import nodes

    assert asyncio.run(nodes.load_custom_node(str(ROOT), module_parent="custom_nodes"))
    torch.set_num_threads(1)
    maps = made_up(options.frames, tuple(options.size))
    image = torch.full((maps.pictures, *options.size, 3), 0.5)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with torch.inference_mode():
        nodes.NODE_CLASS_MAPPINGS[name].execute(maps=maps, image=image, **NODES[name])
    seconds = time.process_time() - start
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"| {name} | {seconds:.1f} s | {grown / 2**20:.2f} GiB |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH"), help="or set COMFYUI_PATH")
    parser.add_argument("--frames", type=int, default=21, help="of the model; four pictures each, but for the first")
    parser.add_argument("--size", type=int, nargs=2, default=(480, 832), metavar=("H", "W"))
    parser.add_argument("--node", choices=NODES, help="only this one, in this process")
    options = parser.parse_args()
    if options.comfyui is None:
        parser.error("say where ComfyUI is: --comfyui PATH, or set COMFYUI_PATH")
    if options.node:
        measure(options.node, options)
        return
    print("| node | processor | memory |\n|---|---|---|", flush=True)
    for name in NODES:
        subprocess.run([sys.executable, "-m", "tools.benchmarks.video", *sys.argv[1:], "--node", name], check=True)


if __name__ == "__main__":
    main()
