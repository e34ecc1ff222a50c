"""The command line: maps of a picture that is made now, or of one that exists already.

    python -m conceptattention_core generate "a house on the sand" --concepts "house, sand, sky"
    python -m conceptattention_core encode photo.jpg --concepts "cat, sofa" --model black-forest-labs/FLUX.1-schnell
    python -m conceptattention_core evaluate scenes --images 20

Without --model it is the small demo model that comes with the package, so that both run at once on any machine. Writes
heat maps, masks, an overlay, the weights of reading auto and the raw maps (`maps.safetensors`, for `storage.load_maps`)
to --out. `evaluate` measures how well maps segment pictures whose truth is known: see `evaluate --help`.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from PIL import Image

from .concepts import TokenPooling, parse_concepts
from .images import read_picture
from .letters import clean_letters, printable
from .masks.methods import MaskMethod
from .scores import PROJECTIONS
from .views import ConceptMaps

DEMO, DEMO_STEPS, DEMO_SIZE, DEMO_CFG = "demo", 20, 256, 7.0
"""The demo model and its settings; it is not distilled, so its pictures stay vague without real guidance."""
FULL_SIZE = 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, or 2 with one line that says what is wrong."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == ["evaluate"]:  # it has an own command for each data set
        from .evaluate.cli import main as evaluate

        return evaluate(given[1:])
    options = build_parser().parse_args(given)
    try:
        check(options)
        written = options.run(options)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        return 2
    print(printable(f"Wrote {len(written)} files to {options.out}: {', '.join(path.name for path in written)}"))
    return 0


RANGES: dict[str, tuple[float, float]] = {
    "threshold": (0, 1),
    "size": (16, 16384),
    "guidance": (0, 100),
    "steps": (1, 10_000),
    "cfg": (0, 100),
    "seed": (0, 2**63 - 1),
    "noise_level": (0, 1),
    "seeds": (1, 1000),
}
"""What the numbers of the command line may be."""


def check(options: argparse.Namespace) -> None:
    """Raise ValueError for names and numbers that will not do, before any work."""
    parse_concepts(options.concepts, options.background)
    for name, (low, high) in RANGES.items():
        given = getattr(options, name, None)
        for number in given if isinstance(given, list) else [] if given is None else [given]:
            if not low <= number <= high:
                raise ValueError(f"--{name.replace('_', '-')} ({number}) must lie between {low} and {high}.")
    if len(options.size or ()) > 2:
        raise ValueError(f"--size takes one side, or height and width: {len(options.size)} numbers are given.")
    clean_letters(options.prompt, "The prompt")
    there = next(path for path in (options.out, *options.out.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ValueError(f"--out: nothing can be written to {there}. Give another folder.")


def build_parser() -> argparse.ArgumentParser:
    """The commands and what they share; `evaluate` reads its own options."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--concepts", required=True, help='what to look for: "cat, sofa"')
    shared.add_argument("--background", default="background", help="concepts that only compete (default: background)")
    shared.add_argument("--out", type=Path, default=Path("output/concepts"), help="folder (default: output/concepts)")
    shared.add_argument("--model", default=DEMO, help="folder or hub name of a supported model (default: the demo)")
    shared.add_argument("--device", help="cuda, mps or cpu (default: the best that there is; the demo runs on cpu)")
    shared.add_argument("--offload", action="store_true", help="keep only the part that works on the GPU")
    shared.add_argument("--mask", choices=get_args(MaskMethod), default="mean", help="mask method (default: mean)")
    shared.add_argument("--threshold", type=float, default=0.5, help="for the masks threshold and soft (default: 0.5)")
    shared.add_argument("--pooling", choices=get_args(TokenPooling), default="mean", help="of a word's text pieces")
    shared.add_argument("--projection", choices=PROJECTIONS, default="output", help="where scores are taken")
    shared.add_argument("--size", type=int, nargs="+", metavar="SIDE", help="height and width in pixels, or one side")
    shared.add_argument("--guidance", type=float, default=3.5, help="guidance_scale (default: 3.5)")

    parser = argparse.ArgumentParser(
        prog="python -m conceptattention_core",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="{generate,encode,evaluate}")
    generate = commands.add_parser("generate", parents=[shared], help="make a picture, and its maps")
    generate.add_argument("prompt")
    generate.add_argument("--steps", type=int, help="default: 20 (demo), the family's own (others; FLUX.1: 28)")
    generate.add_argument(
        "--cfg",
        type=float,
        help="real guidance, against an empty prompt; 1 is none (default: 7 (demo), the family's own)",
    )
    generate.add_argument("--seed", type=int, default=0)
    generate.set_defaults(run=run_generate)
    encode = commands.add_parser("encode", parents=[shared], help="maps of an existing picture")
    encode.add_argument("picture", type=Path)
    encode.add_argument("--prompt", default="", help="what to tell the model about the picture (default: nothing)")
    encode.add_argument("--noise-level", type=float, default=0.5, help="0 = clean, 1 = noise only (default: 0.5)")
    encode.add_argument("--seeds", type=int, default=4, help="noises to average (default: 4)")
    encode.set_defaults(run=run_encode)
    commands.add_parser("evaluate", help="measure maps on pictures whose truth is known", add_help=False)
    return parser


def run_generate(options: argparse.Namespace) -> list[Path]:
    """Make a picture and write it with its maps."""
    import torch

    from .adapters.diffusers import ConceptAttention
    from .adapters.diffusers.families import require_family
    from .adapters.diffusers.load import load_pipeline

    pipe = load_pipeline(options.model, options.device, offload=options.offload)
    family = require_family(pipe)
    height, width = picture_size(options) or (FULL_SIZE, FULL_SIZE)
    attention = ConceptAttention(
        pipe, options.concepts, options.background, pooling=options.pooling, projection=options.projection
    )
    warn_of_unknown_words(options, pipe)
    demo = options.model == DEMO
    steps, default_cfg = (DEMO_STEPS, DEMO_CFG) if demo else (family.steps_of(pipe), family.cfg_of(pipe))
    cfg = default_cfg if options.cfg is None else options.cfg
    with attention:
        image = pipe(
            prompt=options.prompt,
            height=height,
            width=width,
            num_inference_steps=options.steps or steps,
            **family.call(pipe, options.guidance, cfg),
            generator=torch.Generator().manual_seed(options.seed),
        ).images[0]
    options.out.mkdir(parents=True, exist_ok=True)
    picture = options.out / "picture.png"
    image.save(picture)
    return [picture, *write_maps(options, attention.maps(), image)]


def run_encode(options: argparse.Namespace) -> list[Path]:
    """Write the maps of an existing picture."""
    from .adapters.diffusers import ConceptAttention
    from .adapters.diffusers.load import load_pipeline

    image = read_picture(options.picture)
    pipe = load_pipeline(options.model, options.device, offload=options.offload)
    warn_of_unknown_words(options, pipe)
    maps = ConceptAttention.encode(
        pipe,
        image,
        options.concepts,
        options.background,
        prompt=options.prompt,
        noise_level=options.noise_level,
        seeds=range(options.seeds),
        size=picture_size(options) or fitted((image.height, image.width), FULL_SIZE),
        guidance_scale=options.guidance,
        pooling=options.pooling,
        projection=options.projection,
    )
    return write_maps(options, maps, image)


def picture_size(options: argparse.Namespace) -> tuple[int, int] | None:
    """``(H, W)`` as asked for, or the demo model's own; None where the model or the picture decides."""
    if options.size:
        return options.size[0], options.size[-1]
    return (DEMO_SIZE, DEMO_SIZE) if options.model == DEMO else None


def fitted(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """A picture's size, scaled down so that no side is longer than `longest`."""
    scale = min(1.0, longest / max(size))
    return round(size[0] * scale), round(size[1] * scale)


def warn_of_unknown_words(options: argparse.Namespace, pipe: Any) -> None:
    """The demo model knows some thirty words; say so rather than let it look broken."""
    if options.model == DEMO:
        from .adapters.diffusers.demo import unknown_words

        names, _ = parse_concepts(options.concepts, options.background)
        if unknown := list(dict.fromkeys(unknown_words(pipe, " ".join([options.prompt, *names])))):
            print(printable(f"The demo model does not know: {', '.join(unknown)}."), file=sys.stderr)


def write_maps(options: argparse.Namespace, maps: ConceptMaps, image: Image.Image) -> list[Path]:
    """Heat maps and masks of the concepts, the overlay, and the raw maps; returns the files."""
    options.out.mkdir(parents=True, exist_ok=True)
    size = (image.height, image.width)
    pictures = {"overlay": maps.overlay(image), "weights": maps.weights()}
    for concept in maps.concepts[: len(maps.concepts) - maps.raw.background_count]:
        name = re.sub(r"[^\w-]+", "-", concept).strip("-")[:50] or "concept"
        name = name if f"mask-{name}" not in pictures else f"{name}-{len(pictures)}"
        pictures[f"heatmap-{name}"] = maps.heatmap(concept, size)
        pictures[f"mask-{name}"] = maps.mask(
            concept, options.mask, image=image, threshold=options.threshold, output="pil"
        )
    written = [options.out / f"{name}.png" for name in pictures]
    for path, picture in zip(written, pictures.values(), strict=True):
        picture.save(path)
    maps.save(options.out / "maps.safetensors")
    return [*written, options.out / "maps.safetensors"]
