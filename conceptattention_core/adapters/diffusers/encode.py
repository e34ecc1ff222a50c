"""diffusers: maps of a picture that exists already, by one half-noised forward that stops after the family's blocks."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from ...concepts import Concepts
from ...cross import require_projection
from ...images import Picture, image_batch, picture_tensor
from ...maps import ConceptAttentionMaps
from ...noise import require_noise_level, seeded_noise
from ...record import Recorder
from ...scores import Projection
from ...stream import ConceptKeys
from .families import denoisers, require_family
from .families.base import Family
from .tap import Tap


class BlocksDone(Exception):
    """Raised in front of the first module behind the blocks: all that the maps need is known, the rest is not run."""


@dataclass(frozen=True)
class Reading:
    """What to read from a forward: these concepts' scores in this space. Several can share one forward."""

    concepts: Concepts
    projection: Projection = "output"
    attend_to: ConceptKeys = "both"


@dataclass(frozen=True)
class EncodedPicture:
    """What a forward needs, besides noise: latent ``(B, channels, h, w)``, and its arguments that say the prompt."""

    latent: Tensor
    prompt: dict[str, Any]


def encode_picture(
    pipe: Any,
    image: Picture | Sequence[Picture],
    concepts: Concepts,
    projection: Projection,
    prompt: str,
    noise_level: float,
    seeds: Sequence[int],
    size: tuple[int, int] | None,
    guidance_scale: float,
    max_sequence_length: int | None,
) -> ConceptAttentionMaps:
    """Maps whose step axis is the noise seeds. For the arguments see `ConceptAttention.encode`."""
    picture = prepare_picture(pipe, image, prompt, size, max_sequence_length)
    (maps,) = read_picture(pipe, picture, [Reading(concepts, projection)], noise_level, seeds, guidance_scale)
    if hasattr(pipe, "maybe_free_model_hooks"):  # a modular pipeline's parts are another's affair
        pipe.maybe_free_model_hooks()
    return maps


@torch.no_grad()
def prepare_picture(
    pipe: Any,
    image: Picture | Sequence[Picture],
    prompt: str,
    size: tuple[int, int] | None,
    max_sequence_length: int | None,
) -> EncodedPicture:
    """Encode pictures of one size, and the prompt. For the arguments and errors see `ConceptAttention.encode`."""
    family = require_family(pipe)
    pictures = picture_batch(image, size, family.token_pixels)
    told = family.prompt(pipe, prompt, len(pictures), max_sequence_length or family.max_sequence_length)
    context = told[family.prompt_argument]
    like = context[0] if isinstance(context, list) else context
    latent = family.latent(pipe.vae, pictures.to(like.device, pipe.vae.dtype)).to(like)
    family.inputs(denoisers(pipe)[0], latent, 0.0, 1.0, told)  # what cannot look at a picture says so before any noise
    return EncodedPicture(latent, told)


@torch.no_grad()
def read_picture(
    pipe: Any,
    picture: EncodedPicture,
    readings: Sequence[Reading],
    noise_level: float,
    seeds: Sequence[int],
    guidance_scale: float,
) -> list[ConceptAttentionMaps]:
    """Maps for each reading, all from the same forwards, one for each seed: the step axis is the seeds.

    noise_level: 0..1. Raises ValueError on a noise level outside of it, no seed, or a projection that there is not.
    """
    family = require_family(pipe)
    require_noise_level(noise_level)
    for one in readings:
        require_projection(family.name, one.projection, family.projections)
    if not seeds:
        raise ValueError("Give at least one noise seed in `seeds`.")
    latent, model = picture.latent, denoisers(pipe)[0]
    grid = latent.shape[2] // family.patch, latent.shape[3] // family.patch
    frame = family.frame(grid, token_pixels=family.token_pixels)
    recorded = []
    # A modular pipeline leaves its progress to its blocks.
    for seed in pipe.progress_bar(seeds) if hasattr(pipe, "progress_bar") else seeds:
        recorders = [
            Recorder(one.concepts, one.projection, len(latent), frame, (0.0, 1.0), one.attend_to)
            for one in readings
        ]
        noise = seeded_noise(latent.shape[1:], seed).to(latent)
        noised = family.noised(pipe, latent, noise, noise_level)
        inputs = family.inputs(model, noised, noise_level, guidance_scale, picture.prompt)
        run_blocks(family, model, recorders, **inputs)
        recorded.append([finished_maps(recorder) for recorder in recorders])
    return [join_steps(seeds_of_one) for seeds_of_one in zip(*recorded, strict=True)]


def finished_maps(recorder: Recorder) -> ConceptAttentionMaps:
    """What was recorded. Raises RuntimeError, saying why, where nothing could be."""
    run = recorder.finish((), "")
    if run.maps is None:
        raise RuntimeError(run.problem)
    return run.maps


def run_blocks(family: Family, transformer: nn.Module, recorders: Sequence[Recorder], **inputs: Any) -> None:
    """One forward with the concepts, as far as the last block: two thirds of a FLUX.1 forward come after it.

    The exception that ends it leaves from a hook in front of the next module, so that every module that has begun,
    offloading hooks included, has also ended, up to the transformer itself.
    """

    def stop(module: nn.Module, args: tuple[Any, ...]) -> None:
        raise BlocksDone

    def tap(recorder: Recorder) -> Tap:
        return Tap(family, transformer, None, recorder.concepts, choose=lambda _: recorder, failed=lambda: None)

    taps = [tap(recorder) for recorder in recorders]
    stops = [module.register_forward_pre_hook(stop) for module in family.not_needed(transformer)]
    try:
        with contextlib.suppress(BlocksDone):
            transformer(**inputs, return_dict=False)
    finally:
        for one in taps:
            one.remove()
        for handle in stops:
            handle.remove()


def picture_batch(image: Picture | Sequence[Picture], size: tuple[int, int] | None, multiple: int) -> Tensor:
    """One picture, or several of one size, as ``(B, 3, H, W)`` -1..1 with H and W rounded down to multiples of one."""
    several: Sequence[Any] = image if isinstance(image, list | tuple) else [image]
    pictures = [picture_tensor(one) for one in several]
    if len({picture.shape for picture in pictures}) != 1:
        raise ValueError("The pictures of one call must be of one size. Call `encode` for each of them.")
    height, width = (max(multiple, side // multiple * multiple) for side in size or pictures[0].shape[1:3])
    batch = image_batch(torch.cat(pictures), len(pictures), (height, width))
    return 2 * rearrange(batch, "b h w c -> b c h w") - 1


def join_steps(maps: Sequence[ConceptAttentionMaps]) -> ConceptAttentionMaps:
    """One object with the steps of several recordings of a picture, so that saliency averages their softmaxes."""
    features = [one.features.float() for one in maps if one.features is not None]
    return replace(
        maps[0],
        scores=torch.cat([one.scores for one in maps]),
        sigmas=tuple(sigma for one in maps for sigma in one.sigmas),
        features=torch.stack(features).mean(dim=0).half() if features else None,
    )
