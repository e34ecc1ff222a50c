"""ComfyUI: maps of a picture that exists already, by one noised forward that stops behind the last block it needs.

The forward is a sampling run of ComfyUI's own guider with a sampler of a single evaluation. So memory management,
LoRAs, and other nodes' patches, wrappers and hooks are ComfyUI's affair, as in any run; what this pack adds stands in
the run's own options, and is gone with it, however it ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import comfy.model_management
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher, create_model_options_clone
from comfy.model_sampling import CONST
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from comfy.samplers import KSAMPLER, CFGGuider
from einops import rearrange
from torch import Tensor
from torch.nn.functional import pad

from ...concepts import Concepts
from ...cross import require_projection
from ...images import picture_batch
from ...maps import ConceptAttentionMaps, select_blocks
from ...noise import require_noise_level, seeded_noise
from ...record import Recorder
from ...scores import Projection
from ...stream import ConceptKeys
from .families import require_family, transformer_of
from .families.base import Family, pixels_of_a_cell
from .sampling import WRAPPER_KEY, EvaluationRecorder


def encode_picture(
    model: ModelPatcher,
    clip: Any,
    vae: Any,
    image: Tensor,
    concepts: Concepts,
    prompt: str = "",
    projection: Projection = "output",
    noise_level: float = 0.5,
    noise_samples: int = 1,
    seed: int = 0,
    guidance: float = 3.5,
    last_block: int = -1,
) -> ConceptAttentionMaps:
    """Maps of a batch of pictures, ``scores (1, blocks, B, C, h, w)``, the mean over the noise samples.

    image: ``(B, H, W, 1, 3 or 4)`` 0..1, of any size. One picture is in work at a time, and all get the same noises,
    those of `seed`, `seed` + 1 and so on: so a batch gives what its pictures give one by one.
    last_block: the last block to run, negative from the end. The maps hold all blocks up to this one.
    Raises ValueError where model, VAE, picture or settings will not do.
    """
    family, dit = require_family(model), transformer_of(model)
    require_projection(family.name, projection, family.projections)
    require_noise_level(noise_level)
    if noise_samples < 1:
        raise ValueError(f"noise_samples ({noise_samples}) must be at least 1.")
    last = select_blocks(tuple(range(family.depth(dit))), 0, last_block)[-1]
    if why := family.why_not_for_pictures(model.model, dit):
        raise ValueError(why)
    image = picture_batch(image)
    # What Apply Concept Attention has put on the model is for sampling runs.
    plain = model.clone()
    plain.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, WRAPPER_KEY)
    positive = encode_prompt(clip, prompt, guidance, family.pooled_width(dit))
    forward = NoisedForward(family, plain, positive, concepts, projection, noise_level, last)
    latents = encode_latents(vae, image, family, model)
    noises = [seeded_noise(latents[0].shape[1:], (seed + sample) % 2**64)[None] for sample in range(noise_samples)]
    progress = comfy.utils.ProgressBar(len(latents) * len(noises))
    size = (image.shape[1], image.shape[2])
    each = [forward.maps(latent, noises, size, lambda: progress.update(1)) for latent in latents]
    features = [maps.features for maps in each if maps.features is not None]
    return replace(
        each[0],
        scores=torch.cat([maps.scores for maps in each], dim=2),
        sigmas=(noise_level,),
        features=torch.cat(features, dim=1) if features else None,
    )


@dataclass(frozen=True)
class NoisedForward:
    """How to look at a picture's latent: noised, once, as far as block `last_block`.

    positive: the prompt's CONDITIONING. The other fields are those of `encode_picture`.
    """

    family: Family
    model: ModelPatcher
    positive: list[Any]
    concepts: Concepts
    projection: Projection
    noise_level: float
    last_block: int
    attend_to: ConceptKeys = "both"

    def maps(
        self, latent: Tensor, noises: Sequence[Tensor], image_size: tuple[int, int], on_forward: Callable[[], None]
    ) -> ConceptAttentionMaps:
        """One forward for each noise, and the mean of their scores.

        latent: ``(1, channels, ...)`` as the VAE gives it, and so each of noises; image_size: ``(H, W)`` pixels.
        Raises ValueError where another node on the model kept the scores from being read.
        """
        return read_together([self], latent, noises, image_size, on_forward)[0]


def read_together(
    readings: Sequence[NoisedForward],
    latent: Tensor,
    noises: Sequence[Tensor],
    image_size: tuple[int, int],
    on_forward: Callable[[], None],
) -> list[ConceptAttentionMaps]:
    """The maps of several readings from the same forwards: they differ in concepts, projection and keys only.

    The other arguments and errors are those of `NoisedForward.maps`.
    """
    shared = readings[0]
    model = shared.model
    frame = shared.family.frame(model.model, transformer_of(model), tuple(latent.shape[2:]))
    frame = replace(frame, image_size=image_size)
    guider = CFGGuider(model)
    guider.inner_set_conds({"positive": shared.positive})
    guider.model_options = create_model_options_clone(guider.model_options)
    recorders = []
    for one in readings:
        recorder = Recorder(one.concepts, one.projection, len(latent), frame, (0.0, math.inf), one.attend_to)
        recorder.skip("Another node on this model answered in its place, so there are no maps. Remove that node.")
        recorders.append(recorder)
        add_wrapper_with_key(
            WrappersMP.APPLY_MODEL,
            WRAPPER_KEY,
            EvaluationRecorder(one.family, recorder, guider, tuple(latent.shape[1:]), one.last_block),
            guider.model_options,
            is_model_options=True,
        )
    sigmas = torch.tensor([sigma_of(model, shared.noise_level), 0.0])
    for noise in noises:
        comfy.model_management.throw_exception_if_processing_interrupted()
        guider.sample(noise, latent, KSAMPLER(evaluate_once), sigmas, disable_pbar=True)
        on_forward()
    found = []
    for recorder in recorders:
        run = recorder.finish((), "")
        if run.maps is None:
            raise ValueError(run.problem)
        found.append(run.maps)
    return found


def sigma_of(model: ModelPatcher, noise_level: float) -> float:
    """The model's own measure of a noise level, 0..1: of a flow model the level itself, else by its schedule."""
    sampling = model.get_model_object("model_sampling")
    if isinstance(sampling, CONST):
        return noise_level
    return float(sampling.percent_to_sigma(1 - noise_level)) if noise_level < 1 else float(sampling.sigma_max)


def evaluate_once(
    model: Any, x: Tensor, sigmas: Tensor, extra_args: dict[str, Any], callback: Any = None, disable: Any = None
) -> Tensor:
    """A sampler function that looks at the noised picture once and leaves it as it is."""
    model(x, sigmas[0].expand(len(x)), **extra_args)
    return x


def encode_prompt(clip: Any, prompt: str, guidance: float, pooled_width: int | None) -> list[Any]:
    """A CONDITIONING as CLIP Text Encode and Flux Guidance make it, but its pooled text zero, as in the paper.

    pooled_width: channels of that vector; None where the model reads none.
    """
    pooled = None if pooled_width is None else torch.zeros(1, pooled_width)
    return [
        [context, {**extra, "pooled_output": pooled, "guidance": guidance}]
        for context, extra in clip.encode_from_tokens_scheduled(clip.tokenize(prompt))
    ]


def encode_latents(vae: Any, image: Tensor, family: Family, model: ModelPatcher) -> list[Tensor]:
    """The VAE's mean of each picture, ``(1, channels, (1,) h, w)`` float32 on the CPU, h and w whole tokens.

    Where a side is no whole number of tokens
    the edge is repeated to the right and downwards, for the VAE would cut off a margin all around, and the grid would
    not begin in the picture's corner. Raises ValueError for the VAE of another model family.
    """
    cell, patch = pixels_of_a_cell(model.model), family.patch(transformer_of(model))
    tokens = [math.ceil(side / (cell * patch)) for side in image.shape[1:3]]
    missing = [cell * patch * count - side for count, side in zip(tokens, image.shape[1:3], strict=True)]
    wanted = (1, model.get_model_object("latent_format").latent_channels, *(patch * count for count in tokens))
    latents = []
    for picture in image:
        comfy.model_management.throw_exception_if_processing_interrupted()
        whole = pad(rearrange(picture, "h w c -> 1 c h w"), (0, missing[1], 0, missing[0]), mode="replicate")
        # Contiguous with channels last, as loaders make pictures: a convolution may round differently otherwise.
        latent = vae.encode(rearrange(whole, "1 c h w -> 1 h w c").contiguous()).float().cpu()
        flat = latent.squeeze(2) if latent.ndim == 5 else latent  # some VAEs know pictures as videos of one frame
        if flat.shape != wanted:
            raise ValueError(
                f"This VAE makes {tuple(flat.shape)} of a picture, and the model reads {wanted}: they do not belong "
                f"together. Connect {family.vae}."
            )
        latents.append(latent if family.frames else flat)
    return latents
