"""Which settings of Concept Attention from Image help a mask, measured. Prints Markdown for docs/measured.md.

    python -m tools.benchmarks.settings --comfyui PATH

Held-out scenes of the demo model, as pictures that exist. Every noun of a scene is asked for, with `background`; what
changes is whether `prompt` holds the scene's caption, at which noise levels and in how many noise samples the model
looks, and the mask's method (edges by the picture). IoU with the scene's own label map, a mean over all things; beside
it the paired difference from the node's defaults (prompt empty, 0.5, one sample), with its standard error over scenes.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from conceptattention_core.masks.recipe import MaskRecipe, make_mask
from tools.benchmarks.quality import start_comfyui

BACKGROUND = "background"
OFFSET = 8000
"""Scenes of their own: nothing was fitted on them."""

LOOKS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "prompt filled": {"prompt": True},
    "4 noise samples": {"noise_samples": 4},
    "noise_level 0.3": {"noise_level": 0.3},
    "noise_level 0.7": {"noise_level": 0.7},
    "prompt filled, 4 noise samples": {"prompt": True, "noise_samples": 4},
}
METHODS = ("argmax", "soft", "otsu", "mean")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH"), help="or set COMFYUI_PATH")
    parser.add_argument("--scenes", type=int, default=20)
    options = parser.parse_args()
    if options.comfyui is None:
        parser.error("say where ComfyUI is: --comfyui PATH, or set COMFYUI_PATH")
    start_comfyui(options.comfyui)
    from conceptattention_core.adapters.comfy.demo import load_demo_flux
    from conceptattention_core.adapters.comfy.encode import encode_picture
    from conceptattention_core.adapters.comfy.text import encode_concepts
    from conceptattention_core.evaluate.datasets.scenes.scenes import HELD_OUT, scene

    model, clip, vae = load_demo_flux()
    found: dict[tuple[str, str], list[float]] = {(look, method): [] for look in LOOKS for method in METHODS}
    for index in range(options.scenes):
        one = scene(HELD_OUT + OFFSET + index)
        picture = torch.from_numpy(one.image.copy()).float()[None] / 255
        concepts = encode_concepts(clip, (*one.names, BACKGROUND), 1, "mean", model)
        for look, given in LOOKS.items():
            chosen = {**given, "prompt": one.caption if given.get("prompt") else ""}
            with torch.inference_mode():
                maps = encode_picture(model, clip, vae, picture, concepts, **chosen)
            for method in METHODS:
                scores = []
                for at, name in enumerate(one.names):
                    made = make_mask(maps, MaskRecipe(name, method=method), picture).mask[0] > 0.5
                    wanted = torch.from_numpy(one.labels == at + 1)
                    scores.append(float((made & wanted).sum() / (made | wanted).sum().clamp_min(1)))
                found[look, method].append(float(np.mean(scores)))
        print(f"scene {index + 1} of {options.scenes}", file=sys.stderr, end="\r")
    print(f"{options.scenes} held-out scenes; IoU, and the difference from the defaults:\n")
    print(f"| | {' | '.join(METHODS)} |\n|{'---|' * (len(METHODS) + 1)}")
    for look in LOOKS:
        cells = []
        for method in METHODS:
            values, base = np.array(found[look, method]), np.array(found["as it is", "argmax"])
            error = (values - base).std(ddof=1) / len(base) ** 0.5
            same = look == "as it is" and method == "argmax"
            cells.append(f"{values.mean():.3f}" + ("" if same else f" ({(values - base).mean():+.3f} ± {error:.3f})"))
        print(f"| {look} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
