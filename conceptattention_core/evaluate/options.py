"""The options of the command line: the same for every data set, with its protocol's defaults."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import get_args

from ..concepts import TokenPooling
from ..names import split_names
from .ablate import ABLATIONS
from .baselines.load import add_baseline_options
from .datasets.voc import VocProtocol
from .method import Method
from .protocol import MASK_RULES, PROMPT_RULES, UPSAMPLINGS, Protocol
from .stages import NUMBERS

DEMO, DEMO_SIZE, FULL_SIZE, SCENES = "demo", 256, 1024, 100


def add_data_options(command: argparse.ArgumentParser, name: str) -> None:
    """Where the data set is."""
    group = command.add_argument_group("data")
    if name == "imagenet-segmentation":
        group.add_argument("--data", type=Path, required=True, metavar="FILE", help="gtsegs_ijcv.mat")
        group.add_argument(
            "--names",
            type=Path,
            metavar="FILE",
            help="what its WordNet numbers are called: data.noun of WordNet 3.0, or ImageNet's words.txt",
        )
    elif name == "voc":
        group.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="VOCdevkit/VOC2012")
        group.add_argument(
            "--protocol",
            choices=get_args(VocProtocol),
            default="single",
            help="single: pictures with one class, found or not; multi: all pictures, which class is where "
            "(default: single)",
        )
    elif name == "folder":
        group.add_argument(
            "--data",
            type=Path,
            required=True,
            metavar="FOLDER",
            help="images/, labels/ with a PNG of the same name for each picture (255 = not labelled), and names.txt "
            "with a line for each number: '1 cat'; '0 background' for what has no name",
        )
    default = f"{SCENES}" if name in ("scenes", "confusable") else "all"
    group.add_argument("--images", type=positive, metavar="N", help=f"only the first N pictures (default: {default})")


def add_options(command: argparse.ArgumentParser, preset: Protocol, binary_possible: bool) -> None:
    """What is run and how it is judged; the defaults are the protocol's."""
    run = command.add_argument_group("run")
    run.add_argument("--model", default=DEMO, help="folder or hub name, for diffusers (default: the demo)")
    comfy = command.add_argument_group("model in ComfyUI: any family that the pack reads")
    comfy.add_argument("--comfyui", type=Path, metavar="FOLDER", help="run it there; alone: on the demo model")
    comfy.add_argument(
        "--comfyui-models",
        type=Path,
        metavar="FOLDER",
        help="where files that are given by name alone are searched for, in the folders that ComfyUI has for them "
        "(default: models in --comfyui)",
    )
    comfy.add_argument("--unet", type=Path, metavar="FILE", help="diffusion model, with --clip and --vae")
    comfy.add_argument("--clip", type=Path, nargs="+", metavar="FILE", help="its text encoders")
    comfy.add_argument("--clip-type", default="flux", metavar="TYPE", help="as in CLIPLoader (default: flux)")
    comfy.add_argument("--vae", type=Path, metavar="FILE")
    comfy.add_argument("--checkpoint", type=Path, metavar="FILE", help="one file that holds all three, or its folder")
    comfy.add_argument("--all-blocks", action="store_true", help="FLUX.1: its single blocks, numbered on, too")
    run.add_argument("--device", help="cuda, cuda:1, mps or cpu (default: the best that there is; the demo on cpu)")
    run.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="of the weights (default: bfloat16; float32 on the CPU and for the demo)",
    )
    run.add_argument("--offload", action="store_true", help="keep only the part that works on the GPU")
    run.add_argument("--out", type=Path, help="for the results (default: output/evaluate/DATA-MODEL[-study][-stages])")
    run.add_argument(
        "--ablate",
        nargs="+",
        choices=(*ABLATIONS, "all"),
        default=[],
        metavar="WHAT",
        help="also compare, each against the run's own settings: projection (each space with and without softmax), "
        "blocks (each block alone), noise (levels 0.1 to 0.9), keys (what concepts attend to), pooling, temperature, "
        "reading (paper, and auto without and with prototypes); or all. With blocks, temperature and reading the "
        "report ends in the lines to change in the family's file",
    )
    run.add_argument(
        "--stages",
        type=int,
        nargs="*",
        choices=NUMBERS,
        metavar="N",
        help="what may be changed in the reading of maps, and a verdict for each: 1 noise levels, blocks, readings; 2 "
        "lists of two; 3 trusted blocks; 4 absent words; 5 prototypes; 7 scales; 8 time (default: all)",
    )
    run.add_argument("--study", action="store_true", help="every question that the model's family can answer, at once")
    add_baseline_options(command)
    method = command.add_argument_group("method")
    method.add_argument(
        "--noise-level", type=float, default=0.5, metavar="0..1", help="0 = clean, 1 = noise only (default: 0.5)"
    )
    method.add_argument("--noise-samples", type=positive, default=1, help="noises a picture, averaged (default: 1)")
    method.add_argument("--seed", type=int, default=0, help="of the first noise (default: 0)")
    method.add_argument(
        "--blocks",
        type=int,
        nargs=2,
        metavar=("FIRST", "LAST"),
        help="blocks to average, negative: from the end (default: the family's own; FLUX.1: -10 -1, the paper's)",
    )
    method.add_argument(
        "--pooling",
        choices=get_args(TokenPooling),
        default=preset.pooling,
        help="of a word's text pieces; first is the paper's (default: %(default)s)",
    )
    method.add_argument("--guidance", type=float, default=3.5, help="for models with guidance (default: 3.5)")
    protocol = command.add_argument_group("protocol")
    protocol.add_argument(
        "--background",
        metavar="NAMES",
        default=", ".join(preset.background),
        help=f"concepts that compete with the names (default: {', '.join(preset.background) or 'none'})",
    )
    protocol.add_argument(
        "--prompt",
        choices=PROMPT_RULES if preset.prompt == "caption" else [rule for rule in PROMPT_RULES if rule != "caption"],
        default=preset.prompt,
        help="what the model is told of a picture: the names of what is in it, its caption (scenes only), or nothing "
        "(default: %(default)s)",
    )
    protocol.add_argument(
        "--size",
        type=positive,
        metavar="SIDE",
        help=f"longest side of what the model sees (default: {DEMO_SIZE} demo, {FULL_SIZE} others)",
    )
    protocol.add_argument(
        "--label-size",
        type=lambda text: None if text == "full" else positive(text),
        default=preset.label_size,
        metavar="SIDE",
        help="compare with the truth on a square of that side, or 'full': on its own pixels (default: "
        f"{preset.label_size or 'full'})",
    )
    protocol.add_argument(
        "--upsampling",
        choices=UPSAMPLINGS,
        default=preset.upsampling,
        help="of maps to that size (default: %(default)s)",
    )
    if binary_possible:
        protocol.add_argument(
            "--mask",
            choices=MASK_RULES,
            default=preset.mask,
            help="of a single object: above the map's own mean, the paper's, or stronger than every background concept "
            "(default: %(default)s)",
        )


def chosen_protocol(options: argparse.Namespace) -> Protocol:
    """The data set's protocol with what was asked for."""
    preset: Protocol = options.preset
    return replace(
        preset,
        binary=preset.binary or getattr(options, "protocol", None) == "single",
        mask=getattr(options, "mask", preset.mask),
        background=tuple(split_names(options.background, "background")),
        prompt=options.prompt,
        pooling=options.pooling,
        label_size=options.label_size,
        upsampling=options.upsampling,
    )


def chosen_method(options: argparse.Namespace) -> Method:
    """The run's own method."""
    first, last = options.blocks or (-10, -1)
    return Method(first_block=first, last_block=last, noise_level=options.noise_level, pooling=options.pooling)


def positive(text: str) -> int:
    """A whole number from 1 on; argparse turns the ValueError into its own message."""
    if int(text) < 1:
        raise ValueError
    return int(text)


def chosen_size(options: argparse.Namespace) -> int:
    """The longest side of what the model sees, in pixels."""
    demo = options.model == DEMO and options.checkpoint is None and options.unet is None
    return options.size or (DEMO_SIZE if demo else FULL_SIZE)
