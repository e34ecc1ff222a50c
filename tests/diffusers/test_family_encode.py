"""A picture that exists, in every family: what the pipeline itself makes of the same noised latent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.testing import assert_close

from conceptattention_core.adapters.diffusers import ConceptAttention, encode_concepts
from conceptattention_core.adapters.diffusers.encode import Reading, prepare_picture, read_picture
from conceptattention_core.adapters.diffusers.families import denoisers, require_family
from conceptattention_core.adapters.diffusers.families.stream import pack

from .models import make
from .test_encode import count_calls
from .test_families import paint
from .test_generate import CONCEPTS

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8))
PLAIN = [
    "StableDiffusion3Pipeline",
    "ChromaPipeline",
    "Flux2Pipeline",
    "Flux2KleinPipeline",
    "QwenImagePipeline",
    "ZImagePipeline",
    "Krea2Pipeline",
    "LongCatImagePipeline",
    "OvisImagePipeline",
    "Lumina2Pipeline",
    "AuraFlowPipeline",
    "HiDreamImagePipeline",
    "HunyuanImagePipeline",
    "JoyImageEditPipeline",
    "JoyImageEditPlusPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusionPipeline",
    "AnimaModularPipeline",
    "Cosmos2TextToImagePipeline",
]
GUIDED = ["StableDiffusion3Pipeline", "ZImagePipeline", "Krea2Pipeline", "AuraFlowPipeline", "HiDreamImagePipeline"]
GUIDED += ["JoyImageEditPlusPipeline", "StableDiffusionXLPipeline", "StableDiffusionPipeline"]


def latent_of(pipe: Any, pixels: Tensor) -> Tensor:
    """The picture as diffusers' own image-to-image pipelines see it."""
    kind = type(pipe).__name__
    if "Flux2" in kind:
        return pipe._encode_vae_image(pixels, generator=None)
    if any(name in kind for name in ("Qwen", "Krea", "Joy", "Cosmos", "Anima")):
        stub: Any = SimpleNamespace(vae=pipe.vae, latent_channels=16)
        return diffusers.QwenImageEditPipeline._encode_vae_image(stub, pixels[:, :, None], generator=None)[:, :, 0]
    unshifted = kind.startswith(("Aura", "StableDiffusionXL", "StableDiffusionPipeline"))
    shift = 0 if unshifted else pipe.vae.config.get("shift_factor", 0)
    return (pipe.vae.encode(pixels).latent_dist.mean - shift) * pipe.vae.config.scaling_factor


def photo_for(pipe: Any) -> Image.Image:
    """Four by six tokens."""
    tokens = require_family(pipe).token_pixels
    return PHOTO.resize((6 * tokens, 4 * tokens), Image.Resampling.NEAREST)


@pytest.mark.parametrize("kind", PLAIN)
def test_a_picture_is_seen_as_the_pipeline_sees_it(kind: str) -> None:
    pipe = make(kind)
    photo = photo_for(pipe)
    single = getattr(denoisers(pipe)[0], "single_transformer_blocks", None)
    calls = count_calls(single[0].attn) if single else []
    settings: dict[str, Any] = {"max_sequence_length": 24}
    spaces: dict[str, Any] = {"projection": next(iter(require_family(pipe).projections))}
    level = 80 / 81 if "Cosmos" in kind else 0.5  # its pipeline chooses the noise levels itself
    maps = ConceptAttention.encode(
        pipe, photo, CONCEPTS, prompt="a cat", noise_level=level, seeds=[7], guidance_scale=2.0, **settings, **spaces
    )
    assert not calls and maps.raw.image_size == (photo.height, photo.width)
    assert maps.raw.sigmas == pytest.approx((level,))

    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        latent = latent_of(pipe, pixels)
    noise, at = torch.randn(latent.shape, generator=torch.Generator().manual_seed(7)), {"sigmas": [0.5]}
    noised = (1 - level) * latent + level * noise
    if hasattr(pipe, "unet"):
        schedule, at = diffusers.DDPMScheduler.from_config(pipe.scheduler.config), {"timesteps": [500]}
        noised = schedule.add_noise(latent, noise, torch.tensor([500]))  # pyright: ignore[reportArgumentType]
    told: dict[str, Any] = {"prompt": "a cat"}
    alone: dict[str, Any] = {"do_classifier_free_guidance": False, "max_sequence_length": 24}
    if kind == "StableDiffusion3Pipeline":  # whose pooled text is zero in `encode`, as in the paper
        context, _, pooled, _ = pipe.encode_prompt(*["a cat"] * 3, **alone)
        told = {"prompt": None, "prompt_embeds": context, "pooled_prompt_embeds": 0 * pooled}
    if kind == "StableDiffusionXLPipeline":
        context, _, pooled, _ = pipe.encode_prompt("a cat", do_classifier_free_guidance=False)
        told = {"prompt": None, "prompt_embeds": context, "pooled_prompt_embeds": 0 * pooled}
    if kind == "HiDreamImagePipeline":
        t5, _, llama, _, pooled, _ = pipe.encode_prompt("a cat", **alone)
        told = {"prompt_embeds_t5": t5, "prompt_embeds_llama3": llama, "pooled_prompt_embeds": 0 * pooled}
        told["prompt"] = None
    if kind == "Flux2Pipeline":
        told["guidance_scale"] = 2.0
    if kind == "HunyuanImagePipeline":
        told["distilled_guidance_scale"] = 2.0
    packed = kind.startswith(("Chroma", "QwenImage", "Krea2", "LongCat", "Ovis"))
    tokens = pack(noised) if packed else noised
    if "Joy" in kind:  # a list of videos of one frame; Plus makes the list itself
        tokens = noised[:, :, None] if "Plus" in kind else noised[:, None, :, None]
    if "Anima" in kind:
        tokens = noised[:, :, None]
    if "Cosmos" in kind:
        tokens, told["guidance_scale"] = noised[:, :, None] / level, 0.0
    run = {**at, "num_inference_steps": 1, "latents": tokens, "output_type": "latent", "width": photo.width}
    with ConceptAttention(pipe, CONCEPTS, **settings, **spaces) as attention:
        paint(pipe, **run, **told)
    assert attention.maps().raw.sigmas == pytest.approx((level,))
    assert_close(maps.raw.scores, attention.maps().raw.scores, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("kind", [*PLAIN, "QwenImageEditPipeline"])
def test_several_pictures_and_seeds(kind: str) -> None:
    """Also on a pipeline whose last call had guidance, which would read its batch otherwise."""
    pipe = make(kind)
    if kind in GUIDED:
        paint(pipe, guidance_scale=3.0)
    photo = photo_for(pipe)
    pair = [photo, photo.transpose(Image.Transpose.FLIP_TOP_BOTTOM)]
    spaces = next(iter(require_family(pipe).projections))
    settings: dict[str, Any] = {"max_sequence_length": 24, "projection": spaces, "prompt": "a cat"}
    both = ConceptAttention.encode(pipe, pair, CONCEPTS, seeds=(1, 2), **settings)
    family = require_family(pipe)
    depth = len(family.blocks(denoisers(pipe)[0]))
    assert both.raw.scores.shape == (2, depth, 2, 3, 4, 6) and both.raw.family == family.name
    one = ConceptAttention.encode(pipe, pair[1], CONCEPTS, seeds=[2], **settings)
    assert_close(both[1].raw.scores[1:], one.raw.scores, atol=1e-3, rtol=1e-4)
    assert (both[0].raw.scores - both[1].raw.scores).abs().max() > 1e-2


def test_a_space_that_a_family_lacks_is_told() -> None:
    """Also to the evaluation, which asks without a ConceptAttention."""
    pipe = make("Cosmos2TextToImagePipeline")
    named = encode_concepts(pipe, ("a", "cat"), 0, "mean", 24)
    picture = prepare_picture(pipe, PHOTO, "a cat", None, 24)
    with pytest.raises(ValueError, match="Cosmos-Predict2 has no projection 'output'"):
        read_picture(pipe, picture, [Reading(named)], 0.5, [0], 1.0)
