"""How much a picture's own edges improve maps from the token grid. Prints a Markdown table for the README.

    python -m tools.benchmarks.edges --comfyui ~/ComfyUI

Maps of scenes are enlarged by each method, and their argmax is compared with the true label map, pixel by pixel: mean
IoU and accuracy as in `tools.benchmarks.quality`, and boundary IoU (B. Cheng et al., "Boundary IoU", 2021), which looks
only at a band of 2 % of the diagonal along the borders. Maps come from the truth, averaged over the token grid and
blurred by noise (score 3 for the truth, normal noise of 1, softmax), and with `--comfyui` also from the demo model:
the scene noised to 0.5, five Euler steps, `output`, block `--block`. Seconds are of the processor, in one thread, at
1024 x 1024 with 8 concepts. Constants were tuned on seeds from 500,000,000 on; the table is of held-out scenes.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from conceptattention_core.evaluate.datasets.scenes.scenes import HELD_OUT, Scene, scene
from conceptattention_core.maps import resize_maps
from conceptattention_core.masks.edges import refine_maps, spiral
from tools.benchmarks.quality import Agreement, ceiling_shares, start_comfyui
from tools.benchmarks.quality.measures import boundary
from tools.benchmarks.quality.record import Setting, record_scene

FIRST_SCENE = 2000
"""Offset into the held-out seeds; other checks use the ones before it."""

# ---- the methods: maps (1, C, h, w) and picture (1, H, W, 3) to (1, C, H, W) ----


def bilinear(maps: Tensor, picture: Tensor) -> Tensor:
    size = (picture.shape[1], picture.shape[2])
    return resize_maps(maps, size, size)


def guided_filter(maps: Tensor, picture: Tensor) -> Tensor:
    """He, Sun and Tang (2013) on the bilinear maps, in windows of two tokens; grey guide, which is several times
    faster than colour."""
    shares, guide = bilinear(maps, picture), picture.mean(dim=-1)[:, None]

    def mean(planes: Tensor) -> Tensor:
        side = 2 * (picture.shape[1] // maps.shape[-2]) + 1
        rows = avg_pool2d(planes, (side, 1), 1, (side // 2, 0), count_include_pad=False)
        return avg_pool2d(rows, (1, side), 1, (0, side // 2), count_include_pad=False)

    slope = (mean(guide * shares) - mean(guide) * mean(shares)) / (mean(guide**2) - mean(guide) ** 2 + 1e-3)
    offset = mean(shares) - slope * mean(guide)
    return mean(slope) * guide + mean(offset)


def around(
    picture: Tensor, tokens: int, reach: float, sigma: float
) -> Iterator[tuple[Callable[[Tensor], Tensor], Tensor]]:
    """For 40 places within `reach` tokens: how to look there, and how alike the colours are, `(1, 1, H, W)`."""
    colors = rearrange(picture, "b h w c -> b c h w")
    for dy, dx in spiral(40, reach * picture.shape[1] / tokens):

        def look(planes: Tensor, dy: int = dy, dx: int = dx) -> Tensor:
            rows = (torch.arange(planes.shape[-2]) + dy).clamp(0, planes.shape[-2] - 1)
            columns = (torch.arange(planes.shape[-1]) + dx).clamp(0, planes.shape[-1] - 1)
            return planes[..., rows, :][..., columns]

        yield look, (-(look(colors) - colors).square().sum(dim=1, keepdim=True) / (2 * sigma**2)).exp()


def joint_bilateral(maps: Tensor, picture: Tensor) -> Tensor:
    """Kopf et al. (2007), here with a disc of 40 places, on the bilinear maps."""
    shares, weights = bilinear(maps, picture), 0.0
    total = torch.zeros_like(shares)
    for look, weight in around(picture, maps.shape[-2], 1.5, 0.1):
        total, weights = total + weight * look(shares), weights + weight
    return total / weights


def dense_crf(maps: Tensor, picture: Tensor) -> Tensor:
    """Mean field of a CRF (Krähenbühl and Koltun 2011) with truncated kernels (Teichmann and Cipolla 2018)."""
    unary = bilinear(maps, picture).clamp_min(1e-4).log()
    kernels = [*around(picture, maps.shape[-2], 1.5, 0.08)][1:]
    weights = 1e-3 + torch.stack([weight for _, weight in kernels]).sum(dim=0)
    shares = unary.exp()
    for _ in range(5):
        message = torch.zeros_like(shares)
        for look, weight in kernels:
            message += weight * look(shares)
        shares = (unary + 5 * message / weights).softmax(dim=1)
    return shares


def least_squares(maps: Tensor, picture: Tensor) -> Tensor:
    """Weighted least squares (Farbman et al. 2008): near the maps, smooth but across edges; conjugate gradients."""
    target, guide = bilinear(maps, picture), rearrange(picture, "b h w c -> b c h w")
    weights = {dim: 1e-3 + (-guide.diff(dim=dim).square().sum(1, keepdim=True) / 0.005).exp() for dim in (2, 3)}

    def apply(shares: Tensor) -> Tensor:
        result = shares.clone()
        for dim, weight in weights.items():
            flow = 100 * weight * shares.diff(dim=dim)
            result.narrow(dim, 0, flow.shape[dim]).sub_(flow)
            result.narrow(dim, 1, flow.shape[dim]).add_(flow)
        return result

    solution, residual = target.clone(), target - apply(target)
    direction, energy = residual.clone(), residual.square().sum()
    for _ in range(60):
        image = apply(direction)
        step = energy / (direction * image).sum()
        solution, residual = solution + step * direction, residual - step * image
        direction, energy = residual + residual.square().sum() / energy * direction, residual.square().sum()
    return solution


METHODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bilinear": bilinear,
    "guided filter": guided_filter,
    "joint bilateral": joint_bilateral,
    "weighted least squares": least_squares,
    "dense CRF": dense_crf,
    "**walk and guided upsampling** (`refine_maps`)": lambda maps, picture: refine_maps(
        maps, picture, (picture.shape[1], picture.shape[2])
    ),
}

# ---- maps, guides, measures ----


def noisy_truth(one: Scene) -> Tensor:
    """Maps of a model that is right about each token with a margin of three times its noise."""
    grid = (one.labels.shape[0] // 16, one.labels.shape[1] // 16)
    share = ceiling_shares(one.labels, len(one.names), grid)
    draw = torch.Generator().manual_seed(one.seed % 2**31)
    return (3 * share + torch.randn(share.shape, generator=draw)).softmax(dim=1)


def guides(one: Scene) -> dict[str, Tensor]:
    """The scene as it is, and as a camera might have it: grain of 6 %, then JPEG of quality 50."""
    draw = np.random.default_rng(one.seed)
    grain = (one.image + draw.normal(0, 0.06 * 255, one.image.shape)).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grain).save(file, "JPEG", quality=50)
    pictures = {"clean": one.image, "grain + JPEG": np.asarray(Image.open(file))}
    return {name: torch.from_numpy(pixels.copy()).float()[None] / 255 for name, pixels in pictures.items()}


@dataclass
class Score:
    """Agreement over all scenes of one method on one kind of maps and guides."""

    whole: Agreement = field(default_factory=Agreement)
    both: dict[str, int] = field(default_factory=dict)
    either: dict[str, int] = field(default_factory=dict)

    def add(self, shares: Tensor, one: Scene) -> None:
        predicted = shares[0].argmax(dim=0).numpy() + 1
        self.whole.add(predicted, one.labels, one.names)
        for index, name in enumerate(one.names, start=1):
            found = boundary(torch.from_numpy((predicted == index) & (one.labels > 0)))
            true = boundary(torch.from_numpy(one.labels == index))
            self.both[name] = self.both.get(name, 0) + int((found & true).sum())
            self.either[name] = self.either.get(name, 0) + int((found | true).sum())

    def row(self) -> str:
        border = np.mean([self.both[name] / max(count, 1) for name, count in self.either.items()])
        return f"{self.whole.mean_iou:.3f} | {self.whole.accuracy:.3f} | {border:.3f}"


def seconds(method: Callable[[Tensor, Tensor], Tensor]) -> float:
    """Processor time at 1024 x 1024 with 8 concepts, the second of two runs."""
    draw = torch.Generator().manual_seed(0)
    picture = torch.from_numpy(scene(HELD_OUT, 1024).image.copy()).float()[None] / 255
    maps = torch.rand(1, 8, 64, 64, generator=draw).softmax(dim=1)
    method(maps, picture)
    start = time.process_time()
    method(maps, picture)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH"), help="or set COMFYUI_PATH")
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--first", type=int, default=HELD_OUT + FIRST_SCENE, help="seed of the first scene")
    parser.add_argument("--block", type=int, default=3, help="double block of the demo model to read")
    options = parser.parse_args()
    torch.set_num_threads(1)
    parts = None
    if options.comfyui is not None:
        start_comfyui(options.comfyui)
        from conceptattention_core.adapters.comfy.demo import load_demo_flux

        parts = load_demo_flux()
    scores: dict[tuple[str, str, str], Score] = {}
    for seed in range(options.first, options.first + options.scenes):
        one = scene(seed)
        with torch.inference_mode():
            maps = {"true maps, noisy": noisy_truth(one)}
            if parts is not None:
                recorded = record_scene(parts, one, {"A": one.names}, Setting())["A"]
                maps["demo model's maps"] = recorded.saliency(options.block, options.block)
            for source, shares in maps.items():
                for kind, picture in guides(one).items():
                    for name, method in METHODS.items():
                        scores.setdefault((source, kind, name), Score()).add(method(shares, picture), one)
        print(f"scene {seed - options.first + 1} of {options.scenes}", file=sys.stderr, end="\r")
    took = {name: seconds(method) for name, method in METHODS.items()}
    print(f"{options.scenes} scenes of 256 x 256 from seed {options.first:,}; seconds at 1024 x 1024:\n")
    print("| maps | picture | method | mean IoU | accuracy | boundary IoU | seconds |")
    print("|---|---|---|---|---|---|---|")
    for (source, kind, name), score in scores.items():
        print(f"| {source} | {kind} | {name} | {score.row()} | {took[name]:.2f} |")


if __name__ == "__main__":
    main()
