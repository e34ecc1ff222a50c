"""How well the concept maps agree with the truth. Prints Markdown for the README.

    python -m tools.benchmarks.quality --comfyui ~/ComfyUI [--objects | --look-alikes] [--tuning]

Every held-out scene (with `--tuning`: others, to choose rules by) is encoded, noised to `--noise` and denoised from
there in `--steps` Euler steps with its caption, as an ordinary ComfyUI run on the demo model. The pack records the
scores of the scene's own words, and the argmax of their saliency (the paper's rule: softmax over concepts, mean over
steps and all double blocks) is compared with the label map, pixel by pixel, things without a name left out. Accuracy is
pixels right / pixels labelled over all scenes; mean IoU is intersection / union for each noun over all scenes, then the
mean over nouns. `reading auto` is the same with `maps.shares("auto")`; without features its prototypes are left out.
"refined" is after `refine_maps`, with the scene as the picture. `--objects` records only the scene's objects and
"background", as most people would name them: what is no object is wrong for one to win. `--look-alikes` adds up to four
words that are not in the scene but like one that is ("night sky", where there is a sky), and "background"; "stolen" is
what part of the labelled pixels they win. The ceiling is what the true label map scores when it has been averaged over
the token grid and enlarged in the same way.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
POOLINGS = ("mean", "first")
FIRST_SCENE = 1000
"""Offset into the held-out seeds; other checks use the ones before it."""
TUNING = 500_400_000
BACKGROUND = "background"
LIKE = (
    ("sky", "sunset", "night sky"),
    ("grass", "sand", "snow", "road", "sea"),
    ("sun", "moon", "ball", "balloon"),
    ("tree", "palm tree", "flower"),
    ("house", "lighthouse", "windmill", "snowman"),
    ("car", "boat"),
    ("cloud", "bird", "mountain"),
)
"""Words that are easily taken for one another."""


@dataclass
class Agreement:
    """Pixel counts over a data set, by noun."""

    right: int = 0
    labelled: int = 0
    stolen: int = 0
    both: dict[str, int] = field(default_factory=dict)
    either: dict[str, int] = field(default_factory=dict)

    def add(self, predicted: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> None:
        """predicted, labels: `(H, W)` with label k for `names[k - 1]`; label 0 (without a name) is not counted. The
        background has no IoU, and neither have names that are nowhere: what these win is stolen."""
        named, present = labels > 0, {names[label - 1] for label in np.unique(labels) if label > 0}
        absent = [index for index, name in enumerate(names, start=1) if name not in (*present, BACKGROUND)]
        self.stolen += int(np.isin(predicted, absent)[named].sum())
        self.right += int((predicted == labels)[named].sum())
        self.labelled += int(named.sum())
        for index, name in enumerate(names, start=1):
            if name == BACKGROUND or index in absent:
                continue
            found, true = (predicted == index) & named, labels == index
            self.both[name] = self.both.get(name, 0) + int((found & true).sum())
            self.either[name] = self.either.get(name, 0) + int((found | true).sum())

    @property
    def accuracy(self) -> float:
        return self.right / self.labelled

    @property
    def iou(self) -> dict[str, float]:
        return {name: self.both[name] / max(count, 1) for name, count in self.either.items()}

    @property
    def mean_iou(self) -> float:
        return float(np.mean(list(self.iou.values())))


def start_comfyui(path: Path) -> None:
    """Put ComfyUI and the pack on the path and choose ComfyUI's device as its command line would."""
    sys.path[:0] = [str(path), str(ROOT)]  # ComfyUI first: `nodes` is its module
    import comfy.cli_args

    comfy.cli_args.args.cpu = not torch.cuda.is_available()
    logging.disable(logging.INFO)


def scene_maps(
    parts: tuple[Any, Any, Any], scene: Any, names: tuple[str, ...], options: argparse.Namespace
) -> dict[tuple[str, str], Any]:
    """ConceptAttentionMaps of one scene for every (projection, pooling), recorded in a single sampling run."""
    import comfy.sample
    import comfy.samplers

    from conceptattention_core.adapters.comfy.sampling import apply_concept_attention
    from conceptattention_core.adapters.comfy.text import encode_concepts
    from conceptattention_core.scores import PROJECTIONS

    model, clip, vae = parts
    stores = {}
    for pooling in POOLINGS:
        concepts = encode_concepts(clip, names, int(names[-1] == BACKGROUND), pooling, parts[0])
        for projection in PROJECTIONS:
            model, stores[projection, pooling] = apply_concept_attention(model, concepts, projection, 0.0, 1.0)
    prompt = clip.encode_from_tokens_scheduled(clip.tokenize(scene.caption))
    latent = vae.encode(torch.from_numpy(scene.image.copy()).float()[None] / 255.0)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(scene.seed % 2**31))
    sigmas = torch.linspace(options.noise, 0.0, options.steps + 1)
    sampler = comfy.samplers.sampler_object("euler")
    made = comfy.sample.sample_custom(
        model, noise, 1.0, sampler, sigmas, prompt, prompt, latent, disable_pbar=True, seed=0
    )
    return {key: store.find(made) for key, store in stores.items()}


def predicted_labels(shares: Tensor, size: tuple[int, int], picture: Tensor | None = None) -> np.ndarray:
    """Argmax over concepts at the picture's size, labels from 1. shares: `(1, C, h, w)`; picture: for its edges."""
    from conceptattention_core.maps import resize_maps
    from conceptattention_core.masks.edges import refine_maps

    if picture is not None:
        return refine_maps(shares, picture, size)[0].argmax(dim=0).numpy() + 1
    return resize_maps(shares, size, size)[0].argmax(dim=0).numpy() + 1


def ceiling_shares(labels: np.ndarray, concepts: int, grid: tuple[int, int]) -> Tensor:
    """Share of each label in each token, `(1, C, h, w)`."""
    masks = torch.stack([torch.from_numpy(labels == index).float() for index in range(1, concepts + 1)])
    return torch.nn.functional.adaptive_avg_pool2d(masks[None], grid)


def look_alikes(names: tuple[str, ...], seed: int) -> list[str]:
    """Up to four words that are not in a scene, each like one that is."""
    absent = [word for group in LIKE if set(group) & set(names) for word in group if word not in names]
    return np.random.default_rng(seed).permutation(absent)[:4].tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH"), help="or set COMFYUI_PATH")
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--noise", type=float, default=0.5, help="noise level to start from, 0..1")
    parser.add_argument("--steps", type=int, default=5, help="Euler steps from there to the picture")
    parser.add_argument("--first-block", type=int, default=0)
    parser.add_argument("--last-block", type=int, default=-1)
    words = parser.add_mutually_exclusive_group()
    words.add_argument("--objects", action="store_true", help="name only objects, and background")
    words.add_argument("--look-alikes", action="store_true", help="name what is easily taken for what is there, too")
    parser.add_argument("--tuning", action="store_true", help="scenes to choose rules by, not held-out ones")
    options = parser.parse_args()
    if options.comfyui is None:
        parser.error("say where ComfyUI is: --comfyui PATH, or set COMFYUI_PATH")
    start_comfyui(options.comfyui)
    from conceptattention_core.adapters.comfy.demo import load_demo_flux
    from conceptattention_core.evaluate.datasets.scenes.scenes import HELD_OUT, scene

    parts, results = load_demo_flux(), {}
    first = TUNING if options.tuning else HELD_OUT + FIRST_SCENE
    for index in range(options.scenes):
        one = scene(first + index)
        if options.objects and not one.objects:
            continue
        size, names, labels = one.labels.shape, one.names, one.labels
        if options.objects:
            names = (*one.objects, BACKGROUND)
            labels = np.where((labels == 0) | (labels > len(one.objects)), len(names), labels)
        if options.look_alikes:
            names = (*names, *look_alikes(names, one.seed), BACKGROUND)
        picture = torch.from_numpy(one.image.copy()).float()[None] / 255
        with torch.inference_mode():
            maps = scene_maps(parts, one, names, options)
        blocks = options.first_block, options.last_block
        made: dict[tuple[str, str], Tensor] = {}
        for (projection, pooling), recorded in maps.items():
            made[projection, pooling] = recorded.saliency(*blocks)
            made[f"{projection}, reading auto", pooling] = recorded.shares("auto", *blocks)
            without = replace(recorded, features=None).shares("auto", *blocks)
            made[f"{projection}, reading auto, without features", pooling] = without
        made["ceiling", ""] = ceiling_shares(labels, len(names), tuple(next(iter(maps.values())).scores.shape[-2:]))
        for key, shares in made.items():
            for guide in (None, picture):
                agreement = results.setdefault((*key, guide is not None), Agreement())
                agreement.add(predicted_labels(shares, size, guide), labels, names)
        print(f"scene {index + 1} of {options.scenes}", file=sys.stderr, end="\r")
    print_report(results, options)


def print_report(results: dict[tuple[str, str, bool], Agreement], options: argparse.Namespace) -> None:
    which = f"{'tuning' if options.tuning else 'held-out'} scenes{', objects and background' * options.objects}"
    which += ", absent look-alikes named, too" * options.look_alikes
    print(f"{options.scenes} {which}, noised to {options.noise}, {options.steps} Euler steps, argmax:\n")
    columns = ["mean IoU", "pixel accuracy", *(["stolen"] if options.look_alikes else [])]
    print(f"| projection | token pooling | {' | '.join(columns)} | refined: {' | '.join(columns)} |")
    print("|---" * (2 + 2 * len(columns)) + "|")
    for (projection, pooling, refined), plain in sorted(results.items(), key=lambda item: -item[1].mean_iou):
        if refined:
            continue
        name, edges = projection.split(", "), results[projection, pooling, True]
        title = "ceiling of the token grid" if projection == "ceiling" else ", ".join([f"`{name[0]}`", *name[1:]])
        parts = ([one.mean_iou, one.accuracy, one.stolen / one.labelled][: len(columns)] for one in (plain, edges))
        cells = (title, pooling, *(f"{value:.3f}" for part in parts for value in part))
        print(f"| {' | '.join(cells)} |")
    ranked = sorted(results["output", "mean", False].iou.items(), key=lambda item: -item[1])
    print("\n`output`, `mean`, by noun: " + ", ".join(f"{name} {value:.2f}" for name, value in ranked))


if __name__ == "__main__":
    main()
