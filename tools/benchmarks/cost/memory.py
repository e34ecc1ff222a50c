"""Peak memory of a step with and without the pack, and the tensors that the pack makes in it."""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .setting import ROOT, sample_one_step

MIB = 2**20


def peak_bytes(run: Callable[[], Any], cuda: bool) -> int:
    """Most bytes that `run` holds at one time beyond those held before it, scratch memory inside kernels included."""
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
        run()
    assert profiler.profiler is not None
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(itertools.accumulate(changes))


@dataclass(frozen=True)
class Made:
    """A tensor that the pack made: where, by which operation, and how large."""

    where: str
    op: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    size: int


class PackTensors(TorchDispatchMode):
    """Lists the tensors that the pack's code allocates, and follows how many of their bytes are alive."""

    def __init__(self, *host: Any) -> None:
        """host: functions of the host that the pack calls; below them the host is at work, until it calls back."""
        super().__init__()
        self.made: list[Made] = []
        self.live = 0
        self._host = {function.__code__ for function in host}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        where = self._pack_function()
        if where:
            given = {tensor.untyped_storage()._cdata for tensor in tree_leaves((args, kwargs)) if _is_dense(tensor)}
            for tensor in tree_leaves(result):
                if _is_dense(tensor) and tensor.untyped_storage()._cdata not in given:  # neither a view nor in place
                    storage = tensor.untyped_storage()
                    self.made.append(Made(where, str(func), tuple(tensor.shape), tensor.dtype, storage.nbytes()))
                    self.live += storage.nbytes()
                    weakref.finalize(storage, self._drop, storage.nbytes())
        return result

    def _drop(self, size: int) -> None:
        self.live -= size

    def _pack_function(self) -> str:
        """The pack's function that is at work, or "" where the host is."""
        frame = sys._getframe(2)
        while frame is not None and frame.f_code not in self._host:
            if frame.f_code.co_filename.startswith(str(ROOT / "conceptattention_core")):
                return frame.f_code.co_name
            frame = frame.f_back
        return ""


def _is_dense(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided


def list_tensors(patched: Any, args: argparse.Namespace) -> tuple[list[Made], list[int]]:
    """What the pack makes in a run, and the bytes of its tensors that are alive after each double block."""
    from comfy.ldm.flux.model import Flux
    from comfy.samplers import CFGGuider

    tensors, held = PackTensors(Flux._forward, CFGGuider.outer_sample), []
    hooks = [
        block.register_forward_hook(lambda *_: held.append(tensors.live))
        for block in patched.model.diffusion_model.double_blocks
    ]
    with tensors:
        sample_one_step(patched, args)
    for hook in hooks:
        hook.remove()
    return tensors.made, held


def memory_report(plain: Any, patched: Any, args: argparse.Namespace) -> tuple[str, list[str]]:
    """The table row on peak memory, and the lines on the tensors behind it."""
    tokens = args.latent[0] * args.latent[1] // 4
    stored = 4 * args.double_blocks * args.batch * args.concepts * tokens
    without, with_ = (
        peak_bytes(partial(sample_one_step, model, args), args.device == "cuda") for model in (plain, patched)
    )
    made, held = list_tensors(patched, args)
    counts = {tokens, tokens + args.concepts, tokens + args.text_tokens}
    square = [tensor for tensor in made if sum(length in counts for length in tensor.shape) > 1]
    every_block = args.double_blocks * args.batch * tokens * args.hidden
    vectors = [tensor for tensor in made if math.prod(tensor.shape) >= every_block]
    extra = f"+ {(with_ - without) / 1024:.1f} KiB; stored scores {stored / 1024:.0f} KiB"
    row = f"| peak memory of a step | {without / MIB:.1f} MiB | {with_ / MIB:.1f} MiB | {extra} "
    row += f"(x {(with_ - without) / stored:.3f}) | at most x 1.05 of the scores |"
    lines = [
        f"The pack made {len(square)} tensors of (tokens x tokens) and {len(vectors)} of (blocks x tokens x hidden). "
        f"Held after each double block: {', '.join(f'{size / 1024:.0f}' for size in held)} KiB.",
        "Its largest tensors, none of which lasts longer than its block's attention:",
        "",
        "| in | operation | shape | dtype | MiB | times |",
        "|---|---|---|---|---|---|",
    ]
    largest = sorted(Counter(made).items(), key=lambda item: -item[0].size)[:6]
    for tensor, times in largest:
        shape, dtype = " x ".join(map(str, tensor.shape)), str(tensor.dtype).removeprefix("torch.")
        lines.append(f"| `{tensor.where}` | {tensor.op} | {shape} | {dtype} | {tensor.size / MIB:.1f} | {times} |")
    return row, lines
