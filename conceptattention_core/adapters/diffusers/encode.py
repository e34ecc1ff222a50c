"""diffusers: maps of a picture that exists already, by one half-noised forward that stops after the double blocks."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from ...concepts import Concepts
from ...images import Picture, image_batch, picture_tensor
from ...maps import TOKEN_PIXELS, ConceptAttentionMaps
from ...noise import require_noise_level, seeded_noise
from ...record import Frame, Recorder
from ...scores import Projection
from ...stream import ConceptKeys
from .families.flux import FluxTap, require_flux


class DoubleBlocksDone(Exception):
    """Raised in front of the first single block: everything that the maps need is known, the rest is not run."""


@dataclass(frozen=True)
class Reading:
    """What to read from a forward: these concepts' scores in this space. Several can share one forward."""

    concepts: Concepts
    projection: Projection = "output"
    attend_to: ConceptKeys = "both"


@dataclass(frozen=True)
class EncodedPicture:
    """What a forward needs, besides noise: latent ``(B, 16, H/8, W/8)``, and the prompt's T5 tokens and pooled text."""

    latent: Tensor
    context: Tensor
    pooled: Tensor
    txt_ids: Tensor


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
    max_sequence_length: int,
) -> ConceptAttentionMaps:
    """Maps whose step axis is the noise seeds. For the arguments see `ConceptAttention.encode`."""
    picture = prepare_picture(pipe, image, prompt, size, max_sequence_length)
    (maps,) = read_picture(pipe, picture, [Reading(concepts, projection)], noise_level, seeds, guidance_scale)
    pipe.maybe_free_model_hooks()
    return maps


@torch.no_grad()
def prepare_picture(
    pipe: Any,
    image: Picture | Sequence[Picture],
    prompt: str,
    size: tuple[int, int] | None,
    max_sequence_length: int,
) -> EncodedPicture:
    """Encode pictures of one size, and the prompt. For the arguments and errors see `ConceptAttention.encode`."""
    config: Any = require_flux(pipe.transformer).config
    pictures = picture_batch(image, size)
    context, pooled, txt_ids = pipe.encode_prompt(
        prompt=prompt, prompt_2=prompt, num_images_per_prompt=len(pictures), max_sequence_length=max_sequence_length
    )
    latent = encode_latent(pipe.vae, pictures.to(context.device)).to(context)
    if config.in_channels != 4 * latent.shape[1]:
        raise ValueError(
            f"This transformer reads {config.in_channels // 4} latent channels and a picture has "
            f"{latent.shape[1]}: it is a Fill or Control model, which needs more than a picture. Use a plain FLUX.1."
        )
    return EncodedPicture(latent, context, pooled, txt_ids)


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

    noise_level: 0..1. Raises ValueError on a noise level outside of it, or no seed.
    """
    transformer = require_flux(pipe.transformer)
    config: Any = transformer.config
    require_noise_level(noise_level)
    if not seeds:
        raise ValueError("Give at least one noise seed in `seeds`.")
    latent = picture.latent
    batch, _, height, width = latent.shape
    grid = (height // 2, width // 2)
    frame = Frame(grid, (TOKEN_PIXELS * grid[0], TOKEN_PIXELS * grid[1]))
    device, dtype = latent.device, latent.dtype
    guidance = torch.full((batch,), guidance_scale, device=device) if config.guidance_embeds else None
    recorded = []
    for seed in pipe.progress_bar(seeds):
        recorders = [
            Recorder(one.concepts, one.projection, batch, frame, (0.0, 1.0), one.attend_to)
            for one in readings
        ]
        noise = seeded_noise(latent.shape[1:], seed).to(latent)
        run_double_blocks(
            transformer,
            recorders,
            hidden_states=pack(latent + noise_level * (noise - latent)),
            encoder_hidden_states=picture.context,
            pooled_projections=torch.zeros_like(picture.pooled),
            timestep=torch.full((batch,), noise_level, device=device, dtype=dtype),
            img_ids=image_ids(grid).to(device, dtype),
            txt_ids=picture.txt_ids,
            guidance=guidance,
        )
        recorded.append([finished_maps(recorder) for recorder in recorders])
    return [join_steps(seeds_of_one) for seeds_of_one in zip(*recorded, strict=True)]


def finished_maps(recorder: Recorder) -> ConceptAttentionMaps:
    """What was recorded. Raises RuntimeError, saying why, where nothing could be."""
    run = recorder.finish((), "")
    if run.maps is None:
        raise RuntimeError(run.problem)
    return run.maps


def run_double_blocks(transformer: nn.Module, recorders: Sequence[Recorder], **inputs: Tensor | None) -> None:
    """One forward with the concepts, as far as the last double block: two thirds of a Flux.1 forward come after it.

    The exception that ends it leaves from a hook in front of the first single block, so that every module that has
    begun, offloading hooks included, has also ended, up to the transformer itself.
    """

    def stop(module: nn.Module, args: tuple[Any, ...]) -> None:
        raise DoubleBlocksDone

    def tap(recorder: Recorder) -> FluxTap:
        return FluxTap(flux, recorder.concepts, choose=lambda _: recorder, failed=lambda: None)

    flux = require_flux(transformer)
    taps = [tap(recorder) for recorder in recorders]
    stops = [block.register_forward_pre_hook(stop) for block in flux.single_transformer_blocks[:1]]
    try:
        with contextlib.suppress(DoubleBlocksDone):
            flux(**inputs, return_dict=False)
    finally:
        for one in taps:
            one.remove()
        for handle in stops:
            handle.remove()


def picture_batch(image: Picture | Sequence[Picture], size: tuple[int, int] | None) -> Tensor:
    """One picture, or several of one size, as ``(B, 3, H, W)`` -1..1 with H and W rounded down to multiples of 16."""
    several: Sequence[Any] = image if isinstance(image, list | tuple) else [image]
    pictures = [picture_tensor(one) for one in several]
    if len({picture.shape for picture in pictures}) != 1:
        raise ValueError("The pictures of one call must be of one size. Call `encode` for each of them.")
    height, width = (max(TOKEN_PIXELS, side // TOKEN_PIXELS * TOKEN_PIXELS) for side in size or pictures[0].shape[1:3])
    batch = image_batch(torch.cat(pictures), len(pictures), (height, width))
    return 2 * rearrange(batch, "b h w c -> b c h w") - 1


def encode_latent(vae: Any, pixels: Tensor) -> Tensor:
    """``(B, 3, H, W)`` -1..1 -> the picture as the model sees it, ``(B, 16, H/8, W/8)``: the VAE's mean, no sample."""
    latent = vae.encode(pixels.to(vae.dtype)).latent_dist.mode()
    return (latent - vae.config.shift_factor) * vae.config.scaling_factor


def pack(latent: Tensor) -> Tensor:
    """``(B, channels, 2 h, 2 w)`` -> tokens ``(B, h * w, 4 channels)``, each a patch of 2 x 2."""
    return rearrange(latent, "b c (h p) (w q) -> b (h w) (c p q)", p=2, q=2)


def image_ids(grid: tuple[int, int]) -> Tensor:
    """Position ids ``(h * w, 3)`` float32: image number 0, row, column."""
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    return torch.stack((torch.zeros_like(rows), rows, columns), dim=-1).flatten(0, 1).float()


def join_steps(maps: Sequence[ConceptAttentionMaps]) -> ConceptAttentionMaps:
    """One object with the steps of several recordings of a picture, so that saliency averages their softmaxes."""
    features = [one.features.float() for one in maps if one.features is not None]
    return replace(
        maps[0],
        scores=torch.cat([one.scores for one in maps]),
        sigmas=tuple(sigma for one in maps for sigma in one.sigmas),
        features=torch.stack(features).mean(dim=0).half() if features else None,
    )
