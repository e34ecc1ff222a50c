"""What recording features costs, beside everything else that a step with the pack does. Prints a Markdown table.

    python -m tools.benchmarks.cost.features --comfyui ~/ComfyUI

The same one-step sampling run as in `tools.benchmarks.cost`, on blocks of full width with random weights. In each run
the time of all that features take (the projection in each block, their way to the CPU, their mean) is counted apart, so
that a run is its own pair: with it, and less it. bytes: what a whole FLUX.1's 19 blocks keep in memory and in a file.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from tools.benchmarks.cost.setting import (
    add_model_arguments,
    build_flux,
    describe_setting,
    parse_arguments,
    sample_one_step,
    start_comfyui,
    with_pack,
)


class FeatureClock:
    """Wall seconds inside what features need, of an eager CPU or of launches on a GPU."""

    def __init__(self) -> None:
        from conceptattention_core import record, scores

        self.seconds = 0.0
        parts = (scores, "directions"), (scores, "project"), (scores.ConceptPass, "stacked_features")
        for owner, name in (*parts, (record.Recorder, "_keep"), (record.FeatureMean, "mean")):
            setattr(owner, name, self._timed(getattr(owner, name)))

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            self.seconds += time.perf_counter() - start
            return result

        return timed

    def take(self) -> float:
        seconds, self.seconds = self.seconds, 0.0
        return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_arguments(parser)
    args = parse_arguments(parser)
    start_comfyui(args)
    from conceptattention_core.features import CHANNELS

    clock, model = FeatureClock(), with_pack(build_flux(args), args.concepts)
    steps, parts = [], []
    for run in range(args.pairs + 1):
        start = time.perf_counter()
        sample_one_step(model, args)
        step, part = time.perf_counter() - start, clock.take()
        print(f"run {run or 'to warm up'}: step {step:.3f} s, features {1000 * part:.2f} ms", file=sys.stderr)
        if run:
            steps.append(step)
            parts.append(part)
    ratios = sorted(step / (step - part) for step, part in zip(steps, parts, strict=True))
    blocks, tokens = args.double_blocks, args.latent[0] * args.latent[1] // 4
    print(f"{describe_setting(args)}\n")
    print("| step with features | features, a block | step with, by the same without (range) | goal | 19 blocks keep |")
    print("|---|---|---|---|---|")
    print(
        f"| {statistics.median(steps):.3f} s | {1000 * statistics.median(parts) / blocks:.2f} ms | x "
        f"{statistics.median(ratios):.4f} ({ratios[0]:.4f} .. {ratios[-1]:.4f}) | at most x 1.01 | "
        f"{19 * tokens * CHANNELS * 2 / 2**20:.2f} MiB |"
    )


if __name__ == "__main__":
    main()
