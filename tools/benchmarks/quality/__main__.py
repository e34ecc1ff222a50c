"""How well the concept maps agree with the truth, by the rule that reads them. Prints Markdown for docs/measured.md.

    python -m tools.benchmarks.quality --comfyui ~/ComfyUI [--words A O] [--checkpoints today untaught] [--tuning]

Every held-out scene (with `--tuning`: others, to choose rules by) is encoded, noised to `--noise` and denoised from
there in `--steps` Euler steps with its caption, as an ordinary ComfyUI run on the demo model, or on one of its
forerunners (`tools/benchmarks/checkpoints.py`). What is recorded is kept below `--cache`, so that a new rule is
compared without sampling again. For each list of words (`words.py`) and each rule (`rules.py`) the argmax of the shares
is compared with the label map, pixel by pixel, things without a name left out.

Accuracy is pixels right / pixels labelled over all scenes; mIoU is intersection / union for each noun over all scenes,
then the mean over nouns; border is the same of nouns' borders (boundary IoU). AP is that of each noun's map, leak the
part of its share that lies on other nouns. Stolen is what part of the labelled pixels words win that are not there;
presence is the AUROC of how much of its best places a concept wins. "Refined" is after `refine_maps`, with the scene as
the picture. "Against paper" is the difference of mIoU, and 95 % of it over scenes drawn again with replacement. The
ceiling is what the true label map scores when it has been averaged over the token grid and enlarged in the same way.
What was found is kept, too, as long as no code that reads or judges changes, so that checkpoints can be measured one at
a time. "Trust from 16 runs" weighs blocks as 16 runs of other scenes do. `--cost` prints what each rule takes at
1024 x 1024 instead.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
import sys
import tempfile
from pathlib import Path

import torch

from conceptattention_core.concepts import TOKEN_POOLINGS
from conceptattention_core.evaluate.datasets.scenes.scenes import HELD_OUT, scene
from conceptattention_core.scores import PROJECTIONS
from tools.benchmarks.checkpoints import CHECKPOINTS, checkpoint_folder

from .compare import Comparison, Rows, learnt_trust
from .record import ROOT, Recordings, Setting, start_comfyui
from .rules import RULES, cost
from .table import sections
from .words import LISTS

FIRST_SCENE = 1000
"""Offset into the held-out seeds; other checks use the ones before it."""
TUNING = 500_400_000
LEARNING = 500_400_060
"""Runs of other scenes than those that are judged, tuning ones as well."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH"), help="or set COMFYUI_PATH")
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--first", type=int, default=FIRST_SCENE, help="offset of the first held-out scene")
    parser.add_argument("--tuning", action="store_true", help="scenes to choose rules by, not held-out ones")
    parser.add_argument("--checkpoints", nargs="+", default=list(CHECKPOINTS), help="names, or commits")
    parser.add_argument("--rules", nargs="+", default=list(RULES), choices=list(RULES), metavar="RULE")
    words = parser.add_mutually_exclusive_group()
    words.add_argument("--words", nargs="+", choices=list(LISTS), default=list(LISTS), help="lists of words")
    words.add_argument("--objects", action="store_const", dest="words", const=["O"], help="as --words O")
    words.add_argument("--look-alikes", action="store_const", dest="words", const=["D"], help="as --words D")
    parser.add_argument("--noise", type=float, default=0.5, help="noise level to start from, 0..1")
    parser.add_argument("--steps", type=int, default=5, help="Euler steps from there to the picture")
    parser.add_argument("--first-block", type=int, default=0)
    parser.add_argument("--last-block", type=int, default=-1)
    parser.add_argument("--projection", choices=PROJECTIONS, default="output")
    parser.add_argument("--pooling", choices=TOKEN_POOLINGS, default="mean")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir(), "concept_attention_quality"))
    parser.add_argument("--cost", action="store_true", help="time and memory of the rules, and nothing else")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.cost:
        print("| rule | ms | MiB |\n|---|---|---|")
        for name in options.rules:
            print(f"| {name} | {{:.0f}} | {{:.1f}} |".format(*cost(RULES[name])))
        return
    if options.comfyui is None:
        parser.error("say where ComfyUI is: --comfyui PATH, or set COMFYUI_PATH")
    start_comfyui(options.comfyui)
    lists, models = "".join(options.words), {}
    for name in options.checkpoints:
        models[name] = rows_of(name, lists, options)
    which = f"{options.scenes} {'tuning' if options.tuning else 'held-out'} scenes"
    which += f", noised to {options.noise}, {options.steps} Euler steps, `{options.projection}`, {options.pooling}"
    print(f"{which}:\n")
    print("\n\n".join(sections(models, lists)))


def rows_of(checkpoint: str, lists: str, options: argparse.Namespace) -> Rows:
    first = TUNING if options.tuning else HELD_OUT + options.first
    setting = Setting(options.noise, options.steps, options.projection, options.pooling)
    recordings = Recordings(checkpoint_folder(checkpoint, options.cache), options.cache, setting)
    kept = options.cache / "rows" / f"{digest(checkpoint, setting, lists, options)}.pickle"
    if kept.is_file():
        return pickle.loads(kept.read_bytes())
    rules, blocks = {name: RULES[name] for name in options.rules}, (options.first_block, options.last_block)
    comparison, rows = Comparison(rules, lists, blocks, learnt_trust(recordings, LEARNING, lists)), {}
    for index in range(options.scenes):
        comparison.add(rows, recordings, scene(first + index))
        print(f"{checkpoint}: scene {index + 1} of {options.scenes}", file=sys.stderr, end="\r")
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(pickle.dumps(rows))
    return rows


def digest(checkpoint: str, setting: Setting, lists: str, options: argparse.Namespace) -> str:
    """Of all that a model's rows depend on, the code that reads and judges included."""
    scenes = (options.tuning, options.first, options.scenes, options.first_block, options.last_block)
    text = repr((checkpoint, setting, lists, options.rules, scenes))
    core = ROOT / "conceptattention_core"
    judges = (Path(__file__).with_name(f"{name}.py") for name in ("words", "record", "rules", "measures", "compare"))
    files = sorted([*judges, *core.glob("*.py"), *(core / "masks").glob("*.py")])
    return hashlib.sha256(text.encode() + b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


if __name__ == "__main__":
    main()
