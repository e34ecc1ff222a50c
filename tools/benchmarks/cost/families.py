"""What the pack costs on every family, at its full block shape with random weights. Prints a Markdown table.

    python -m tools.benchmarks.cost.families --comfyui ~/ComfyUI [--family Z-Image "Krea 2"]

For each family a model of two blocks that concepts enter (and one of those that they do not) makes the same one-step
sampling run of a 1024 x 1024 picture with and without the pack, in turns. "two blocks": the ratio of CPU time, the
pack's own functions against the rest of the same run (steadier than the difference of two). "whole model": the same
with the released model's number of blocks, from the times of its blocks. Memory: the peak's growth against the stored
scores.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from .memory import peak_bytes
from .setting import start_comfyui
from .shapes import SHAPES, Shape
from .timing import OwnClock


class BeginClock:
    """CPU seconds that the pack takes once an evaluation, before its first block: the concepts' text path."""

    def __init__(self) -> None:
        from conceptattention_core.adapters.comfy.tap import AttentionTap

        self.seconds, begin = 0.0, AttentionTap.begin

        def timed(tap: Any) -> Any:
            start = time.process_time()
            begun = begin(tap)
            self.seconds += time.process_time() - start
            return begun

        AttentionTap.begin = timed  # type: ignore[method-assign]

    def take(self) -> float:
        seconds, self.seconds = self.seconds, 0.0
        return seconds


class Clock:
    """CPU seconds inside the modules of a list."""

    def __init__(self, blocks: Any) -> None:
        self.seconds, self._begun = 0.0, 0.0
        for block in blocks:
            block.register_forward_pre_hook(self._begin)
            block.register_forward_hook(self._end)

    def _begin(self, *_: Any) -> None:
        self._begun = time.process_time()

    def _end(self, *_: Any) -> None:
        self.seconds += time.process_time() - self._begun

    def take(self) -> float:
        seconds, self.seconds = self.seconds, 0.0
        return seconds


def build(shape: Shape) -> Any:
    """A MODEL of ComfyUI's own class in bf16, its weights random."""
    import comfy.model_patcher
    import comfy.supported_models

    config = getattr(comfy.supported_models, shape.config)(dict(shape.unet))
    config.set_inference_dtype(torch.bfloat16, None)
    model = config.get_model({})
    torch.manual_seed(0)
    for name, weight in model.diffusion_model.named_parameters():
        weight.requires_grad_(False)
        if weight.ndim > 1:
            weight.normal_(std=weight.shape[-1] ** -0.5)
        else:
            weight.fill_(0.0 if name.endswith("bias") else 1.0)
    return comfy.model_patcher.ModelPatcher(model.eval(), torch.device("cpu"), torch.device("cpu"))


def with_pack(model: Any, shape: Shape, count: int) -> Any:
    from conceptattention_core.adapters.comfy.sampling import apply_concept_attention
    from conceptattention_core.concepts import Caption, Concepts

    generator = torch.Generator().manual_seed(1)
    captions = tuple(
        Caption(torch.randn(8, shape.width, generator=generator), (3, 4), 3, shape.text) for _ in range(count)
    )
    pooled = torch.stack([one.tokens[3:5].mean(dim=0) for one in captions])[None]
    concepts = Concepts(tuple(f"concept {index}" for index in range(count)), 0, pooled, captions)
    return apply_concept_attention(model, concepts, "output", 0.0, 1.0)


def sample(model: Any, shape: Shape) -> Any:
    """One Euler step without guidance by a second prompt."""
    import comfy.sample

    generator = torch.Generator().manual_seed(2)
    size = (1, shape.channels, *((1,) if shape.frames else ()), shape.cells, shape.cells)
    extra: dict[str, Any] = {"guidance": 3.5, "attention_mask": torch.ones(1, shape.text, dtype=torch.long)}
    if shape.pooled:
        extra["pooled_output"] = torch.zeros(1, shape.pooled)
    extra |= {name: torch.randn(*sides, generator=generator) for name, sides in shape.extra.items()}
    prompt = [[torch.randn(1, shape.text, shape.width, generator=generator), extra]]
    noise = torch.randn(*size, generator=generator)
    arguments = (1, 1.0, "euler", "simple", prompt, prompt, torch.zeros_like(noise))
    return comfy.sample.sample(model, noise, *arguments, disable_pbar=True, seed=0)


def measure(name: str, shape: Shape, own: OwnClock, first: BeginClock, args: argparse.Namespace) -> Iterator[str]:
    """Cells of the family's row."""
    plain = build(shape)
    patched, runs = with_pack(plain, shape, args.concepts)
    dit = plain.model.diffusion_model
    mine, rest = getattr(dit, shape.own), getattr(dit, shape.others) if shape.others else ()
    clocks = Clock(mine), Clock(rest)
    small, whole, same, begun = [], [], True, 0.0
    for pair in range(args.pairs + 1):
        taken = {}
        for model in (plain, patched) if pair % 2 else (patched, plain):
            cpu = time.process_time()
            picture = sample(model, shape)
            taken[model] = (time.process_time() - cpu, *(clock.take() for clock in clocks), own.take(), picture)
            if model is patched:
                begun = first.take()
        same &= torch.equal(taken[plain][4], taken[patched][4])
        # The pack's part runs inside the blocks' attention: what is left is the block's own.
        step, block, other, pack, _ = taken[patched]
        step, block = step - pack, block - pack
        one, another = block / len(mine), other / max(1, len(rest))
        full = step - block - other + shape.whole[0] * one + shape.whole[1] * another
        if pair:
            small.append(1 + pack / step)
            whole.append(1 + ((pack - begun) / len(mine) * shape.whole[0] + begun) / full)
        told = f"step {step:.2f}, block {one:.2f}, other {another:.2f}, pack {pack:.3f}, of it to begin {begun:.3f} s"
        print(f"{name}, pair {pair}: {told}", file=sys.stderr, flush=True)
    yield f"x {statistics.median(small):.3f}"
    yield f"x {statistics.median(whole):.3f} ({min(whole):.3f} .. {max(whole):.3f})"
    scores = runs.find(taken[patched][4]).scores
    if args.memory:
        grown = peak_bytes(lambda: sample(patched, shape), False) - peak_bytes(lambda: sample(plain, shape), False)
        yield f"{grown / 2**10:+.0f} KiB; scores {scores.numel() * 4 / 2**10:.0f} KiB"
    yield "bit-equal" if same else "DIFFERENT"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH"), help="its folder (default: COMFYUI_PATH)")
    add("--family", nargs="+", choices=SHAPES, default=list(SHAPES), metavar="NAME", help=", ".join(SHAPES))
    add("--pairs", type=int, default=2, help="timed pairs of runs (default: %(default)s)")
    add("--concepts", type=int, default=8, help="(default: %(default)s)")
    add("--threads", type=int, default=os.cpu_count())
    add("--no-memory", dest="memory", action="store_false", help="time alone")
    args = parser.parse_args()
    if args.comfyui is None or not (args.comfyui / "comfy").is_dir():
        parser.error("no ComfyUI: give its folder as --comfyui, or set COMFYUI_PATH")
    args.device = "cpu"
    start_comfyui(args)
    own, first = OwnClock(), BeginClock()
    columns = ["family", "step, two blocks", "step, whole model", *(["peak memory"] if args.memory else []), "picture"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    for name in args.family:
        print(f"| {' | '.join([name, *measure(name, SHAPES[name], own, first, args)])} |", flush=True)
        gc.collect()


if __name__ == "__main__":
    main()
