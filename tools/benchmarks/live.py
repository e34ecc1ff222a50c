"""What live maps cost a step. Prints Markdown for docs/measured.md; needs no model.

    python -m tools.benchmarks.live --comfyui PATH

First a frame by itself: FLUX.1's 19 double blocks at 1024 x 1024 with 9 concepts, and a frame at every step, more than
there will be: at most ten a second are sent, and none once they have taken 1 % of the run. CPU time of the pack's
function, not of the socket. Then steps in turns, of a few blocks of Flux at full width with Apply Concept Attention on
them (`cost`), without and with somebody who looks: the median of the pairs' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any

import torch

from .cost.setting import (
    add_model_arguments,
    build_flux,
    describe_setting,
    parse_arguments,
    sample_one_step,
    start_comfyui,
    with_pack,
)
from .cost.timing import time_row

GOAL = "x 1.01"


class Deaf:
    """A server that sends nothing."""

    client_id = "nobody"

    def send_sync(self, *_: object) -> None:
        pass


def time_frames(live: Any, frames: int = 30) -> list[float]:
    """CPU seconds of each frame."""
    from conceptattention_core.concepts import Concepts
    from conceptattention_core.record import Frame, Recorder

    names = tuple(f"concept {index}" for index in range(9))
    recorder = Recorder(
        Concepts(names, 1, torch.zeros(1, 9, 1)), "output", 1, Frame((64, 64), (1024, 1024)), (0.0, 1.0)
    )
    share, live.SHARE = live.SHARE, 1e9  # for this measurement alone
    maps, seconds = live.LiveMaps(recorder), []
    for step in range(frames):
        recorder.add(1 - step / frames, tuple(range(19)), torch.randn(19, 1, 9, 4096))
        maps._sent = -1.0
        start = time.process_time()
        maps.step(step, frames)
        seconds.append(time.process_time() - start)
    live.SHARE = share
    return seconds


def time_pairs(live: Any, args: argparse.Namespace) -> list[tuple[float, float]]:
    """(without, with) CPU seconds of a step, one pair to warm up; every other pair the other way round."""
    model, pairs = with_pack(build_flux(args), args.concepts), []
    listeners = {False: lambda: None, True: Deaf}
    for pair in range(args.pairs + 1):
        taken = {}
        for looks in (False, True) if pair % 2 else (True, False):
            live.listening = listeners[looks]
            start = time.process_time()
            sample_one_step(model, args)
            taken[looks] = time.process_time() - start
        if pair:
            pairs.append((taken[False], taken[True]))
        print(f"pair {pair or 'to warm up'}: {taken[False]:.3f} {taken[True]:.3f} s", file=sys.stderr)
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_arguments(parser)
    args = parse_arguments(parser)
    start_comfyui(args)
    from conceptattention_core.adapters.comfy import live

    live.listening = Deaf
    with torch.inference_mode():
        seconds = time_frames(live)
        pairs = time_pairs(live, args)
    taken = statistics.median(seconds)
    print(f"{1000 * taken:.2f} ms of CPU time a frame ({1000 * min(seconds):.2f} .. {1000 * max(seconds):.2f}): "
          f"1 % of any step of {100 * taken:.2f} s or longer.\n")  # fmt: skip
    print(f"{describe_setting(args)}\n\n| | nobody looks | with live maps | ratio (range) | goal |\n|{'---|' * 5}")
    print(time_row("step, CPU time", pairs, GOAL))


if __name__ == "__main__":
    main()
