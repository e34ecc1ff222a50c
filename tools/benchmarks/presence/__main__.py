"""How well the maps tell whether a concept is in the picture at all, on several models. Prints Markdown.

    python -m tools.benchmarks.presence --comfyui ~/ComfyUI [--held-out]

Every scene is encoded, noised to `--noise` and denoised from there in `--steps` Euler steps with its caption, as an
ordinary ComfyUI run on each of `--checkpoints` (`tools/benchmarks/checkpoints.py`). The pack records, each by itself
and with "background": the scene's own nouns and `--absent` that are not in it; its nouns and up to four look-alikes of
them; two nouns that are there and one that is not; one that is there beside one that is not; a noun alone. AUROC is the
probability that a present concept gets more than an absent one, over all concepts of all scenes. Rules are chosen on
tuning scenes. With `--held-out`, the calibration is fitted on the tuning scenes of all checkpoints but one, and judged
on the held-out scenes of that one; and the one that is shipped, fitted on all, is printed. What was recorded stays
below `--cache`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from tools.benchmarks.checkpoints import CHECKPOINTS
from tools.benchmarks.quality import start_comfyui

from .judge import Answers, answers, fit_calibration
from .record import Case, recorded
from .rules import BEFORE, FEW, MANY, RULES, Rule

LISTS = {
    "absent": "with absent words",
    "look-alikes": "with look-alikes",
    "three": "two there, one not",
    "few": "one there, one not",
    "alone": "alone",
}
KINDS = ((MANY, ("absent", "look-alikes")), (FEW, ("three",)), (FEW, ("few", "alone")))
"""The rule that is used for the lists of many concepts, of four (`background` counts) and of fewer: each with its own
calibration."""

Cases = dict[str, list[Case]]


def collected(which: str, count: int, options: argparse.Namespace) -> dict[str, Cases]:
    """Of every checkpoint, the cases of each list."""
    found: dict[str, Cases] = {}
    for checkpoint in options.checkpoints:
        found[checkpoint] = {name: [] for name in LISTS}
        for scene in recorded(checkpoint, which, count, options):
            for name, cases in scene.items():
                found[checkpoint][name] += cases
    return found


def pooled(cases: Cases, lists: Sequence[str], rule: Rule) -> Answers:
    return answers([case for name in lists for case in cases[name]], rule)


def print_rules(cases: dict[str, Cases], rules: Sequence[str]) -> None:
    for name, title in LISTS.items():
        print(f"\n| AUROC, {title} | {' | '.join(cases)} | mean |\n|{'---|' * (len(cases) + 2)}")
        for rule in rules:
            values = [answers(one[name], RULES[rule]).auroc for one in cases.values()]
            print(f"| {rule} | {' | '.join(f'{value:.3f}' for value in (*values, sum(values) / len(values)))} |")


def print_left_out(tuning: dict[str, Cases], held_out: dict[str, Cases]) -> None:
    print("\n| concepts | left out | AUROC | calibration error | present above 0.5 | absent below 0.5 |")
    print("|---|---|---|---|---|---|")
    for rule, lists in KINDS:
        fitted = {name: pooled(cases, lists, RULES[rule]) for name, cases in tuning.items()}
        for name in lists:
            for checkpoint, cases in held_out.items():
                others = [one for other, one in fitted.items() if other != checkpoint]
                made = answers(cases[name], RULES[rule]).calibrated(*fit_calibration(others))
                print(
                    f"| {LISTS[name]} | {checkpoint} | {made.auroc:.3f} | {made.calibration_error:.3f} | "
                    f"{made.sensitivity:.0%} | {made.specificity:.0%} |"
                )


def print_shipped(tuning: dict[str, Cases]) -> None:
    for rule, lists in KINDS:
        slope, offset = fit_calibration([pooled(cases, lists, RULES[rule]) for cases in tuning.values()])
        print(f"\nFitted on the tuning scenes of all, {rule}, {lists}: slope {slope:.2f}, offset {offset:.2f}")


def parsed(about: str) -> argparse.Namespace:
    """The command line's options, with ComfyUI ready to be imported."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH"), help="or set COMFYUI_PATH")
    parser.add_argument("--checkpoints", nargs="+", default=list(CHECKPOINTS), help="names there, or commits")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "concept_attention_checkpoints")
    parser.add_argument("--tuning", type=int, default=80, help="scenes to choose rules and fit calibrations on")
    parser.add_argument("--scenes", type=int, default=80, help="held-out scenes")
    parser.add_argument("--held-out", action="store_true", help="judge on the held-out scenes, too")
    parser.add_argument("--absent", type=int, default=4, help="nouns to ask for in vain in each scene")
    parser.add_argument("--noise", type=float, default=0.5, help="noise level to start from, 0..1")
    parser.add_argument("--steps", type=int, default=5, help="Euler steps from there to the picture")
    options = parser.parse_args()
    if options.comfyui is None:
        parser.error("say where ComfyUI is: --comfyui PATH, or set COMFYUI_PATH")
    start_comfyui(options.comfyui)
    return options


def main() -> None:
    options = parsed(__doc__)
    with torch.inference_mode():
        tuning = collected("tuning", options.tuning, options)
        print(f"{options.tuning} tuning scenes, noised to {options.noise}, {options.steps} Euler steps:")
        print_rules(tuning, list(RULES))
        print_shipped(tuning)
        if options.held_out:
            held_out = collected("held-out", options.scenes, options)
            print(f"\n{options.scenes} held-out scenes:")
            print_rules(held_out, [BEFORE, MANY, FEW])
            print_left_out(tuning, held_out)


if __name__ == "__main__":
    main()
