"""Recordings of demo models, made once and kept: a file for each checkpoint, list of words and scene."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from conceptattention_core.evaluate.datasets.scenes.scenes import Scene
from conceptattention_core.maps import ConceptAttentionMaps
from conceptattention_core.noise import seeded_noise
from tools.benchmarks.beyond.cases import BACKGROUND, Case, Words, labels_of, picture_of, words_of
from tools.benchmarks.checkpoints import checkpoint_folder

NOISE, STEPS = 0.5, 5
"""Where a run starts from the noised scene, and its Euler steps: those of `quality.py`."""

DOUBLE_BLOCKS = 6

LEVELS, NOISES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6), 4
"""Of looks at a picture that exists."""

Parts = tuple[Any, Any, Any]
"""MODEL, CLIP and VAE."""

Recorded = tuple[ConceptAttentionMaps, dict[str, Tensor]]
Record = Callable[[Parts, Scene, Words], Recorded]


@cache
def loaded(checkpoint: str, folder: Path) -> Parts:
    """A checkpoint's MODEL, CLIP and VAE."""
    from conceptattention_core.adapters.comfy.demo import load_demo_flux

    return load_demo_flux(checkpoint_folder(checkpoint, folder))


def cases(record: Record, checkpoint: str, words: Words, seen: list[Scene], folder: Path) -> Iterator[Case]:
    """Every scene's case, from the cache in `folder` or recorded into it."""
    for one in seen:
        path = folder / record.__name__ / checkpoint / words / f"{one.seed}.pt"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            with torch.inference_mode():
                torch.save(record(loaded(checkpoint, folder / "checkpoints"), one, words), part)
            part.rename(path)
            print(path, file=sys.stderr)
        maps, parts = torch.load(path, weights_only=False)  # our own, by the line above
        yield Case(maps, parts, labels_of(one, maps.concepts), picture_of(one))


def sampled(parts: Parts, one: Scene, words: Words) -> Recorded:
    """One sampling run: the maps of all blocks, single ones numbered on behind the double ones, and what a witness saw.

    groups: the double blocks' scores by quarters of the channels, ``(steps, blocks, 4, C, h, w)``: these are their sum.
    asked: what image tokens ask of each concept, ``(steps, blocks, C, h, w)``: their queries on its key.
    """
    import comfy.sample
    import comfy.samplers

    from conceptattention_core.adapters.comfy.sampling import apply_concept_attention
    from conceptattention_core.adapters.comfy.tap import OVERRIDE
    from conceptattention_core.adapters.comfy.text import encode_concepts
    from tools.benchmarks.beyond.witness import WatchedFlux, Witness

    model, clip, vae = parts
    names = words_of(one, words)
    latent = vae.encode(picture_of(one))
    grid = (latent.shape[2] // 2, latent.shape[3] // 2)
    witness = Witness(grid[0] * grid[1])
    concepts = encode_concepts(clip, names, int(names[-1] == BACKGROUND), "mean", model)
    patched, store = apply_concept_attention(model, concepts, "output", 0.0, 1.0, WatchedFlux(witness))
    patched.model_options.setdefault("transformer_options", {})[OVERRIDE] = witness
    prompt = clip.encode_from_tokens_scheduled(clip.tokenize(one.caption))
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(one.seed % 2**31))
    sigmas = torch.linspace(NOISE, 0.0, STEPS + 1)
    sampler = comfy.samplers.sampler_object("euler")
    made = comfy.sample.sample_custom(
        patched, noise, 1.0, sampler, sigmas, prompt, prompt, latent, disable_pbar=True, seed=0
    )
    groups, asked = witness.grids(grid, DOUBLE_BLOCKS)
    return store.find(made), {"groups": groups, "asked": asked}


def looked(parts: Parts, one: Scene, words: Words) -> Recorded:
    """The scene as a picture that exists, an empty prompt: every level of `LEVELS` and every noise by itself.

    maps: of level after level, and in each of noise after noise, as if they were steps. looks: the features of each,
    ``(levels * noises, blocks, channels, h, w)``.
    """
    from conceptattention_core.adapters.comfy.encode import NoisedForward, encode_latents, encode_prompt
    from conceptattention_core.adapters.comfy.families import transformer_of
    from conceptattention_core.adapters.comfy.families.flux import Flux1
    from conceptattention_core.adapters.comfy.text import encode_concepts

    model, clip, vae = parts
    names, family = words_of(one, words), Flux1()
    concepts = encode_concepts(clip, names, int(names[-1] == BACKGROUND), "mean", model)
    positive = encode_prompt(clip, "", 3.5, family.pooled_width(transformer_of(model)))
    latent = encode_latents(vae, picture_of(one), family, model)[0]
    size = (one.labels.shape[0], one.labels.shape[1])
    each = []
    for level in LEVELS:
        forward = NoisedForward(family, model, positive, concepts, "output", level, DOUBLE_BLOCKS - 1)
        for seed in range(NOISES):
            each.append(forward.maps(latent, [seeded_noise(latent.shape[1:], seed)[None]], size, lambda: None))
    looks = torch.stack([maps.features[:, 0] for maps in each if maps.features is not None])
    sigmas = tuple(sigma for maps in each for sigma in maps.sigmas)
    whole = replace(each[0], scores=torch.cat([maps.scores for maps in each]), sigmas=sigmas)
    return whole, {"looks": looks}


def first_blocks(case: Case, count: int = DOUBLE_BLOCKS) -> ConceptAttentionMaps:
    """Maps that hold the first blocks only: by default the double ones, which the product records."""
    maps = case.maps
    assert maps.features is not None
    return replace(maps, scores=maps.scores[:, :count], features=maps.features[:count], blocks=maps.blocks[:count])
