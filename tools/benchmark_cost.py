"""What the pack costs: time of a step, peak memory of a step, and start of ComfyUI. Prints Markdown for the README.

    python tools/benchmark_cost.py --comfyui ~/ComfyUI

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
import itertools
import json
import logging
import math
import os
import statistics
import subprocess
import sys
import time
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ROOT = Path(__file__).resolve().parent.parent
CONTEXT_DIM, POOLED_DIM = 4096, 768
PARTS = ("time", "memory", "start")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
MIB = 2**20


# ---- the model, with and without the pack ---------------------------------------------------------------------------


def start_comfyui(args: argparse.Namespace) -> None:
    """Put ComfyUI and the pack on the path, and choose device and attention as ComfyUI's command line does."""
    sys.path[:0] = [str(args.comfyui), str(ROOT)]  # ComfyUI first: `nodes` is its module
    import comfy.cli_args

    comfy.cli_args.args.cpu = args.device == "cpu"
    comfy.cli_args.args.use_pytorch_cross_attention = True  # its choice on NVIDIA; its own for a CPU is slower
    logging.disable(logging.INFO)
    if args.device == "cpu":
        torch.set_num_threads(args.threads)


def build_flux(args: argparse.Namespace) -> Any:
    """A MODEL: Flux.1 dev's layers at the wanted depth, randomly initialised."""
    import comfy.model_management
    import comfy.model_patcher
    import comfy.supported_models

    config = comfy.supported_models.Flux(
        {
            "image_model": "flux",
            "in_channels": 16,
            "out_channels": 16,
            "patch_size": 2,
            "vec_in_dim": POOLED_DIM,
            "context_in_dim": CONTEXT_DIM,
            "hidden_size": args.hidden,
            "num_heads": args.hidden // 128,
            "mlp_ratio": 4.0,
            "depth": args.double_blocks,
            "depth_single_blocks": args.single_blocks,
            "axes_dim": [16, 56, 56],
            "theta": 10000,
            "qkv_bias": True,
            "txt_ids_dims": [],
            "guidance_embed": True,
        }
    )
    config.set_inference_dtype(DTYPES[args.dtype], None)
    device = comfy.model_management.get_torch_device()
    model = config.get_model({}, device=device)
    torch.manual_seed(0)
    for name, weight in model.diffusion_model.named_parameters():
        weight.requires_grad_(False)
        if weight.ndim == 2:
            weight.normal_(std=weight.shape[1] ** -0.5)
        else:
            weight.fill_(0.0 if name.endswith("bias") else 1.0)
    return comfy.model_patcher.ModelPatcher(model.eval(), load_device=device, offload_device=torch.device("cpu"))


def with_pack(model: Any, concepts: int) -> Any:
    """The MODEL as Apply Concept Attention hands it out."""
    from conceptattention_core.adapters.comfy_sampling import apply_concept_attention
    from conceptattention_core.concepts import Concepts

    names = tuple(f"concept {index}" for index in range(concepts))
    embeddings = torch.randn(1, concepts, CONTEXT_DIM, generator=torch.Generator().manual_seed(1))
    return apply_concept_attention(model, Concepts(names, 0, embeddings), "output", 0.0, 1.0)[0]


def sample_one_step(model: Any, args: argparse.Namespace) -> Tensor:
    """KSampler's own run of one Euler step without guidance by a second prompt, as Flux is used."""
    import comfy.sample

    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(args.batch, 16, *args.latent, generator=generator)
    context = torch.randn(1, args.text_tokens, CONTEXT_DIM, generator=generator)
    prompt = [[context, {"pooled_output": torch.zeros(1, POOLED_DIM), "guidance": 3.5}]]
    zeros = torch.zeros_like(noise)
    return comfy.sample.sample(
        model, noise, 1, 1.0, "euler", "simple", prompt, prompt, zeros, disable_pbar=True, seed=0
    )


# ---- time -----------------------------------------------------------------------------------------------------------

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
        from conceptattention_core.adapters.comfy_flux import FluxPass
        from conceptattention_core.record import Recorder
        from conceptattention_core.scores import ConceptPass

        self._seconds = 0.0
        methods = (FluxPass, "attend"), (FluxPass, "score"), (ConceptPass, "stacked_scores"), (Recorder, "add")
        for owner, name in methods:
            setattr(owner, name, self._timed(getattr(owner, name)))
        FluxPass.start = self._timed(FluxPass.start)  # a class method, bound already

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


# ---- memory ---------------------------------------------------------------------------------------------------------


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


# ---- start ----------------------------------------------------------------------------------------------------------

START = """
import asyncio, json, sys, time
sys.path.insert(0, sys.argv[1])
import comfy.cli_args
comfy.cli_args.args.cpu = sys.argv[3] == "cpu"
import execution, server, nodes

async def main():
    start = time.perf_counter()
    await nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False)
    builtin, before, start = time.perf_counter() - start, set(sys.modules), time.perf_counter()
    assert await nodes.load_custom_node(sys.argv[2], module_parent="custom_nodes")
    return builtin, time.perf_counter() - start, sorted(set(sys.modules) - before)

print(json.dumps(asyncio.run(main())))
"""


def start_report(args: argparse.Namespace, times: int) -> tuple[str, str]:
    """The table row on ComfyUI's start, and a line on the modules that come in with the pack."""
    command = [sys.executable, "-c", START, str(args.comfyui), str(ROOT), args.device]
    runs = []
    for _ in range(times):
        done = subprocess.run(command, cwd=args.comfyui, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"ComfyUI did not start: {done.stderr.strip()}")
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    added = sorted(seconds for _, seconds, _ in runs)
    pack = str(ROOT).replace(".", "_x_")  # as ComfyUI names its modules
    foreign = [name for name in runs[0][2] if pack not in name]
    row = f"| ComfyUI's start | {statistics.median(run[0] for run in runs):.2f} s for its own extra nodes | "
    row += f"+ {statistics.median(added):.3f} s | {added[0]:.3f} .. {added[-1]:.3f} s | at most 0.3 s |"
    return row, f"Modules that only the pack brings in: its own, {', '.join(foreign) or 'and no other'}."


# ---- the command line -----------------------------------------------------------------------------------------------


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Options on ComfyUI, on the model's and the picture's size, and on the machine: for any benchmark on this Flux."""
    add = parser.add_argument
    add("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH"), help="its folder (default: COMFYUI_PATH)")
    add("--pairs", type=int, default=5, help="timed pairs of runs (default: %(default)s)")
    add("--double-blocks", type=int, default=2, help="Flux.1 has 19 (default: %(default)s)")
    add("--single-blocks", type=int, default=1, help="Flux.1 has 38 (default: %(default)s)")
    add("--hidden", type=int, default=3072, help="hidden size, a multiple of 128 (default: %(default)s)")
    add("--latent", type=int, nargs=2, default=(128, 128), metavar=("H", "W"), help="even numbers (default: 128 128)")
    add("--text-tokens", type=int, default=256, help="length of the prompt (default: %(default)s)")
    add("--concepts", type=int, default=8, help="number of concepts (default: %(default)s)")
    add("--batch", type=int, default=1, help="pictures at once (default: %(default)s)")
    add("--dtype", choices=DTYPES, default="bf16", help="of weights and computation (default: %(default)s)")
    add("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    add("--threads", type=int, default=os.cpu_count(), help="on the CPU (default: all)")


def parse_arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line, once it names a ComfyUI."""
    args = parser.parse_args()
    if args.comfyui is None or not (args.comfyui / "comfy").is_dir():
        parser.error("no ComfyUI: give its folder as --comfyui, or set COMFYUI_PATH")
    return args


def describe_setting(args: argparse.Namespace) -> str:
    """One sentence on what is measured, for the head of a table."""
    device = torch.cuda.get_device_name() if args.device == "cuda" else f"CPU with {args.threads} threads"
    tokens = args.latent[0] * args.latent[1] // 4
    return (
        f"Flux of hidden size {args.hidden} with {args.double_blocks} double and {args.single_blocks} single blocks, "
        f"{tokens} image tokens, {args.text_tokens} text tokens, {args.concepts} concepts, "
        f"batch {args.batch}, {args.dtype}; {device}, PyTorch {torch.__version__}; medians of {args.pairs} pairs."
    )


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
