"""What the records of many prompts hold in memory. Prints a Markdown table; needs no model.

    python -m tools.benchmarks.records

For each size nine prompts in a row are recorded as a sampler would, scores and features of FLUX.1's 19 double blocks at
1024 x 1024: the bytes that the store holds afterwards, the steps and features that its newest maps have, and how far
the process grew at its peak, above what it took before (in a process of its own).
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
from multiprocessing.connection import Connection

import torch

from conceptattention_core.concepts import Concepts
from conceptattention_core.features import CHANNELS
from conceptattention_core.record import Frame, Recorder, RunStore

CASES = ((5, 28), (16, 50), (64, 50))
BLOCKS, GRID, PROMPTS = 19, (64, 64), 9


def record(count: int, steps: int, answer: Connection) -> None:
    """Nine prompts; sends bytes held, runs held, steps and bytes of features of the newest maps, and the peak's growth
    in bytes."""
    names = tuple(f"concept {index}" for index in range(count))
    concepts, store = Concepts(names, 0, torch.zeros(1, count, 1)), RunStore()
    frame = Frame(GRID, (16 * GRID[0], 16 * GRID[1]))
    scores = torch.rand(BLOCKS, 1, count, GRID[0] * GRID[1])
    features = torch.rand(BLOCKS, 1, GRID[0] * GRID[1], CHANNELS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for prompt in range(PROMPTS):
        recorder = Recorder(concepts, "output", 1, frame, (0.0, 1.0))
        for step in range(steps):
            recorder.add(1 - step / steps, tuple(range(BLOCKS)), scores, features)
        store.publish(recorder.finish((torch.full((1, 4), float(prompt)),), str(prompt)))
    newest = store.find(torch.full((1, 4), float(PROMPTS - 1)))
    recorded = 0 if newest.features is None else newest.features.numel() * newest.features.element_size()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    answer.send((store.bytes(), len(store), len(newest.sigmas), recorded, grown))


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print("| concepts x steps | all scores | features | steps kept | runs kept | held after nine prompts | peak |")
    print("|---|---|---|---|---|---|---|")
    context = multiprocessing.get_context("spawn")
    for count, steps in CASES:
        answer, sender = context.Pipe(duplex=False)
        process = context.Process(target=record, args=(count, steps, sender))
        process.start()
        held, runs, newest, recorded, grown = answer.recv()
        process.join()
        whole = count * steps * BLOCKS * GRID[0] * GRID[1] * 4
        whole, recorded, held, grown = (f"{size / 2**20:.0f} MiB" for size in (whole, recorded, held, grown))
        print(f"| {count} x {steps} | {whole} | {recorded} | {newest} of {steps} | {runs} | {held} | {grown} |")


if __name__ == "__main__":
    main()
