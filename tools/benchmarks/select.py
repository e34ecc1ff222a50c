"""How well a click selects the thing that it lies on. Prints a Markdown table.

    python -m tools.benchmarks.select --comfyui ~/ComfyUI [--tuning]

Every held-out scene (with `--tuning`: those that rules were chosen on) is encoded, noised to `--noise` and denoised
from there in `--steps` Euler steps with its caption, as an ordinary ComfyUI run on the demo model. For every noun of a
scene one pixel is drawn at random from its true area and clicked. Then the largest wrong region is corrected, twice:
with a click at the place in it that is farthest from its edge, on the thing where it was missed, off it where too much
was selected. IoU is against the noun's true area, in pixels; AP is the average precision of the first click's shares.
No name takes part. Intervals: 95 %, bootstrap over scenes.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from conceptattention_core.maps import ConceptAttentionMaps
from conceptattention_core.masks.select import Selected, select
from conceptattention_core.points import Point
from tools.benchmarks.presence import TUNING, sampled
from tools.benchmarks.quality import start_comfyui

TUNING_OFFSET, HELD_OUT_OFFSET = 200_000, 11_000
CLICKS = 3


def correction(mask: np.ndarray, truth: np.ndarray) -> tuple[Point, bool] | None:
    """The next click: the place in the largest wrong region that is farthest from its edge, and whether it is missed.

    mask, truth: ``(H, W)`` bool. None where nothing is wrong.
    """
    regions = []
    for wrong in (truth & ~mask, mask & ~truth):
        numbers, _ = ndimage.label(wrong, np.ones((3, 3)))
        areas = np.bincount(numbers.ravel())[1:]
        regions += [(area, number, numbers) for number, area in enumerate(areas, start=1)]
    if not regions:
        return None
    _, number, numbers = max(regions, key=lambda region: region[0])
    inside = ndimage.distance_transform_edt(np.pad(numbers == number, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(inside.argmax(), inside.shape)
    return (x + 0.5, y + 0.5), bool(truth[y, x])


def average_precision(share: np.ndarray, truth: np.ndarray) -> float:
    ranked = truth.ravel()[np.argsort(-share.ravel(), kind="stable")]
    return float((ranked.cumsum() / np.arange(1, len(ranked) + 1))[ranked].mean())


def clicked(
    maps: ConceptAttentionMaps, picture: torch.Tensor | None, truth: np.ndarray, rng: np.random.Generator
) -> tuple[list[float], float]:
    """IoU after each click, and AP after the first one."""
    rows, columns = np.nonzero(truth)
    at = rng.integers(len(rows))
    points, negative = [(columns[at] + 0.5, rows[at] + 0.5)], []
    overlaps, precision = [], 0.0
    for click in range(CLICKS):
        made: Selected = select(maps, points, negative, picture, truth.shape)
        mask = made.mask[0].numpy() > 0
        overlaps.append(float((mask & truth).sum() / (mask | truth).sum()))
        if click == 0:
            precision = average_precision(made.share[0].numpy(), truth)
        if (wrong := correction(mask, truth)) is not None:
            (points if wrong[1] else negative).append(wrong[0])
    return overlaps, precision


def milliseconds(side: int = 1024, blocks: int = 19) -> float:
    """Of one click on maps and a picture of this size, as FLUX.1's."""
    generator = torch.Generator().manual_seed(0)
    cells = side // 16
    features = torch.randn(blocks, 1, 16, cells, cells, generator=generator).half()
    maps = ConceptAttentionMaps(
        torch.zeros(1, 1, 1, 2, cells, cells), ("a", "b"), 1, (0,), (1.0,), (side, side), features=features
    )
    picture, times = torch.rand(1, side, side, 3, generator=generator), []
    for _ in range(4):
        start = time.perf_counter()
        select(maps, [(side / 3, side / 3)], [], picture)
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def interval(values: list[list[float]]) -> str:
    """Mean, and its 95 % interval; values: of each scene's nouns."""
    rng, every = np.random.default_rng(0), np.concatenate(values)
    drawn = [np.concatenate([values[at] for at in rng.integers(len(values), size=len(values))]) for _ in range(2000)]
    low, high = np.quantile([one.mean() for one in drawn], (0.025, 0.975))
    return f"{every.mean():.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH"), help="or set COMFYUI_PATH")
    parser.add_argument("--scenes", type=int, default=80)
    parser.add_argument("--tuning", action="store_true", help="the scenes that the rules were chosen on")
    parser.add_argument("--noise", type=float, default=0.5, help="noise level to start from, 0..1")
    parser.add_argument("--steps", type=int, default=5, help="Euler steps from there to the picture")
    options = parser.parse_args()
    if options.comfyui is None:
        parser.error("say where ComfyUI is: --comfyui PATH, or set COMFYUI_PATH")
    options.absent = 1
    start_comfyui(options.comfyui)
    from conceptattention_core.adapters.comfy.demo import load_demo_flux
    from conceptattention_core.evaluate.datasets.scenes.scenes import HELD_OUT

    parts, first = load_demo_flux(), TUNING + TUNING_OFFSET if options.tuning else HELD_OUT + HELD_OUT_OFFSET
    kinds = ("things", "things, without the picture", "skies and grounds")
    found: dict[str, list[list[tuple[list[float], float]]]] = {kind: [] for kind in kinds}
    for index in range(options.scenes):
        with torch.inference_mode():
            maps, scene = sampled(parts, first + index, options)
        picture = torch.from_numpy(scene.image.copy()).float()[None] / 255
        for kind in kinds:
            names = (*scene.grounds, scene.sky) if kind.startswith("skies") else scene.objects
            truths = [scene.labels == scene.names.index(name) + 1 for name in names]
            guide = None if "without" in kind else picture
            rngs = [np.random.default_rng(10 * scene.seed + at) for at in range(len(names))]
            each = [clicked(maps, guide, truth, rng) for truth, rng in zip(truths, rngs, strict=True) if truth.any()]
            found[kind] += [each] if each else []
        print(f"scene {index + 1} of {options.scenes}", file=sys.stderr, end="\r")
    which = "tuning" if options.tuning else "held-out"
    print(f"{options.scenes} {which} scenes, noised to {options.noise}, {options.steps} Euler steps:\n")
    print("| selected | clicks on | IoU, one click | one correction | two corrections | AP, one click |")
    print("|---|---|---|---|---|---|")
    for kind, scenes in found.items():
        columns = [[[overlaps[click] for overlaps, _ in scene] for scene in scenes] for click in range(CLICKS)]
        columns.append([[precision for _, precision in scene] for scene in scenes])
        print(f"| {kind} | {sum(map(len, scenes))} | {' | '.join(interval(column) for column in columns)} |")
    print(f"\nA click at 1024 x 1024 takes {milliseconds():.0f} ms, its edges included.")


if __name__ == "__main__":
    main()
