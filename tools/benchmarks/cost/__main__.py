"""What the pack costs: time of a step, peak memory of a step, and start of ComfyUI. Prints Markdown for the README.

    python -m tools.benchmarks.cost --comfyui ~/ComfyUI

Runs on ComfyUI's own Flux at full width (hidden size 3072, 24 heads) with random weights, so no download is needed. The
default is a picture of 1024 x 1024 pixels: 4096 image tokens, 256 text tokens, 8 concepts, bf16.

Time: the same one-step sampling run is made with and without the pack in turns, and the median of the pairs' ratios is
given, because a shared machine drifts by more than the pack costs. Without a GPU, CPU time is printed beside wall time.
Memory: the peak of that run, on CUDA by the caching allocator, on the CPU by every call of PyTorch's allocator. A
dispatch mode also lists the tensors that the pack itself makes (host tensors and views of them are not counted).
Start: what loading the pack adds to a ComfyUI that has loaded its own nodes, in a process of its own.
"""

from __future__ import annotations

import argparse

from tools.benchmarks.cost.memory import memory_report
from tools.benchmarks.cost.setting import (
    add_model_arguments,
    build_flux,
    describe_setting,
    parse_arguments,
    start_comfyui,
    with_pack,
)
from tools.benchmarks.cost.start import start_report
from tools.benchmarks.cost.timing import time_pairs, time_row

PARTS = ("time", "memory", "start")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="what to measure (default: all)")
    add_model_arguments(parser)
    return parse_arguments(parser)


def main() -> None:
    args = read_arguments()
    start_comfyui(args)
    print(f"{describe_setting(args)}\n")
    print("| | without the pack | with it | difference (range) | goal |\n|---|---|---|---|---|", flush=True)
    lines: list[str] = []
    if "start" in args.only:
        row, line = start_report(args, 3)
        print(row, flush=True)
        lines = [line]
    if set(args.only) - {"start"}:
        plain = build_flux(args)
        patched = with_pack(plain, args.concepts)
    if "memory" in args.only:
        row, details = memory_report(plain, patched, args)
        print(row, flush=True)
        lines += details
    if "time" in args.only:
        for name, pairs in time_pairs(plain, patched, args).items():
            print(time_row(name, pairs, "at most x 1.03" if "step" in name else ""))
    print("\n".join(["", *lines]))


if __name__ == "__main__":
    main()
