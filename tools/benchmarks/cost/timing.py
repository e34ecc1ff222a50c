"""Time of a step with and without the pack, in pairs."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from .setting import sample_one_step

Pairs = dict[str, list[tuple[float, float]]]
"""For each quantity the (without, with) seconds of every pair of runs."""


class BlockClock:
    """Times the double blocks by module hooks: GPU time on CUDA, CPU time elsewhere."""

    def __init__(self, blocks: Any, cuda: bool) -> None:
        self._cuda = cuda
        self._marks: list[Any] = []
        for block in blocks:
            block.register_forward_pre_hook(self._mark)
            block.register_forward_hook(self._mark)

    def _mark(self, *_: Any) -> None:
        if self._cuda:
            self._marks.append(torch.cuda.Event(enable_timing=True))
            self._marks[-1].record()
        else:
            self._marks.append(time.process_time())

    def take(self) -> float:
        """Mean seconds of a block since the last call."""
        spans = zip(self._marks[::2], self._marks[1::2], strict=True)
        mean = statistics.mean(start.elapsed_time(end) / 1000 if self._cuda else end - start for start, end in spans)
        self._marks.clear()
        return mean


class OwnClock:
    """CPU time that the pack's own functions take within a run: steadier than the difference of two runs."""

    def __init__(self) -> None:
        from conceptattention_core.adapters.comfy.tap import AttentionTap
        from conceptattention_core.record import Recorder
        from conceptattention_core.scores import ConceptPass

        self._seconds = 0.0
        methods = (AttentionTap, "before"), (AttentionTap, "after"), (ConceptPass, "stacked_scores"), (Recorder, "add")
        for owner, name in methods:
            setattr(owner, name, self._timed(getattr(owner, name)))

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            result = function(*args, **kwargs)
            self._seconds += time.process_time() - start
            return result

        return timed

    def take(self) -> float:
        """Seconds since the last call."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds


def time_pairs(plain: Any, patched: Any, args: argparse.Namespace) -> Pairs:
    """Sample in turns without and with the pack, one pair to warm up; every other pair the other way round."""
    cuda = args.device == "cuda"
    clock, own = BlockClock(plain.model.diffusion_model.double_blocks, cuda), OwnClock()
    pairs: Pairs = {"step, wall time": [], f"double block, {'GPU' if cuda else 'CPU'} time": []}
    if not cuda:
        pairs |= {"step, CPU time": [], "the same step less the pack's own functions, CPU time": []}
    for pair in range(args.pairs + 1):
        taken = {}
        for model in (plain, patched) if pair % 2 else (patched, plain):
            wall, cpu = time.perf_counter(), time.process_time()
            sample_one_step(model, args)  # its result lies on the CPU, so it has waited for the GPU
            cpu = time.process_time() - cpu
            taken[model] = (time.perf_counter() - wall, clock.take(), cpu)
        own_seconds = own.take()
        without, with_ = (*taken[plain], taken[patched][2] - own_seconds), (*taken[patched], taken[patched][2])
        if pair:
            for index, name in enumerate(pairs):
                pairs[name].append((without[index], with_[index]))
        log = "; ".join(f"{name} {without[index]:.3f} {with_[index]:.3f} s" for index, name in enumerate(pairs))
        print(f"pair {pair or 'to warm up'}: {log}", file=sys.stderr)
    return pairs


def time_row(name: str, pairs: list[tuple[float, float]], goal: str) -> str:
    """A table row: medians, and median and range of the ratios."""
    ratios = sorted(with_ / without for without, with_ in pairs)
    without, with_ = (statistics.median(column) for column in zip(*pairs, strict=True))
    spread = f"{ratios[0]:.3f} .. {ratios[-1]:.3f}"
    return f"| {name} | {without:.4g} s | {with_:.4g} s | x {statistics.median(ratios):.3f} ({spread}) | {goal} |"
