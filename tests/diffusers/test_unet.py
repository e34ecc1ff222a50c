"""Stable Diffusion's UNets: what stands beside the prompt, and pipelines that end early or lay things out otherwise."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0, IPAdapterAttnProcessor2_0
from diffusers.models.embeddings import ImageProjection, MultiIPAdapterImageProjection
from torch.testing import assert_close

from conceptattention_core.adapters.diffusers import ConceptAttention

from .models import make
from .test_families import record
from .test_generate import CONCEPTS


def add_ip_adapter(unet: Any, width: int) -> None:
    """One of random weights. width: channels of its picture's embedding."""
    torch.manual_seed(5)
    processors = {}
    for name in unet.attn_processors:
        attention = unet.get_submodule(name.removesuffix(".processor"))
        reads = IPAdapterAttnProcessor2_0(attention.inner_dim, attention.cross_attention_dim, num_tokens=(4,))
        processors[name] = reads if "attn2" in name else AttnProcessor2_0()
    unet.set_attn_processor(processors)
    tokens = ImageProjection(width, unet.config.cross_attention_dim, num_image_text_embeds=4)
    unet.encoder_hid_proj = MultiIPAdapterImageProjection([tokens])
    unet.register_to_config(encoder_hid_dim_type="ip_image_proj")


def test_what_an_ip_adapter_adds_is_not_the_prompts() -> None:
    """In the first block of the first step only its own reading differs, and that is not what concepts ask about."""
    pipe = make("StableDiffusionPipeline")
    plain = record(pipe).raw.scores
    add_ip_adapter(pipe.unet, 8)
    beside = record(pipe, ip_adapter_image_embeds=[torch.ones(1, 1, 8)]).raw.scores
    assert_close(beside[0, 0], plain[0, 0], atol=1e-5, rtol=0)
    assert (beside[0, -1] - plain[0, -1]).abs().max() > 1e-3


def test_a_base_model_leaves_the_last_steps_to_a_refiner() -> None:
    pipe = make("StableDiffusionXLPipeline")
    whole = record(pipe, num_inference_steps=4).raw
    part = record(pipe, num_inference_steps=4, denoising_end=0.5).raw
    assert part.sigmas == whole.sigmas[:2] and torch.equal(part.scores, whole.scores[:2])


def test_a_pipeline_that_lays_its_guidance_out_otherwise_is_told() -> None:
    parts = make("StableDiffusionPipeline").components
    pipe = diffusers.StableDiffusionInstructPix2PixPipeline(**parts, requires_safety_checker=False)
    with pytest.raises(ValueError, match="does not know the pipeline StableDiffusionInstructPix2PixPipeline"):
        ConceptAttention(pipe, CONCEPTS, projection="value")


def test_a_model_for_inpainting_cannot_look_at_a_picture_alone() -> None:
    pipe = make("StableDiffusionPipeline")
    pipe.unet.register_to_config(in_channels=9)
    picture = torch.zeros(32, 32, 3)
    with pytest.raises(ValueError, match=r"reads 9 latent channels.*Use a plain Stable Diffusion 1\.5"):
        ConceptAttention.encode(pipe, picture, CONCEPTS, projection="value")
