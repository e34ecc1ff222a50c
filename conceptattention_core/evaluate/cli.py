"""Measure how well concept maps segment pictures whose truth is known.

Each picture is encoded, noised half way and sent once through the model's double blocks; the maps of Concept Attention,
and of the paper's baselines from the same forward, are compared with the label maps. Writes to --out:

  report.md, report.json   accuracy, true mIoU, paper_miou and mAP, beside the paper's published figures
  pictures-*.jsonl         each picture's counts: a killed run goes on where it was when it is started again
  *.png                    two charts for each question of --ablate or --study, and every block's maps of one picture
  stages.md                with --stages: what may be changed in the reading of maps, and a verdict for each

Examples, one for each data set:

  the demo model on its own kind of pictures; nothing to download:
    python -m conceptattention_core.evaluate scenes --images 20

  ImageNet-Segmentation (4,276 pictures), the paper's main table:
    python -m conceptattention_core.evaluate imagenet-segmentation --data gtsegs_ijcv.mat --names data.noun \\
        --model black-forest-labs/FLUX.1-schnell

  PASCAL VOC 2012, pictures with one class, or all of them:
    python -m conceptattention_core.evaluate voc --data VOCdevkit/VOC2012 --protocol single --model FOLDER_OR_HUB_NAME

  your own pictures: images/*.jpg, labels/*.png (pixel = label number) and names.txt ("1 cat"):
    python -m conceptattention_core.evaluate folder --data my_pictures --model FOLDER_OR_HUB_NAME

`python -m conceptattention_core evaluate` is the same command.

Several GPUs or machines share the pictures (machines need a folder for --out that all of them see):
    accelerate launch --num_processes 4 -m conceptattention_core.evaluate voc --data ...
On CPUs add --multi_gpu before -m and --device cpu at the end: accelerate's own --cpu starts one process only.

Each command has its own help: python -m conceptattention_core.evaluate voc --help
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..letters import printable
from .datasets import Dataset
from .datasets.folder import open_folder
from .datasets.imagenet_segmentation import open_imagenet_segmentation
from .datasets.scenes import open_confusable, open_scenes
from .datasets.scenes.scenes import GROUNDS, SKIES
from .datasets.voc import open_voc
from .options import SCENES, add_data_options, add_options, chosen_method, chosen_protocol, chosen_size
from .protocol import PAPER, Protocol


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, or 2 with one line that says what is wrong."""
    options = build_parser().parse_args(arguments)
    try:
        from .run import run

        return run(options, chosen_protocol(options), chosen_method(options), chosen_size(options))
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
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
    every = "scenes | confusable | imagenet-segmentation | voc | folder"
    commands = parser.add_subparsers(required=True, metavar=every)

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
        "the demo model's cartoon scenes, from seeds that it never saw",
        "--images 20",
        lambda options: open_scenes(SCENES if options.images is None else options.images, chosen_size(options)),
    )
    add(
        "confusable",
        Protocol(background=(*SKIES, *GROUNDS), prompt="caption"),
        "cartoon scenes with two things that are easily taken for one another: see the column leakage",
        "--images 20",
        lambda options: open_confusable(SCENES if options.images is None else options.images, chosen_size(options)),
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
