"""Which mask method: measured on scenes with absent concepts. Prints Markdown.

    python -m tools.benchmarks.masks --comfyui PATH

Held-out scenes of the demo model, sampled as `tools.benchmarks.presence` does it: every noun of a scene and `--absent`
that are not in it are asked for by Concept Attention Mask, with its defaults but for the method, and the picture as
guide (for `min_presence` see `tools.benchmarks.presence.floors`). IoU: of present concepts with the scene's own label
map. Masked in vain: part of the picture that the mask of an absent concept covers; refused: masks of absent concepts
that are empty; lost: masks of present ones. Then the same of Concept Explorer, by its threshold, and with its edges
off. `--first` names other scenes: 7000 are those to choose by.
"""

from __future__ import annotations

import argparse
import os
import sys
from itertools import product
from pathlib import Path

import torch

from conceptattention_core.explore import colors_of, masks_of, stacks
from conceptattention_core.maps import covered_size
from conceptattention_core.masks.presence import presence
from conceptattention_core.masks.recipe import MaskRecipe, make_mask
from tools.benchmarks.presence import sampled
from tools.benchmarks.quality import start_comfyui

METHODS = ("soft", "mean", "otsu", "percentile", "threshold", "argmax")
EXPLORERS = ("explorer", "explorer, no edges")
THRESHOLDS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
OFFSET = 5000
"""Scenes of their own: neither presence nor anything else was fitted on them."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH"), help="or set COMFYUI_PATH")
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--first", type=int, default=OFFSET, help="the first scene, counted in the held-out ones")
    parser.add_argument("--absent", type=int, default=4, help="nouns to ask for in vain in each scene")
    parser.add_argument("--noise", type=float, default=0.5, help="noise level to start from, 0..1")
    parser.add_argument("--steps", type=int, default=5, help="Euler steps from there to the picture")
    options = parser.parse_args()
    if options.comfyui is None:
        parser.error("say where ComfyUI is: --comfyui PATH, or set COMFYUI_PATH")
    start_comfyui(options.comfyui)
    from conceptattention_core.adapters.comfy.demo import load_demo_flux
    from conceptattention_core.evaluate.datasets.scenes.scenes import HELD_OUT

    parts = load_demo_flux()
    rules = [*product(METHODS, (0.0,)), *product(EXPLORERS, THRESHOLDS)]
    there: dict[tuple[str, float], list[float]] = {rule: [] for rule in rules}
    lost, vain = ({key: [] for key in there} for _ in range(2))
    for index in range(options.scenes):
        with torch.inference_mode():
            maps, one = sampled(parts, HELD_OUT + options.first + index, options)
        picture = torch.from_numpy(one.image.copy()).float()[None] / 255
        sure = presence(maps) > 0
        grids = {"explorer": stacks(maps, colors_of(maps, picture)), "explorer, no edges": stacks(maps)}
        grid, size = (maps.scores.shape[-2], maps.scores.shape[-1]), maps.image_size
        covered = covered_size(grid, size, size, maps.token_pixels)
        for number, name in enumerate(maps.concepts[:-1]):
            wanted = torch.from_numpy(one.labels == one.names.index(name) + 1) if name in one.names else None
            for method, level in rules:
                if method in grids:
                    shown = masks_of(grids[method][:, number], level, sure[:, number], covered, size)
                    made = shown[0] > 0
                else:
                    made = make_mask(maps, MaskRecipe(name, method=method), picture).mask[0] > 0.5
                if wanted is None:
                    vain[method, level].append(float(made.float().mean()))
                else:
                    there[method, level].append(float((made & wanted).sum() / (made | wanted).sum()))
                    lost[method, level].append(float(not made.any()))
        print(f"scene {index + 1} of {options.scenes}", file=sys.stderr, end="\r")
    count = len(next(iter(there.values()))), len(next(iter(vain.values())))
    print(f"{options.scenes} held-out scenes, {count[0]} present and {count[1]} absent concepts:\n")
    head = ("method", "explorer: threshold", "IoU, present", "lost", "masked in vain", "refused")
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for (method, level), values in there.items():
        in_vain, gone = torch.tensor(vain[method, level]), sum(lost[method, level]) / len(values)
        print(
            f"| {method} | {level or '-'} | {sum(values) / len(values):.3f} | {gone:.1%} | {in_vain.mean():.1%} | "
            f"{(in_vain == 0).float().mean():.1%} |"
        )


if __name__ == "__main__":
    main()
