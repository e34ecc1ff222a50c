"""One run: open the data, load the model, do this process's share of the pictures, write the report."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tqdm import tqdm

from .ablate import all_methods, grid, questions_of
from .baselines import Baseline
from .baselines.load import load_baselines
from .comfy_files import chosen_files
from .datasets import Dataset
from .host import DiffusersHost, Host
from .method import Method
from .options import DEMO
from .plots import write_plots
from .protocol import Protocol
from .report import make_row, write_report
from .results import ResultFolder
from .runner import Evaluator, Settings
from .shards import Shard, this_shard
from .sheet import write_sheet
from .stage_report import write_stages
from .stages import NUMBERS, STAGES, Stage, stage_methods


def run(options: argparse.Namespace, protocol: Protocol, base: Method, size: int) -> int:
    """Returns the exit status: 0, or 2 where no picture could be evaluated.

    Raises ValueError, OSError or RuntimeError on what concerns the whole run; what concerns one picture is reported.
    """
    dataset: Dataset = options.open(options)
    keys = dataset.keys[: options.images]
    if not keys:
        raise ValueError(f"There are no pictures in {dataset.name}.")
    shard = this_shard(options.device or default_device(options))
    try:
        baselines = load_baselines(options, protocol, shard.device)
        host = load_host(options, shard.device)
        if options.blocks is None:
            first, last = host.family["blocks"]
            base = replace(base, first_block=first, last_block=last)
        depth, spaces = host.family["depth"], host.family["projections"]
        base = replace(base, projection="output" if "output" in spaces else spaces[0])
        questions = questions_of(["all"] if options.study else options.ablate, spaces)
        numbers = [] if options.stages is None else options.stages or list(NUMBERS)
        stages = [STAGES[number](base, depth) for number in STAGES if number in numbers]
        methods = [*dict.fromkeys([*all_methods(base, questions, depth, spaces), *stage_methods(stages)])]
        seeds = tuple(range(options.seed, options.seed + options.noise_samples))
        settings = {
            "dataset": dataset.name,
            "model": model_name(options),
            "family": host.family,
            "weights": host.weights,
            "dtype": host.dtype,
            "device": host.device if not options.offload else "offload",
            "size": size,
            "seed": options.seed,
            "seeds": options.noise_samples,
            "guidance": options.guidance,
            "protocol": asdict(protocol),
            "methods": [method.describe() for method in methods],
            "ablate": {ask: [methods.index(one) for one in grid(ask, base, depth, spaces)] for ask in questions},
            "stages": sorted(set(numbers)),
        }
        if baselines:
            settings["baselines"] = [baseline.describe() for baseline in baselines]
        folder = options.out or default_folder(dataset.name, options)
        results = ResultFolder(folder, settings)
        lexicon = dataset.words() if stages else None
        evaluator = Evaluator(host, methods, protocol, Settings(size, seeds, options.guidance), lexicon)
        do_pictures(dataset, keys, evaluator, baselines, results, shard)
        shard.wait()
        if not shard.is_main:
            return 0
        return finish(results, dataset, keys, methods, baselines, stages, evaluator, protocol)
    finally:
        shard.close()


def do_pictures(
    dataset: Dataset,
    keys: Sequence[str],
    evaluator: Evaluator,
    baselines: Sequence[Baseline],
    results: ResultFolder,
    shard: Shard,
) -> None:
    """Evaluate this process's share of the pictures that have no results yet."""
    done = results.done()
    left = [key for key in keys if key not in done]
    shard.wait()  # nobody writes before everybody has seen what there is
    mine = left[shard.index :: shard.count]
    if shard.is_main and len(left) < len(keys):
        print(f"{len(keys) - len(left)} of {len(keys)} pictures are done already: {results.folder}", file=sys.stderr)
    with results.writer(shard.index) as writer, tqdm(mine, unit="picture", disable=not shard.is_main) as bar:
        for key in bar:
            try:
                sample = dataset.load(key)
                counts = [*evaluator.evaluate(sample), *(baseline.count(sample) for baseline in baselines)]
            except Exception as error:  # one picture's failure, whatever it is, must not lose the run
                message = f"{type(error).__name__}: {' '.join(str(error).split())}"
                writer.add_failure(key, message)
                tqdm.write(f"picture {key} failed: {message}", file=sys.stderr)
            else:
                writer.add(key, counts)


def finish(
    results: ResultFolder,
    dataset: Dataset,
    keys: Sequence[str],
    methods: Sequence[Method],
    baselines: Sequence[Baseline],
    stages: Sequence[Stage],
    evaluator: Evaluator,
    protocol: Protocol,
) -> int:
    """Report on all processes' pictures. Raises RuntimeError where some are missing."""
    failed = results.failures(keys)
    judged = [*methods, *baselines]
    totals = results.totals(keys, len(judged))
    missing = len(keys) - totals[0].pictures - len(failed)
    if missing:
        raise RuntimeError(
            f"The results of {missing} pictures are not in {results.folder}. With several machines, --out has to be a "
            "folder that all of them see."
        )
    if not totals[0].pictures:
        raise RuntimeError(f"No picture could be evaluated. The first one: {next(iter(failed.values()))}")
    rows = [make_row(method, total, protocol.binary) for method, total in zip(judged, totals, strict=True)]
    written = write_report(results.folder, results.settings, rows, totals[0].pictures, failed)
    written += write_plots(results.folder, results.settings, rows)
    sample = dataset.load(next(key for key in keys if key not in failed))
    if "blocks" in results.settings["ablate"]:
        written.append(write_sheet(results.folder, evaluator.maps(sample, methods[0]), sample, methods[0], rows))
    if numbers := results.settings["stages"]:
        cost = evaluator.cost(sample, methods[0]) if 8 in numbers else None
        title = f"{results.settings['dataset']}, {results.settings['model']}, {totals[0].pictures} pictures"
        written.append(write_stages(results.folder, title, results.settings["family"], stages, rows, cost))
    print(written[1 if not numbers else -1].read_text(encoding="utf-8"))
    print(f"Wrote {', '.join(path.name for path in written)} to {results.folder}")
    if failed:
        print(f"{len(failed)} pictures failed and are not in the numbers; see the report.", file=sys.stderr)
    return 0


def load_host(options: argparse.Namespace, device: str) -> Host:
    """The model where the options say: in ComfyUI, or in diffusers. device: diffusers' own choice."""
    if not in_comfyui(options):
        from ..adapters.diffusers.load import load_pipeline

        return DiffusersHost(load_pipeline(options.model, device, options.dtype, options.offload))
    files = chosen_files(options)
    if not files.names_a_model and options.model != DEMO:
        raise ValueError("With --comfyui give --checkpoint, or --unet, --clip and --vae; neither is the demo model.")
    if options.comfyui is not None:
        if not (options.comfyui / "comfy").is_dir():
            raise ValueError(f"--comfyui {options.comfyui} is no ComfyUI: it has no comfy folder.")
        sys.path.insert(0, str(options.comfyui))  # before this repository, whose `nodes` is another one
    from ..adapters.comfy.device import choose_device

    try:
        choose_device()
    except ModuleNotFoundError as error:
        raise ValueError(f"This needs ComfyUI ({error}): say where it is with --comfyui.") from error
    from ..adapters.comfy.evaluate import load_demo, load_files

    if not files.names_a_model:
        return load_demo(options.all_blocks)
    return load_files(files.unet, files.clip, options.clip_type, files.vae, files.checkpoint, options.all_blocks)


def in_comfyui(options: argparse.Namespace) -> bool:
    """Whether anything is said that only ComfyUI can load."""
    asked = options.comfyui, options.comfyui_models, options.checkpoint, options.unet, options.clip, options.vae
    return options.all_blocks or any(one is not None for one in asked)


def default_device(options: argparse.Namespace) -> str:
    """The best that there is; ComfyUI chooses its own by the same rule."""
    if in_comfyui(options):
        return "cuda" if torch.cuda.is_available() else "cpu"
    from ..adapters.diffusers.load import default_device

    return default_device(options.model)


def model_name(options: argparse.Namespace) -> str:
    """What the report calls the model."""
    file = options.checkpoint or options.unet
    return str(file) if file else options.model


def default_folder(dataset: str, options: argparse.Namespace) -> Path:
    """``output/evaluate/DATA-MODEL``, the model by the last part of its name; a study and stages have their own."""
    last = re.sub(r"[^\w.-]+", "-", Path(model_name(options)).name) or "model"
    kind = "-study" * options.study + "-stages" * (options.stages is not None)
    return Path("output") / "evaluate" / f"{dataset}-{last}{kind}"
