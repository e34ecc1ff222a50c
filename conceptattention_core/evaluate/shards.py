"""Shards: several processes, on one machine or more, that share the pictures of a run (`accelerate launch`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

PATIENCE = timedelta(days=7)
"""How long a process waits for one that has slower hardware, or more to do."""


@dataclass(frozen=True)
class Shard:
    """This process among all: its number, how many there are, its device.

    wait: blocks until every process has come to the same place. close: call once at the end.
    """

    index: int
    count: int
    device: str
    wait: Callable[[], None]
    close: Callable[[], None]

    @property
    def is_main(self) -> bool:
        return self.index == 0


def this_shard(device: str) -> Shard:
    """What accelerate says of this process; without accelerate there is only one.

    device: "cpu", or a GPU; where several processes share a machine's GPUs, each is given its own.
    """
    try:
        from accelerate import PartialState
    except ImportError:
        return Shard(0, 1, device, lambda: None, lambda: None)
    on_cpu = device == "cpu"
    # It has to be told of the CPU: otherwise it takes a process without a GPU to be alone.
    state = PartialState(cpu=on_cpu, timeout=PATIENCE)
    own = str(state.device) if state.num_processes > 1 and not on_cpu else device
    return Shard(state.process_index, state.num_processes, own, state.wait_for_everyone, state.destroy_process_group)
