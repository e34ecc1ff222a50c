"""Which mask method, and which floor of presence: measured on scenes with absent concepts. Prints Markdown.

    python -m tools.benchmarks.masks --comfyui PATH

Held-out scenes of the demo model, sampled as `tools.benchmarks.presence` does it: every noun of a scene and `--absent`
that are not in it are asked for by Concept Attention Mask, with its defaults but for the method and `min_presence`, and
the picture as guide. IoU: of present concepts with the scene's own label map. Masked in vain: part of the picture that
the mask of an absent concept covers; refused: masks of absent concepts that are empty; lost: masks of present ones.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from conceptattention_core.masks.recipe import MaskRecipe, make_mask
from tools.benchmarks.presence import sampled
from tools.benchmarks.quality import start_comfyui

METHODS = ("soft", "mean", "otsu", "percentile", "threshold", "argmax")
FLOORS = (0.0, 0.25, 0.5)
OFFSET = 5000
"""Scenes of their own: neither presence nor anything else was fitted on them."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH"), help="or set COMFYUI_PATH")
    parser.add_argument("--scenes", type=int, default=60)
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
    there: dict[tuple[str, float], list[float]] = {(method, floor): [] for method in METHODS for floor in FLOORS}
    lost, vain = ({key: [] for key in there} for _ in range(2))
    for index in range(options.scenes):
        with torch.inference_mode():
            maps, one = sampled(parts, HELD_OUT + OFFSET + index, options)
        picture = torch.from_numpy(one.image.copy()).float()[None] / 255
        for name in maps.concepts[:-1]:
            wanted = torch.from_numpy(one.labels == one.names.index(name) + 1) if name in one.names else None
            for method in METHODS:
                recipe = MaskRecipe(name, method=method)
                for floor in FLOORS:
                    made = make_mask(maps, replace(recipe, min_presence=floor), picture).mask[0] > 0.5
                    if wanted is None:
                        vain[method, floor].append(float(made.float().mean()))
                    else:
                        either = (made | wanted).sum()
                        there[method, floor].append(float((made & wanted).sum() / either))
                        lost[method, floor].append(float(not made.any()))
        print(f"scene {index + 1} of {options.scenes}", file=sys.stderr, end="\r")
    count = len(next(iter(there.values()))), len(next(iter(vain.values())))
    print(f"{options.scenes} held-out scenes, {count[0]} present and {count[1]} absent concepts:\n")
    print("| method | `min_presence` | IoU, present | lost | masked in vain | refused |\n|---|---|---|---|---|---|")
    for (method, floor), values in there.items():
        in_vain, gone = torch.tensor(vain[method, floor]), sum(lost[method, floor]) / len(values)
        print(
            f"| {method} | {floor:g} | {sum(values) / len(values):.3f} | {gone:.1%} | {in_vain.mean():.1%} | "
            f"{(in_vain == 0).float().mean():.1%} |"
        )


if __name__ == "__main__":
    main()
