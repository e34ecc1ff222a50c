"""Recordings: a scene, sampled once, with every list of concepts that presence is asked about. Kept between runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from conceptattention_core.evaluate.datasets.scenes.scenes import HELD_OUT, NOUNS, Scene, scene
from conceptattention_core.maps import ConceptAttentionMaps
from tools.benchmarks.checkpoints import checkpoint_folder
from tools.benchmarks.quality.words import look_alikes

TUNING = 500_000_000
FIRST = {"tuning": TUNING, "held-out": HELD_OUT + 3000}
"""The first scene of each kind."""

BACKGROUND = "background"

LISTS = ("absent", "look-alikes", "three", "few", "alone")
"""A scene's own nouns with as many that are not there as `--absent` says; with look-alikes; two that are there and one
that is not; one that is there and one that is not; a noun with nothing else. All with `background`, and recorded each
by itself: concepts see each other.
"""


@dataclass(frozen=True)
class Case:
    """What one list of concepts became on one scene. present: which of the concepts are there, background left out."""

    maps: ConceptAttentionMaps
    present: tuple[bool, ...]


def lists_of(one: Scene, absent: int) -> dict[str, list[tuple[str, ...]]]:
    """The lists of concepts of each kind, background left out, in an order that says nothing."""
    rng = np.random.default_rng(one.seed)
    others = rng.choice([noun for noun in NOUNS if noun not in one.names], absent, replace=False).tolist()

    def mixed(*names: str) -> tuple[str, ...]:
        return tuple(rng.permutation(names).tolist())

    return {
        "absent": [mixed(*one.names, *others)],
        "look-alikes": [mixed(*one.names, *look_alikes(one.names, one.seed))],
        "three": [mixed(*mixed(*one.names)[:2], others[0])],
        "few": [mixed(there, other) for there, other in zip(one.names, others, strict=False)],
        "alone": [(name,) for name in (*one.names, *others)],
    }


def record(parts: tuple[Any, Any, Any], one: Scene, options: argparse.Namespace) -> dict[str, list[Case]]:
    """Sample one scene, with all its lists of concepts in the same run."""
    lists = lists_of(one, options.absent)
    flat = [names for kind in lists.values() for names in kind]
    made = iter(sampled_lists(parts, one, flat, options))
    return {
        title: [Case(next(made), tuple(name in one.names for name in names)) for names in kind]
        for title, kind in lists.items()
    }


def sampled(parts: tuple[Any, Any, Any], seed: int, options: argparse.Namespace) -> tuple[ConceptAttentionMaps, Scene]:
    """The maps of one scene with its own nouns, absent ones and the background as concepts, and the scene."""
    one = scene(seed)
    return sampled_lists(parts, one, lists_of(one, options.absent)["absent"], options)[0], one


def sampled_lists(
    parts: tuple[Any, Any, Any], one: Scene, lists: Sequence[tuple[str, ...]], options: argparse.Namespace
) -> list[ConceptAttentionMaps]:
    """The maps of one scene, encoded, noised and denoised again with its caption, for each list of concepts."""
    import comfy.sample
    import comfy.samplers

    from conceptattention_core.adapters.comfy.sampling import apply_concept_attention
    from conceptattention_core.adapters.comfy.text import encode_concepts

    model, clip, vae = parts
    stores = []
    for names in lists:
        concepts = encode_concepts(clip, (*names, BACKGROUND), 1, "mean", parts[0])
        model, store = apply_concept_attention(model, concepts, "output", 0.0, 1.0)
        stores.append(store)
    prompt = clip.encode_from_tokens_scheduled(clip.tokenize(one.caption))
    latent = vae.encode(torch.from_numpy(one.image.copy()).float()[None] / 255.0)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(one.seed % 2**31))
    sigmas = torch.linspace(options.noise, 0.0, options.steps + 1)
    sampler = comfy.samplers.sampler_object("euler")
    made = comfy.sample.sample_custom(
        model, noise, 1.0, sampler, sigmas, prompt, prompt, latent, disable_pbar=True, seed=0
    )
    return [store.find(made) for store in stores]


def recorded(checkpoint: str, which: str, count: int, options: argparse.Namespace) -> Iterator[dict[str, list[Case]]]:
    """The recordings of so many scenes, read from `--cache` where they are there. which: of `FIRST`."""
    from conceptattention_core.adapters.comfy.demo import load_demo_flux

    folder = checkpoint_folder(checkpoint, options.cache)
    kept = folder / f"presence_{options.noise}_{options.steps}_{options.absent}"
    kept.mkdir(exist_ok=True)
    parts: tuple[Any, Any, Any] | None = None
    for index in range(count):
        seed = FIRST[which] + index
        path = kept / f"{seed}.pt"
        if not path.is_file():
            parts = parts or load_demo_flux(folder)
            with torch.inference_mode():
                made = record(parts, scene(seed), options)
            torch.save(made, part := path.with_suffix(".part"))
            part.rename(path)
        print(f"{checkpoint}, {which}: scene {index + 1} of {count}", file=sys.stderr, end="\r")
        yield torch.load(path, weights_only=False)
