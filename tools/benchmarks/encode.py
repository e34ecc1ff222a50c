"""What maps of an existing picture cost, beside a whole forward of the model. Prints Markdown for the README.

    python -m tools.benchmarks.encode --comfyui ~/ComfyUI

Runs on ComfyUI's own Flux at full width (hidden size 3072, 24 heads) with random weights, so no download is needed. The
default has one double and two single blocks: Flux.1's 19 and 38 in small. In turns, the model makes one sampling step,
and Concept Attention from Image looks at a noised latent, both through ComfyUI's own guider; the median of the pairs'
ratios is given. Each block is timed as well, and from the medians follow the times of 19 and 38 blocks. Without a GPU,
CPU time is printed beside wall time: on a shared machine it is the one to read. The VAE and the text encoders, which
need no more for the maps than for a sampling run, are left out.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from tools.benchmarks.cost.setting import (
    CONTEXT_DIM,
    POOLED_DIM,
    add_model_arguments,
    build_flux,
    describe_setting,
    parse_arguments,
    sample_one_step,
    start_comfyui,
)
from tools.benchmarks.cost.timing import BlockClock, time_row

GOAL = 0.37
DOUBLE, SINGLE = 19, 38
"""Flux.1's blocks."""


def look_once(model: Any, args: argparse.Namespace) -> Callable[[], Any]:
    """The forward of Concept Attention from Image on a made-up latent, prompt and concepts."""
    from conceptattention_core.adapters.comfy.encode import NoisedForward
    from conceptattention_core.adapters.comfy.families import require_family
    from conceptattention_core.concepts import Concepts

    generator = torch.Generator().manual_seed(1)
    latent, noise = torch.randn(2, args.batch, 16, *args.latent, generator=generator)
    names = tuple(f"concept {index}" for index in range(args.concepts))
    concepts = Concepts(names, 0, torch.randn(1, args.concepts, CONTEXT_DIM, generator=generator))
    context = torch.randn(1, args.text_tokens, CONTEXT_DIM, generator=generator)
    prompt = [[context, {"pooled_output": torch.zeros(1, POOLED_DIM), "guidance": 3.5}]]
    forward = NoisedForward(require_family(model), model, prompt, concepts, "output", 0.5, args.double_blocks - 1)
    size = (8 * args.latent[0], 8 * args.latent[1])
    return lambda: forward.maps(latent, [noise], size, lambda: None)


def measure(model: Any, args: argparse.Namespace) -> dict[str, list[tuple[float, float]]]:
    """For each quantity the (whole forward, ours) seconds of every pair; one pair to warm up."""
    cuda = args.device == "cuda"
    blocks = model.model.diffusion_model
    double, single = BlockClock(blocks.double_blocks, cuda), BlockClock(blocks.single_blocks, cuda)
    look = look_once(model, args)
    names = ["forward, wall time", "forward, CPU time", "double block", "single block"]
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for pair in range(args.pairs + 1):
        taken = {}
        for ours in (False, True) if pair % 2 else (True, False):
            wall, cpu = time.perf_counter(), time.process_time()
            look() if ours else sample_one_step(model, args)  # either's result lies on the CPU
            cpu = time.process_time() - cpu
            wall = time.perf_counter() - wall
            taken[ours] = (wall, cpu, double.take(), 0.0 if ours else single.take())
        print(f"pair {pair or 'to warm up'}: {taken}", file=sys.stderr)
        if pair:
            for name, times in zip(names, zip(taken[False], taken[True], strict=True), strict=True):
                pairs[name].append(times)
    return pairs


def full_size(pairs: dict[str, list[tuple[float, float]]], args: argparse.Namespace) -> str:
    """What the medians make of 19 double and 38 single blocks, everything outside the blocks counted once."""
    (double, ours), (single, _) = (
        [statistics.median(column) for column in zip(*pairs[name], strict=True)]
        for name in ("double block", "single block")
    )
    kind = "wall" if args.device == "cuda" else "CPU"
    whole, look = (statistics.median(column) for column in zip(*pairs[f"forward, {kind} time"], strict=True))
    rest = whole - args.double_blocks * double - args.single_blocks * single
    rest_ours = look - args.double_blocks * ours
    all_whole, all_ours = DOUBLE * double + SINGLE * single + rest, DOUBLE * ours + rest_ours
    return (
        f"A double block takes {double:.4g} s, with the concepts {ours:.4g} s (x {ours / double:.3f}), a single block "
        f"{single:.4g} s, what is outside the blocks {rest:.3g} s. So {DOUBLE} and {SINGLE} of them take "
        f"{all_whole:.4g} s as a whole forward and {all_ours:.4g} s for the maps: x {all_ours / all_whole:.3f}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_arguments(parser)
    parser.set_defaults(double_blocks=1, single_blocks=2, pairs=3)
    args = parse_arguments(parser)
    start_comfyui(args)
    print(f"{describe_setting(args)}\n")
    with torch.inference_mode():
        pairs = measure(build_flux(args), args)
    print("| | whole forward | maps of a picture | ratio (range) | goal |\n|---|---|---|---|---|")
    for name in ("forward, wall time", "forward, CPU time"):
        print(time_row(name, pairs[name], f"at most x {GOAL}"))
    print("\n" + full_size(pairs, args))


if __name__ == "__main__":
    main()
