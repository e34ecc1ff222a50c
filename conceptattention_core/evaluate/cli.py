"""Measure how well concept maps segment pictures whose truth is known.

Each picture is encoded, noised half way and sent once through the model's double blocks; the maps of Concept Attention,
and of the paper's baselines from the same forward, are compared with the label maps. Writes to --out:

  report.md, report.json   accuracy, true mIoU, paper_miou and mAP, beside the paper's published figures
  pictures-*.jsonl         each picture's counts: a killed run goes on where it was when it is started again
  *.png                    plots, with --ablate blocks or --ablate noise

Examples, one for each data set:

  the demo model on its own kind of pictures; nothing to download, in a clone of the repository:
    python -m conceptattention_core.evaluate scenes --images 20

  ImageNet-Segmentation (4,276 pictures), the paper's main table:
    python -m conceptattention_core.evaluate imagenet-segmentation --data gtsegs_ijcv.mat --names data.noun \\
        --model black-forest-labs/FLUX.1-schnell

  PASCAL VOC 2012, pictures with one class, or all of them:
    python -m conceptattention_core.evaluate voc --data VOCdevkit/VOC2012 --protocol single --model FOLDER_OR_HUB_NAME

  your own pictures: images/*.jpg, labels/*.png (pixel = label number) and names.txt ("1 cat"):
    python -m conceptattention_core.evaluate folder --data my_pictures --model FOLDER_OR_HUB_NAME

Several GPUs or machines share the pictures (machines need a folder for --out that all of them see):
    accelerate launch --num_processes 4 -m conceptattention_core.evaluate voc --data ...

Each command has its own help: python -m conceptattention_core.evaluate voc --help
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from ..concepts import TokenPooling, split_names
from .ablate import ABLATIONS
from .datasets import Dataset
from .datasets.folder import open_folder
from .datasets.imagenet_segmentation import open_imagenet_segmentation
from .datasets.scenes import open_scenes
from .datasets.voc import VocProtocol, open_voc
from .method import Method
from .protocol import MASK_RULES, PAPER, PROMPT_RULES, UPSAMPLINGS, Protocol

DEMO, DEMO_SIZE, FULL_SIZE, SCENES = "demo", 256, 1024, 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, or 2 with one line that says what is wrong."""
    options = build_parser().parse_args(arguments)
    try:
        from .run import run

        return run(options, chosen_protocol(options), chosen_method(options), chosen_size(options))
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """A command for each data set; the options are the same, their defaults are the data set's protocol."""
    parser = argparse.ArgumentParser(
        prog="python -m conceptattention_core.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="scenes | imagenet-segmentation | voc | folder")

    def add(name: str, preset: Protocol, text: str, example: str, open_it: Callable[..., Dataset]) -> None:
        command = commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=f"example:\n  python -m conceptattention_core.evaluate {name} {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_data_options(command, name)
        add_options(command, preset, binary_possible=preset.binary or name == "voc")
        command.set_defaults(open=open_it, preset=preset)

    add(
        "scenes",
        Protocol(background=(), prompt="caption"),
        "the demo model's cartoon scenes, from seeds that it never saw (needs a clone of the repository)",
        "--images 20",
        lambda options: open_scenes(SCENES if options.images is None else options.images, chosen_size(options)),
    )
    add(
        "imagenet-segmentation",
        replace(PAPER, binary=True),
        "ImageNet-Segmentation: one object in each picture, the paper's main table",
        "--data gtsegs_ijcv.mat --names data.noun --model black-forest-labs/FLUX.1-schnell",
        lambda options: open_imagenet_segmentation(options.data, options.names),
    )
    add(
        "voc",
        PAPER,
        "PASCAL VOC 2012, the validation pictures of its segmentation task",
        "--data VOCdevkit/VOC2012 --protocol single --model black-forest-labs/FLUX.1-schnell",
        lambda options: open_voc(options.data, options.protocol),
    )
    add(
        "folder",
        Protocol(),
        "your own pictures: a folder with images/, labels/ (PNG, pixel = label number) and names.txt",
        "--data my_pictures --model black-forest-labs/FLUX.1-schnell",
        lambda options: open_folder(options.data),
    )
    return parser


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
    default = f"{SCENES}" if name == "scenes" else "all"
    group.add_argument("--images", type=int, metavar="N", help=f"only the first N pictures (default: {default})")


def add_options(command: argparse.ArgumentParser, preset: Protocol, binary_possible: bool) -> None:
    """What is run and how it is judged; the defaults are the protocol's."""
    run = command.add_argument_group("run")
    run.add_argument("--model", default=DEMO, help="folder or hub name of a FLUX.1 model (default: the demo model)")
    run.add_argument("--device", help="cuda, cuda:1, mps or cpu (default: the best that there is; the demo on cpu)")
    run.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="of the weights (default: bfloat16; float32 on the CPU and for the demo)",
    )
    run.add_argument("--offload", action="store_true", help="keep only the part that works on the GPU")
    run.add_argument("--out", type=Path, help="folder for the results (default: output/evaluate/DATA-MODEL)")
    run.add_argument(
        "--ablate",
        nargs="+",
        choices=(*ABLATIONS, "all"),
        default=[],
        metavar="WHAT",
        help="also compare, each against the run's own settings: projection (each space with and without softmax), "
        "blocks (each block alone), noise (levels 0.1 to 0.9), keys (what concepts attend to), pooling; or all",
    )
    method = command.add_argument_group("method")
    method.add_argument("--noise-level", type=float, default=0.5, help="0 = clean, 1 = noise only (default: 0.5)")
    method.add_argument("--noise-samples", type=int, default=1, help="noises a picture, averaged (default: 1)")
    method.add_argument("--seed", type=int, default=0, help="of the first noise (default: 0)")
    method.add_argument(
        "--blocks",
        type=int,
        nargs=2,
        default=(-10, -1),
        metavar=("FIRST", "LAST"),
        help="double blocks to average, negative: from the end (default: -10 -1, the paper's)",
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
        default=", ".join(preset.background),
        help=f"concepts that compete with the names (default: {', '.join(preset.background) or 'none'})",
    )
    protocol.add_argument(
        "--prompt",
        choices=PROMPT_RULES,
        default=preset.prompt,
        help="what the model is told: the classes in the picture, the scene's caption, nothing (default: %(default)s)",
    )
    protocol.add_argument(
        "--size", type=int, help=f"longest side of what the model sees (default: {DEMO_SIZE} demo, {FULL_SIZE} others)"
    )
    protocol.add_argument(
        "--label-size",
        type=lambda text: None if text == "full" else int(text),
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
        background=tuple(split_names(options.background)),
        prompt=options.prompt,
        pooling=options.pooling,
        label_size=options.label_size,
        upsampling=options.upsampling,
    )


def chosen_method(options: argparse.Namespace) -> Method:
    """The run's own method."""
    first, last = options.blocks
    return Method(first_block=first, last_block=last, noise_level=options.noise_level, pooling=options.pooling)


def chosen_size(options: argparse.Namespace) -> int:
    return options.size or (DEMO_SIZE if options.model == DEMO else FULL_SIZE)
