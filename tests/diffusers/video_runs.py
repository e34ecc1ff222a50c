"""What videos are made of in the tests: every pipeline, how it is called, and what comes of it."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition
from diffusers.pipelines.ltx2.pipeline_ltx2_ic_lora import LTX2ReferenceCondition

from .test_generate import PHOTO

GUIDED: dict[str, Any] = {"guidance_scale": 3.0}
FILM = [PHOTO] * 13
UGLY = {"negative_prompt": "ugly"}
SAID = {
    "prompt": None,
    "prompt_embeds": torch.randn(1, 7, 16, generator=torch.Generator().manual_seed(5)),
    "pooled_prompt_embeds": torch.ones(1, 16),
    "prompt_attention_mask": torch.ones(1, 7),
}
"""What a language model says of a prompt and a picture, which takes a real one."""
SHORT = {"num_frames": 9, "audio_guidance_scale": 1.0, "stg_scale": 0.0, "audio_stg_scale": 0.0}
SHORT |= {"modality_scale": 1.0, "audio_modality_scale": 1.0}
FURTHER = {"guidance_scale": 3.0, "stg_scale": 1.0, "modality_scale": 3.0, "spatio_temporal_guidance_blocks": [1]}
"""LTX-2's guidance, none, and of all three kinds."""
GIVEN = [LTX2VideoCondition(frames=PHOTO, index=at) for at in (0, 1)]
"""Pictures of the first frame and of the second, whose tokens are the video's own, or stand behind it."""
LED = [LTX2ReferenceCondition(frames=[PHOTO] * 9)]
OLD: dict[str, Any] = {}
NEW = {"patch_size_t": 2}
ADDED = {"use_rotary_positional_embeddings": False, "max_text_seq_length": 24}
RUNS: dict[str, tuple[str, dict[str, Any], dict[str, Any], int, int]] = {
    "text": ("CogVideoXPipeline", OLD, {}, 3, 9),
    "text guided": ("CogVideoXPipeline", OLD, GUIDED, 3, 9),
    "text 2B": ("CogVideoXPipeline", ADDED, GUIDED, 3, 9),
    "text 1.5": ("CogVideoXPipeline", NEW, GUIDED, 2, 9),
    "image": ("CogVideoXImageToVideoPipeline", OLD, {**GUIDED, "image": PHOTO, "num_frames": 9}, 3, 9),
    "image 1.5": (
        "CogVideoXImageToVideoPipeline",
        {**NEW, "ofs_embed_dim": 16},
        {**GUIDED, "image": PHOTO, "num_frames": 9},
        2,
        9,
    ),
    "video": ("CogVideoXVideoToVideoPipeline", OLD, {**GUIDED, "video": FILM[:9], "strength": 1.0}, 3, 9),
    "video 1.5": ("CogVideoXVideoToVideoPipeline", NEW, {**GUIDED, "video": FILM, "strength": 1.0}, 2, 16),
    "even": ("CogVideoXPipeline", OLD, {"num_frames": 8}, 2, 8),
    "wan": ("WanPipeline", {"two": True}, {**GUIDED, "num_frames": 9}, 3, 9),
    "wan of tokens": ("WanPipeline", {"tokens": True}, {"num_frames": 8}, 3, 9),
    "wan image": ("WanImageToVideoPipeline", {"two": True}, {**GUIDED, "image": PHOTO, "num_frames": 9}, 3, 9),
    "wan image of tokens": ("WanImageToVideoPipeline", {"tokens": True}, {"image": PHOTO, "num_frames": 9}, 3, 9),
    "wan image seen": (
        "WanImageToVideoPipeline",
        {"seen": True},
        {**GUIDED, "image": PHOTO, "num_frames": 9, "max_sequence_length": 512},  # which its attention counts on
        3,
        9,
    ),
    "wan video": ("WanVideoToVideoPipeline", {}, {**GUIDED, "video": FILM[:9], "strength": 1.0}, 3, 9),
    "lucy": ("LucyEditPipeline", {"tokens": True}, {**GUIDED, "video": FILM[:9], "num_frames": 9}, 3, 9),
    "wan vace": ("WanVACEPipeline", {}, {**GUIDED, "video": FILM[:9], "num_frames": 9}, 3, 9),
    "wan vace of references": (
        "WanVACEPipeline",
        {"two": True},
        {**GUIDED, "num_frames": 9, "reference_images": [PHOTO, PHOTO]},
        3,
        9,
    ),
    "hunyuan": ("HunyuanVideoPipeline", {}, {"num_frames": 9}, 3, 9),
    "hunyuan guided": ("HunyuanVideoPipeline", {}, {"num_frames": 9, "true_cfg_scale": 3.0, **UGLY}, 3, 9),
    "hunyuan image beside": (
        "HunyuanVideoImageToVideoPipeline",
        {"in_channels": 9, "guidance_embeds": False, "image_condition_type": "latent_concat"},
        {"num_frames": 9, "image": PHOTO, **SAID},
        3,
        5,
    ),
    "hunyuan image first": (
        "HunyuanVideoImageToVideoPipeline",
        {"image_condition_type": "token_replace"},
        {"num_frames": 9, "image": PHOTO, **SAID},
        3,
        9,
    ),
    "skyreels": (
        "HunyuanSkyreelsImageToVideoPipeline",
        {"in_channels": 8},
        {"num_frames": 9, "image": PHOTO, **UGLY},
        3,
        9,
    ),
    "hunyuan 1.5": ("HunyuanVideo15Pipeline", {}, {"num_frames": 9}, 3, 9),
    "hunyuan 1.5 image": ("HunyuanVideo15ImageToVideoPipeline", {}, {"num_frames": 9, "image": PHOTO}, 3, 9),
    "ltx": ("LTXPipeline", {}, {"num_frames": 9}, 3, 9),
    "ltx image": ("LTXImageToVideoPipeline", {}, {**GUIDED, "num_frames": 9, "image": PHOTO}, 3, 9),
    "ltx conditions": (
        "LTXConditionPipeline",
        {},
        {**GUIDED, "num_frames": 9, "image": [PHOTO, PHOTO], "frame_index": [0, 4], "strength": 1.0},
        3,
        9,
    ),
    "ltx2": ("LTX2Pipeline", {}, SHORT, 3, 9),
    "ltx2 guided": ("LTX2Pipeline", {"newer": True}, {**SHORT, **FURTHER}, 3, 9),
    "ltx2 image": ("LTX2ImageToVideoPipeline", {}, {**SHORT, **FURTHER, "image": PHOTO}, 3, 9),
    "ltx2 conditions": ("LTX2ConditionPipeline", {}, {**SHORT, **FURTHER, "conditions": GIVEN}, 3, 9),
    "ltx2 in context": ("LTX2InContextPipeline", {"newer": True}, {**SHORT, "reference_conditions": LED}, 3, 9),
    "cosmos image": ("Cosmos2VideoToWorldPipeline", {}, {**GUIDED, "num_frames": 9, "image": PHOTO}, 3, 9),
    "cosmos video": ("Cosmos2VideoToWorldPipeline", {}, {"num_frames": 9, "video": FILM[:5]}, 3, 9),
    "control": ("CogVideoXFunControlPipeline", OLD, {**GUIDED, "control_video": [FILM[:9]]}, 3, 9),
}
"""Pipeline, the transformer's sizes, the call's settings, token frames, and pictures that it makes."""
