"""Tiny random pipelines of the families that make videos."""

from __future__ import annotations

from typing import Any

import diffusers
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

from .parts import HEADS, t5, tokenizer, umt5


def cogvideox(kind: str, **sizes: Any) -> Any:
    """1.5 by patch_size_t=2; 2B, whose places are added to its tokens, by use_rotary_positional_embeddings=False."""
    given = {"CogVideoXImageToVideoPipeline": 8, "CogVideoXFunControlPipeline": 8}.get(kind, 4)
    places = {"use_rotary_positional_embeddings": True, "sample_height": 8, "sample_width": 8, "sample_frames": 9}
    transformer = diffusers.CogVideoXTransformer3DModel(
        in_channels=given,
        out_channels=4,
        time_embed_dim=16,
        text_embed_dim=32,
        num_layers=3,
        **{**HEADS, **places, **sizes},
    )
    coder = diffusers.AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    ).eval()
    texts = {"tokenizer": tokenizer(), "text_encoder": t5()}
    steps = diffusers.CogVideoXDDIMScheduler()
    return getattr(diffusers, kind)(transformer=transformer.eval(), vae=coder, scheduler=steps, **texts)


def wan(kind: str, two: bool = False, seen: bool = False, tokens: bool = False) -> Any:
    """two: 2.2's two models. seen: 2.1's picture goes through CLIP, too. tokens: 2.2's 5B, a timestep for each."""
    given = 36 if "Image" in kind and not tokens else 16

    def transformer() -> Any:
        sizes: dict[str, Any] = {"image_dim": 16, "added_kv_proj_dim": 64} if seen else {}
        return diffusers.WanTransformer3DModel(
            in_channels=given, out_channels=16, text_dim=32, freq_dim=16, ffn_dim=64, num_layers=3, **HEADS, **sizes
        ).eval()

    coder = diffusers.AutoencoderKLWan(base_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1).eval()
    parts: dict[str, Any] = {"tokenizer": tokenizer(), "text_encoder": umt5(), "vae": coder}
    parts["scheduler"] = diffusers.UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction")
    if seen:
        sizes = {"intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 8}
        parts["image_encoder"] = CLIPVisionModel(CLIPVisionConfig(hidden_size=16, patch_size=4, **sizes)).eval()
        parts["image_processor"] = CLIPImageProcessor(size=8, crop_size=8)
    if "VideoToVideo" not in kind:
        parts |= {"transformer_2": transformer() if two else None, "boundary_ratio": 0.9 if two else None}
        parts["expand_timesteps"] = tokens
    return getattr(diffusers, kind)(transformer=transformer(), **parts)


VIDEO_MAKERS = {"CogVideoX": cogvideox, "Wan": wan}
