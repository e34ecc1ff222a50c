"""Shards: several processes, on one machine or more, that share the pictures of a run (`accelerate launch`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """This process among all: its number, how many there are, its device (None: free to choose).

    wait: blocks until every process has come to the same place. close: call once at the end.
    """

    index: int
    count: int
    device: str | None
    wait: Callable[[], None]
    close: Callable[[], None]

    @property
    def is_main(self) -> bool:
        return self.index == 0


def this_shard(device: str | None) -> Shard:
    """What accelerate says of this process; without accelerate there is only one. device: as asked for, or None."""
    try:
        from accelerate import PartialState
    except ImportError:
        return Shard(0, 1, device, lambda: None, lambda: None)
    state = PartialState(cpu=device == "cpu")
    several = state.num_processes > 1
    own = str(state.device) if several and device != "cpu" else device
    return Shard(state.process_index, state.num_processes, own, state.wait_for_everyone, state.destroy_process_group)
