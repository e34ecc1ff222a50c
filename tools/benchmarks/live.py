"""What live maps cost a step. Prints one line; needs no model.

    python -m tools.benchmarks.live --comfyui PATH

FLUX.1's 19 double blocks at 1024 x 1024 with 9 concepts, and a frame at every step, more than there will be: at most
ten a second are sent, and none once they have taken 1 % of the run. CPU time of the pack's function, not of the socket.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

import torch

from .cost.setting import start_comfyui


class Deaf:
    """A server that sends nothing."""

    client_id = "nobody"

    def send_sync(self, *_: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if options.comfyui is None or not (options.comfyui / "comfy").is_dir():
        parser.error("no ComfyUI: give its folder as --comfyui, or set COMFYUI_PATH")
    options.device = "cpu"
    start_comfyui(options)
    from conceptattention_core.adapters.comfy import live
    from conceptattention_core.concepts import Concepts
    from conceptattention_core.record import Frame, Recorder

    live.listening = Deaf
    names = tuple(f"concept {index}" for index in range(9))
    recorder = Recorder(
        Concepts(names, 1, torch.zeros(1, 9, 1)), "output", 1, Frame((64, 64), (1024, 1024)), (0.0, 1.0)
    )
    live.SHARE = 1e9  # for the measurement alone
    maps, seconds = live.LiveMaps(recorder), []
    for step in range(30):
        recorder.add(1 - step / 30, tuple(range(19)), torch.randn(19, 1, 9, 4096))
        maps._sent = -1.0
        start = time.process_time()
        maps.step(step, 30)
        seconds.append(time.process_time() - start)
    taken = statistics.median(seconds)
    print(f"{1000 * taken:.2f} ms of CPU time a frame ({1000 * min(seconds):.2f} .. {1000 * max(seconds):.2f}): "
          f"1 % of any step of {100 * taken:.2f} s or longer")  # fmt: skip


if __name__ == "__main__":
    main()
