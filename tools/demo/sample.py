"""Twenty pictures of the demo model on one sheet, to be looked at and counted.

    python -m tools.demo.sample --comfyui ~/ComfyUI

Each caption is sampled as in the workflows: stock KSampler, 20 Euler steps, cfg 7, an empty negative prompt, seeds that
are not chosen. The sheet goes to `output/demo_sheet.png`, the captions are printed in its order.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tools.benchmarks.quality import start_comfyui

ROOT = Path(__file__).resolve().parents[2]

CAPTIONS = (
    "the sun, sea and sky",
    "the moon over the snow under a night sky",
    "a cloud, grass, sky",
    "a balloon over the sand under the sky",
    "a bird, sea, sunset",
    "a mountain by the sea at sunset",
    "a tree on the grass under the sky",
    "a palm tree on the sand at sunset",
    "a house on the grass under the sky",
    "a lighthouse on the sand under the sky",
    "a windmill on the grass at sunset",
    "a snowman on the snow under the sky",
    "a car on the road, grass, sky",
    "a boat on the sea under a night sky",
    "a flower on the grass under the sky",
    "a ball on the sand under the sky",
    "a house and the moon, snow, night sky",
    "a boat and the sun, sea, sunset",
    "a tree and a balloon, grass, sky",
    "a lighthouse and a cloud, grass, sky",
)
"""Every object that the model knows, and four pairs."""
COLUMNS = 5


def sampled(parts: tuple[Any, Any, Any], caption: str, options: argparse.Namespace) -> Tensor:
    """Pictures of one caption, one a seed: (seeds, 256, 256, 3)."""
    import nodes

    model, clip, vae = parts
    positive, negative = (nodes.CLIPTextEncode().encode(clip, text)[0] for text in (caption, ""))
    latent = {"samples": torch.zeros(1, 16, 32, 32)}
    pictures = []
    for seed in range(options.seed, options.seed + options.pictures):
        chosen = (seed, options.steps, options.cfg, "euler", "simple", positive, negative, latent)
        pictures.append(vae.decode(nodes.common_ksampler(model, *chosen)[0]["samples"])[0])
    return torch.stack(pictures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH"), help="or set COMFYUI_PATH")
    parser.add_argument("--model", type=Path, help="folder of the demo model's files; default: the pack's own")
    parser.add_argument("--out", type=Path, default=ROOT / "output" / "demo_sheet.png")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--pictures", type=int, default=1, help="pictures of each caption, side by side")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg", type=float, default=7.0)
    options = parser.parse_args()
    if options.comfyui is None:
        parser.error("say where ComfyUI is: --comfyui PATH, or set COMFYUI_PATH")
    start_comfyui(options.comfyui)
    import comfy.utils

    from conceptattention_core.adapters.comfy.demo import DEMO_FOLDER, load_demo_flux

    comfy.utils.set_progress_bar_enabled(False)
    with torch.inference_mode():
        parts = load_demo_flux(options.model or DEMO_FOLDER)
        made = [sampled(parts, caption, options) for caption in CAPTIONS]
    cells = [(255 * torch.cat([*pictures], dim=1)).round().byte().numpy() for pictures in made]
    rows = [np.concatenate(cells[start : start + COLUMNS], axis=1) for start in range(0, len(cells), COLUMNS)]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(options.out)
    for number, caption in enumerate(CAPTIONS, start=1):
        print(f"{number:2} {caption}")
    print(options.out)


if __name__ == "__main__":
    main()
