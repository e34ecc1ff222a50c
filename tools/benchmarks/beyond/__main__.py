"""Asks one question of every checkpoint. Prints a Markdown table for each.

    python -m tools.benchmarks.beyond opinion --comfyui PATH --cache FOLDER [--checkpoints today T1] [--held-out]

Scenes are encoded, noised to 0.5 and denoised from there in five Euler steps with their caption; of `levels`, they are
pictures that exist, with no prompt. Tuning scenes, unless `--held-out`. Mean IoU in percent, argmax over concepts, on
the token grid and behind edges, of all nouns of a scene ("all"), and of its objects beside `background` ("objects");
the difference is to the row without one, with a paired bootstrap's 95 % interval over scenes. Presence: AUROC, with
four absent nouns named, too.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from tools.benchmarks.beyond import asked, heads, levels, likeness, opinion, single
from tools.benchmarks.beyond.base import Question
from tools.benchmarks.beyond.cases import HELD_OUT_FIRST, TUNING_FIRST, scenes
from tools.benchmarks.beyond.judge import compared, judged, presences
from tools.benchmarks.beyond.recordings import cases
from tools.benchmarks.checkpoints import CHECKPOINTS
from tools.benchmarks.quality import start_comfyui

QUESTIONS = {
    "opinion": opinion.QUESTION,
    "likeness": likeness.QUESTION,
    "levels": levels.QUESTION,
    "single": single.QUESTION,
    "asked": asked.QUESTION,
    "heads": heads.QUESTION,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=QUESTIONS)
    parser.add_argument("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH"), help="or set COMFYUI_PATH")
    parser.add_argument("--cache", type=Path, required=True, help="folder for checkpoints and recordings")
    parser.add_argument("--checkpoints", nargs="+", choices=CHECKPOINTS, default=list(CHECKPOINTS))
    parser.add_argument("--candidates", nargs="+", default=[], help="only those whose name has one of these in it")
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--held-out", action="store_true", help="scenes to judge a chosen rule by, once")
    options = parser.parse_args()
    if options.comfyui is None:
        parser.error("say where ComfyUI is: --comfyui PATH, or set COMFYUI_PATH")
    torch.set_num_threads(1)
    start_comfyui(options.comfyui)
    for checkpoint in options.checkpoints:
        print_answer(QUESTIONS[options.question], checkpoint, options)


def print_answer(question: Question, checkpoint: str, options: argparse.Namespace) -> None:
    """One checkpoint's table."""
    chosen = {
        name: one
        for name, one in question.candidates.items()
        if not options.candidates or name == question.base or any(part in name for part in options.candidates)
    }
    seen = scenes(HELD_OUT_FIRST if options.held_out else TUNING_FIRST, options.scenes)
    every = {
        words: cases(question.record, checkpoint, words, seen, options.cache) for words in ("all", "objects", "absent")
    }
    found = [judged(every[words], chosen) for words in ("all", "objects")]
    there = presences(every["absent"], chosen)
    kind = "held-out" if options.held_out else "tuning"
    print(f"\n{checkpoint}, {len(seen)} {kind} scenes:\n")
    print("| | all | all, edges | objects | objects, edges | presence |\n|---|---|---|---|---|---|")
    for name in chosen:
        pairs = [(one[name][at], one[question.base][at]) for one in found for at in (0, 1)]
        cells = [name, *(compared(*pair) for pair in pairs), f"{there[name]:.3f}" if name in there else ""]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
