"""How well the maps tell whether a concept is in the picture at all. Prints Markdown for the README.

    python -m tools.benchmarks.presence --comfyui ~/ComfyUI

Every scene is encoded, noised to `--noise` and denoised from there in `--steps` Euler steps with its caption, as an
ordinary ComfyUI run on the demo model. The pack records the scene's own nouns, `--absent` nouns that are not in it, in
a random order, and the background concept "background". AUROC is the probability that a present concept gets more than
an absent one, over all concepts of all scenes. "alone" gives each concept's scores and the background's only, as if
nothing else had been named. `evidence` is what `conceptattention_core/presence.py` uses; the other rows are what it was
chosen from. Its calibration is fitted on the tuning scenes and judged on the held-out ones.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from conceptattention_core.evaluate.datasets.scenes.scenes import Scene
from conceptattention_core.maps import ConceptAttentionMaps
from conceptattention_core.masks.presence import PLACES, TEMPERATURE, calibrated, evidence
from tools.benchmarks.quality import start_comfyui

TUNING = 500_000_000
HELD_OUT_OFFSET = 3000
BACKGROUND = "background"


@dataclass(frozen=True)
class Case:
    """One scene's raw scores `(steps, blocks, C, h, w)`, background last, and which of the other concepts are there."""

    scores: Tensor
    names: tuple[str, ...]
    present: tuple[bool, ...]


Candidate = Callable[[Tensor], Tensor]
"""Raw scores `(steps, blocks, C, h, w)` to a number for each concept `(C,)`, the higher the surer."""


def strongest(values: Tensor, places: float) -> Tensor:
    """Mean over the strongest part of the places, `(C, h, w)` to `(C,)`."""
    flat = values.flatten(1)
    return flat.topk(max(1, round(places * flat.shape[1])), dim=1).values.mean(dim=1)


def saliency(scores: Tensor) -> Tensor:
    """The paper's map: `(C, h, w)`."""
    return scores.softmax(dim=2).mean(dim=(0, 1))


def agreement(scores: Tensor) -> Tensor:
    """Mean correlation between the maps of any two (step, block)."""
    relative = (scores - scores.mean(dim=2, keepdim=True)).flatten(0, 1).flatten(2)
    relative = relative - relative.mean(dim=2, keepdim=True)
    unit = relative / relative.norm(dim=2, keepdim=True).clamp_min(1e-12)
    count = len(unit)
    return (unit.sum(dim=0).square().sum(dim=1) - count) / (count * (count - 1)) if count > 1 else unit.sum((0, 2))


def concentration(scores: Tensor) -> Tensor:
    """How far the strongest places stand out from the concept's own map, in standard deviations."""
    share = saliency(scores)
    return strongest(share - share.mean(dim=(1, 2), keepdim=True), 0.05) / share.flatten(1).std(dim=1)


def evidence_at(temperature: float, places: float) -> Candidate:
    return lambda scores: evidence(scores.mean(dim=(0, 1))[None], temperature, places)[0]


CHOSEN = f"evidence, temperature {TEMPERATURE}, places {PLACES}"
CANDIDATES: dict[str, Candidate] = {
    "peak of the saliency": lambda scores: saliency(scores).amax(dim=(1, 2)),
    "mean of the strongest 5 % of the saliency": lambda scores: strongest(saliency(scores), 0.05),
    "mean of the saliency": lambda scores: saliency(scores).mean(dim=(1, 2)),
    "part of the picture that it wins": lambda scores: torch.bincount(
        saliency(scores).argmax(dim=0).flatten(), minlength=scores.shape[2]
    ).float(),
    "margin over the background, 5 %": lambda scores: strongest((scores - scores[:, :, -1:]).mean(dim=(0, 1)), 0.05),
    "agreement of steps and blocks": agreement,
    "concentration of the saliency": concentration,
} | {
    f"evidence, temperature {temperature}, places {places}": evidence_at(temperature, places)
    for temperature in sorted({0.15, 0.3, 0.5, 1.0, TEMPERATURE})
    for places in sorted({0.02, 0.05, 0.1, PLACES})
}


def record(parts: tuple[Any, Any, Any], seed: int, options: argparse.Namespace) -> Case:
    """Sample one scene with its own nouns and absent ones as concepts."""
    maps, one = sampled(parts, seed, options)
    names = maps.concepts[:-1]
    chosen = maps.chosen(options.first_block, options.last_block)
    return Case(maps.scores[:, chosen, 0], names, tuple(name in one.names for name in names))


def sampled(
    parts: tuple[Any, Any, Any], seed: int, options: argparse.Namespace
) -> tuple[ConceptAttentionMaps, Scene]:
    """The maps of one scene, and the scene."""
    import comfy.sample
    import comfy.samplers

    from conceptattention_core.adapters.comfy.sampling import apply_concept_attention
    from conceptattention_core.adapters.comfy.text import encode_concepts
    from conceptattention_core.evaluate.datasets.scenes.scenes import NOUNS, scene

    model, clip, vae = parts
    one = scene(seed)
    rng = np.random.default_rng(seed)
    absent = rng.choice([noun for noun in NOUNS if noun not in one.names], options.absent, replace=False)
    names = tuple(rng.permutation([*one.names, *absent]).tolist())
    concepts = encode_concepts(clip, (*names, BACKGROUND), 1, "mean", model)
    patched, store = apply_concept_attention(model, concepts, "output", 0.0, 1.0)
    prompt = clip.encode_from_tokens_scheduled(clip.tokenize(one.caption))
    latent = vae.encode(torch.from_numpy(one.image.copy()).float()[None] / 255.0)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(seed % 2**31))
    sigmas = torch.linspace(options.noise, 0.0, options.steps + 1)
    sampler = comfy.samplers.sampler_object("euler")
    made = comfy.sample.sample_custom(
        patched, noise, 1.0, sampler, sigmas, prompt, prompt, latent, disable_pbar=True, seed=0
    )
    return store.find(made), one


def values(cases: list[Case], candidate: Candidate, alone: bool = False) -> np.ndarray:
    """The candidate's number for every concept of every scene, background left out: `(n,)`."""
    found: list[float] = []
    for case in cases:
        if alone:
            pairs = (case.scores[:, :, [index, -1]] for index in range(len(case.names)))
            found += [float(candidate(pair)[0]) for pair in pairs]
        else:
            found += candidate(case.scores)[:-1].tolist()
    return np.array(found)


def auroc(values: np.ndarray, present: np.ndarray) -> float:
    """Probability that a present concept's value is above an absent one's, ties counted half."""
    there, absent = values[present][:, None], values[~present][None]
    return float((there > absent).mean() + 0.5 * (there == absent).mean())


def fit_calibration(found: np.ndarray, present: np.ndarray) -> tuple[float, float]:
    """Slope and offset of a logistic regression on the log-odds of the evidence, both classes weighing the same."""
    odds = np.log(np.clip(found, 1e-3, 1 - 1e-3) / np.clip(1 - found, 1e-3, 1 - 1e-3))
    inputs, weights = np.stack([odds, np.ones_like(odds)], axis=1), np.zeros(2)
    balance = np.where(present, 0.5 / present.mean(), 0.5 / (~present).mean())
    for _ in range(50):  # Newton's method
        answer = 1 / (1 + np.exp(-inputs @ weights))
        gradient = inputs.T @ (balance * (answer - present))
        weights -= np.linalg.solve((inputs * (balance * answer * (1 - answer))[:, None]).T @ inputs, gradient)
    return float(weights[0]), float(weights[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH"), help="or set COMFYUI_PATH")
    parser.add_argument("--tuning", type=int, default=150, help="scenes to fit the calibration on")
    parser.add_argument("--scenes", type=int, default=150, help="held-out scenes")
    parser.add_argument("--absent", type=int, default=4, help="nouns to ask for in vain in each scene")
    parser.add_argument("--noise", type=float, default=0.5, help="noise level to start from, 0..1")
    parser.add_argument("--steps", type=int, default=5, help="Euler steps from there to the picture")
    parser.add_argument("--first-block", type=int, default=-10)
    parser.add_argument("--last-block", type=int, default=-1)
    options = parser.parse_args()
    if options.comfyui is None:
        parser.error("say where ComfyUI is: --comfyui PATH, or set COMFYUI_PATH")
    start_comfyui(options.comfyui)
    from conceptattention_core.adapters.comfy.demo import load_demo_flux
    from conceptattention_core.evaluate.datasets.scenes.scenes import HELD_OUT

    parts = load_demo_flux()
    sets: dict[str, list[Case]] = {}
    for title, first, count in (
        ("tuning", TUNING, options.tuning),
        ("held-out", HELD_OUT + HELD_OUT_OFFSET, options.scenes),
    ):
        sets[title] = []
        for index in range(count):
            with torch.inference_mode():
                sets[title].append(record(parts, first + index, options))
            print(f"{title} scene {index + 1} of {count}", file=sys.stderr, end="\r")
    print_report(sets["tuning"], sets["held-out"], options)


def print_report(tuning: list[Case], held_out: list[Case], options: argparse.Namespace) -> None:
    from conceptattention_core.evaluate.datasets.scenes.scenes import GROUNDS, SKIES

    there, there_held = (np.array([flag for case in cases for flag in case.present]) for cases in (tuning, held_out))
    print(
        f"{len(held_out)} held-out scenes (and {len(tuning)} for tuning), {there_held.sum()} present and "
        f"{(~there_held).sum()} absent concepts, noised to {options.noise}, {options.steps} Euler steps, blocks "
        f"{options.first_block} to {options.last_block}:\n"
    )
    print("| AUROC | tuning | held-out | held-out, alone |\n|---|---|---|---|")
    for name, candidate in CANDIDATES.items():
        tuned, held = auroc(values(tuning, candidate), there), auroc(values(held_out, candidate), there_held)
        alone = auroc(values(held_out, candidate, alone=True), there_held)
        print(f"| {'**' + name + '**' if name == CHOSEN else name} | {tuned:.3f} | {held:.3f} | {alone:.3f} |")

    found = values(held_out, CANDIDATES[CHOSEN])
    around = np.array([name in (*SKIES, *GROUNDS) for case in held_out for name in case.names])
    for title, group in (("skies and grounds", around), ("objects", ~around)):
        print(f"\nThe chosen one, held-out, {title}: {auroc(found[group], there_held[group]):.3f}", end="")
    slope, offset = fit_calibration(values(tuning, CANDIDATES[CHOSEN]), there)
    print(f"\n\nCalibration fitted on the tuning scenes: SLOPE, OFFSET = {slope:.2f}, {offset:.2f}; held-out:\n")
    print("| calibration | AUROC | mean of present | mean of absent | present above 0.5 | absent below 0.5 |")
    print("|---|---|---|---|---|---|")
    evidences = torch.from_numpy(found)
    for title, sure in (("shipped", calibrated(evidences)), ("fitted", calibrated(evidences, slope, offset))):
        yes, no = sure.numpy()[there_held], sure.numpy()[~there_held]
        area = auroc(sure.numpy(), there_held)
        print(
            f"| {title} | {area:.3f} | {yes.mean():.2f} | {no.mean():.2f} | {(yes > 0.5).mean():.0%} | "
            f"{(no < 0.5).mean():.0%} |"
        )


if __name__ == "__main__":
    main()
