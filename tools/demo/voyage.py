"""A boat that crosses the sea, found in every picture by the demo model. Prints how well, and films it.

    python -m tools.demo.voyage --comfyui ~/ComfyUI

Pictures of one scene, drawn by the generator of the demo model's scenes, in which nothing but the boat moves, between
the outermost places where the model has been shown boats. Each is looked at as Concept Attention from Image does. Mean
IoU of a picture: of boat, sea and sky, every pixel going to the strongest (edges refined by the picture, as in Concept
Segmentation), against the exact label map. The film shows the picture, the boat's heat map and what its mask cuts out,
side by side; it goes to `docs/images/voyage.webp`, or to `--film`. `--sequence` writes the pictures themselves, for
Load Image: those that the pack brings along are of `--frames 12`, in `workflows/input/concept_attention_voyage.webp`.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from conceptattention_core.evaluate.datasets.scenes import scenes, sprites
from tools.benchmarks.quality import ROOT, Agreement, start_comfyui

NAMES = ("boat", "sea", "sky")
WIDTH, FOOT, HORIZON = 6 / 16, 12 / 16, 9 / 16
LEFT, RIGHT = 4 / 16, 12 / 16
"""Of the picture: the boat's width, where it floats, where the sky ends; where the boat's middle begins and ends."""
SIZE, PREVIEW = 256, 192


def crossing(frames: int, seed: int) -> tuple[Tensor, np.ndarray]:
    """Pictures ``(frames, 256, 256, 3)`` 0..1 of a boat from left to right, and their label maps.

    The maps are ``(frames, 256, 256)`` uint8; label k is ``NAMES[k - 1]``.
    """
    pictures, labels = [], []
    for x in np.linspace(LEFT, RIGHT, frames):
        rng = np.random.default_rng(seed)  # the same colours in every picture
        canvas = sprites.Canvas(SIZE * scenes.SUPERSAMPLE)
        scenes._draw_sky(canvas, rng, "sky", 3)
        scenes._draw_ground(canvas, rng, scenes.Band("sea", HORIZON, 1.0), 2, dim=1.0)
        sprites.boat(sprites.Pen(canvas, float(x), FOOT, WIDTH, 1), rng)
        pictures.append(np.asarray(canvas.picture.reduce(scenes.SUPERSAMPLE)))
        half = scenes.SUPERSAMPLE // 2
        labels.append(np.asarray(canvas.labels)[half :: scenes.SUPERSAMPLE, half :: scenes.SUPERSAMPLE])
    return torch.from_numpy(np.stack(pictures)).float() / 255, np.stack(labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH"), help="or set COMFYUI_PATH")
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--seed", type=int, default=scenes.HELD_OUT)
    parser.add_argument("--noise", type=float, default=0.5, help="noise level, 0..1")
    parser.add_argument("--film", type=Path, default=ROOT / "docs" / "images" / "voyage.webp")
    parser.add_argument("--sequence", type=Path, help="write the pictures here, and do nothing else")
    options = parser.parse_args()
    if options.sequence is not None:
        drawn = (crossing(options.frames, options.seed)[0] * 255).round().byte().numpy()
        first, *others = (Image.fromarray(one) for one in drawn)
        first.save(options.sequence, save_all=True, append_images=others, duration=125, loop=0, lossless=True, method=6)
        return
    if options.comfyui is None:
        parser.error("say where ComfyUI is: --comfyui PATH, or set COMFYUI_PATH")
    start_comfyui(options.comfyui)
    from conceptattention_core.adapters.comfy.demo import load_demo_flux
    from conceptattention_core.adapters.comfy.encode import encode_picture
    from conceptattention_core.adapters.comfy.text import encode_concepts
    from conceptattention_core.masks.edges import refine_maps
    from conceptattention_core.masks.recipe import MaskRecipe, make_mask
    from conceptattention_core.pictures.heatmap import heatmap_picture

    model, clip, vae = load_demo_flux()
    pictures, labels = crossing(options.frames, options.seed)
    with torch.inference_mode():
        concepts = encode_concepts(clip, NAMES, 0, "mean", model)
        prompt = "a boat on the sea under the sky"
        maps = encode_picture(model, clip, vae, pictures, concepts, prompt, noise_level=options.noise)
        shares = refine_maps(maps.saliency(), pictures, maps.image_size, maps.token_pixels)
        mask = make_mask(maps, MaskRecipe("boat", method="argmax"), pictures).mask
    whole, each = Agreement(), []
    for at, truth in enumerate(labels):
        one = Agreement()
        for agreement in (one, whole):
            agreement.add(shares[at].argmax(dim=0).numpy() + 1, truth, NAMES)
        each.append(one)
    print("| picture | mean IoU | boat | sea | sky |\n|---|---|---|---|---|")
    for at, one in enumerate(each):
        print(f"| {at} | {one.mean_iou:.2f} | {' | '.join(f'{one.iou[name]:.2f}' for name in NAMES)} |")
    lowest = min(one.mean_iou for one in each)
    print(
        f"\nMean IoU of all {len(each)} pictures {whole.mean_iou:.3f}, of the worst one {lowest:.3f}; "
        f"of the boat alone {whole.iou['boat']:.3f}."
    )
    options.film.parent.mkdir(parents=True, exist_ok=True)
    film(pictures, heatmap_picture(shares[:, 0]), mask, options.film)


def film(pictures: Tensor, heat: Tensor, mask: Tensor, path: Path) -> None:
    """Picture, heat map and cut-out side by side, there and back again."""
    cut = pictures * mask[..., None] + 0.15 * (1 - mask[..., None])
    rows = (torch.cat([pictures, heat, cut], dim=2).clamp(0, 1) * 255).round().byte().numpy()
    frames = [Image.fromarray(row).resize((3 * PREVIEW, PREVIEW), Image.Resampling.LANCZOS) for row in rows]
    frames += frames[-2:0:-1]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=80, loop=0, quality=70, method=6)


if __name__ == "__main__":
    main()
