"""Tiny random pipelines of the families that make videos."""

from __future__ import annotations

from typing import Any

import diffusers
from diffusers.guiders import ClassifierFreeGuidance
from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder
from transformers import (
    CLIPImageProcessor,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    SiglipImageProcessor,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from .parts import HEADS, clip, gemma3, llava, qwen25_vl, scheduler, t5, tokenizer, umt5


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


def wan_vae() -> Any:
    return diffusers.AutoencoderKLWan(base_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1).eval()


def wan(kind: str, two: bool = False, seen: bool = False, tokens: bool = False) -> Any:
    """two: 2.2's two models. seen: 2.1's picture goes through CLIP, too. tokens: 2.2's 5B, a timestep for each."""
    given = 32 if "Lucy" in kind else 36 if "Image" in kind and not tokens else 16

    def transformer() -> Any:
        sizes: dict[str, Any] = {"image_dim": 16, "added_kv_proj_dim": 64} if seen else {}
        kind_of = diffusers.WanTransformer3DModel
        if "VACE" in kind:
            kind_of, sizes["vace_layers"] = diffusers.WanVACETransformer3DModel, [0, 2]
        return kind_of(
            in_channels=given, out_channels=16, text_dim=32, freq_dim=16, ffn_dim=64, num_layers=3, **HEADS, **sizes
        ).eval()

    parts: dict[str, Any] = {"tokenizer": tokenizer(), "text_encoder": umt5(), "vae": wan_vae()}
    parts["scheduler"] = diffusers.UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction")
    if seen:
        sizes = {"intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 8}
        parts["image_encoder"] = CLIPVisionModel(CLIPVisionConfig(hidden_size=16, patch_size=4, **sizes)).eval()
        parts["image_processor"] = CLIPImageProcessor(size=8, crop_size=8)
    if "VideoToVideo" not in kind:
        parts |= {"transformer_2": transformer() if two else None, "boundary_ratio": 0.9 if two else None}
    if kind in ("WanPipeline", "WanImageToVideoPipeline", "LucyEditPipeline"):
        parts["expand_timesteps"] = tokens
    return getattr(diffusers, kind)(transformer=transformer(), **parts)


def hunyuan(kind: str, **sizes: Any) -> Any:
    """Its template is as long as its pipeline counts on where signs are pieces by themselves."""
    transformer = diffusers.HunyuanVideoTransformer3DModel(
        num_layers=3,
        num_single_layers=1,
        num_refiner_layers=1,
        text_embed_dim=16,
        pooled_projection_dim=16,
        rope_axes_dim=(8, 12, 12),
        **{"in_channels": 4, "out_channels": 4, **HEADS, **sizes},
    )
    coder = diffusers.AutoencoderKLHunyuanVideo(
        block_out_channels=(8, 8, 8, 8), latent_channels=4, layers_per_block=1, norm_num_groups=2
    ).eval()
    parts: dict[str, Any] = {"tokenizer": tokenizer(signs=True), "tokenizer_2": tokenizer(), "text_encoder": llava()}
    parts |= {"text_encoder_2": clip(CLIPTextModel), "vae": coder, "scheduler": scheduler()}
    if kind == "HunyuanVideoImageToVideoPipeline":
        parts["image_processor"] = CLIPImageProcessor(size=8, crop_size=8)
    return getattr(diffusers, kind)(transformer=transformer.eval(), **parts)


def hunyuan15(kind: str) -> Any:
    transformer = diffusers.HunyuanVideo15Transformer3DModel(
        num_layers=3,
        num_refiner_layers=1,
        in_channels=9,
        out_channels=4,
        text_embed_dim=16,
        text_embed_2_dim=32,
        image_embed_dim=16,
        rope_axes_dim=(8, 12, 12),
        target_size=EDGE,
        **HEADS,
    )
    coder = diffusers.AutoencoderKLHunyuanVideo15(
        block_out_channels=(8, 8, 8, 8, 8), latent_channels=4, layers_per_block=1
    ).eval()
    parts: dict[str, Any] = {"tokenizer": tokenizer(), "text_encoder": qwen25_vl().model.language_model, "vae": coder}
    parts |= {"tokenizer_2": tokenizer(), "text_encoder_2": t5(), "scheduler": scheduler()}
    parts["guider"] = ClassifierFreeGuidance(guidance_scale=3.0)
    if "Image" in kind:
        sizes = {"intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8}
        parts["image_encoder"] = SiglipVisionModel(SiglipVisionConfig(hidden_size=16, patch_size=4, **sizes)).eval()
        parts["feature_extractor"] = SiglipImageProcessor(size={"height": 8, "width": 8})
    pipe = getattr(diffusers, kind)(transformer=transformer.eval(), **parts)
    pipe.tokenizer_max_length, pipe.tokenizer_2_max_length, pipe.vision_num_semantic_tokens = 24, 8, 4
    pipe.system_message, pipe.prompt_template_encode_start_idx = "system", 4
    return pipe


def ltx(kind: str) -> Any:
    """Its tokens are 16 pixels wide, and its frames four pictures long."""
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=8, out_channels=8, num_layers=3, cross_attention_dim=64, caption_channels=32, **HEADS
    )
    scaled = (True, True, False, False)
    coder = diffusers.AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1,) * 5,
        decoder_layers_per_block=(1,) * 5,
        spatio_temporal_scaling=scaled,
        decoder_spatio_temporal_scaling=scaled,
    ).eval()
    parts: dict[str, Any] = {"tokenizer": tokenizer(), "text_encoder": t5(), "vae": coder, "scheduler": scheduler()}
    return getattr(diffusers, kind)(transformer=transformer.eval(), **parts)


def ltx2(kind: str, newer: bool = False) -> Any:
    """With its sound. newer: 2.3, whose prompt is scaled and shifted, and whose heads have gates."""
    new: dict[str, Any] = {"cross_attn_mod": newer, "audio_cross_attn_mod": newer, "gated_attn": newer}
    new |= {"audio_gated_attn": newer, "use_prompt_embeddings": not newer}
    transformer = diffusers.LTX2VideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        cross_attention_dim=64,
        audio_in_channels=4,
        audio_out_channels=4,
        audio_num_attention_heads=2,
        audio_attention_head_dim=16,
        audio_cross_attention_dim=32,
        num_layers=3,
        caption_channels=16,
        rope_type="split",
        **HEADS,
        **new,
    )
    # All rows behind the prompt's are registers, of which there are eight.
    given: dict[str, Any] = {"caption_channels": 16, "text_proj_in_factor": 3, "connector_rope_base_seq_len": 32}
    for part, width in (("video", 64 if newer else 16), ("audio", 32 if newer else 16)):
        given |= {f"{part}_connector_num_attention_heads": 2, f"{part}_connector_attention_head_dim": width // 2}
        given |= {f"{part}_connector_num_layers": 1, f"{part}_connector_num_learnable_registers": 8}
    given |= {"per_modality_projections": newer, "video_hidden_dim": 64, "audio_hidden_dim": 32}
    coder = diffusers.AutoencoderKLLTX2Video(
        latent_channels=8,
        block_out_channels=(8, 8),
        down_block_types=("LTX2VideoDownBlock3D",) * 2,
        decoder_block_out_channels=(8, 8),
        layers_per_block=(1,) * 3,
        decoder_layers_per_block=(1,) * 3,
        spatio_temporal_scaling=(True, True),
        decoder_spatio_temporal_scaling=(True, True),
        decoder_inject_noise=(False,) * 3,
        downsample_type=("spatiotemporal",) * 2,
        upsample_type=("spatiotemporal",) * 2,
        upsample_residual=(False,) * 2,
        upsample_factor=(1,) * 2,
    ).eval()
    sound = diffusers.AutoencoderKLLTX2Audio(
        base_channels=4, ch_mult=(1,), num_res_blocks=1, resolution=32, latent_channels=2, mel_bins=8
    ).eval()
    speaker = LTX2Vocoder(
        in_channels=16,
        hidden_channels=32,
        upsample_kernel_sizes=[4, 4],
        upsample_factors=[2, 2],
        resnet_kernel_sizes=[3],
        resnet_dilations=[[1, 3, 5]],
    ).eval()
    connectors = LTX2TextConnectors(rope_type="split", **given).eval()
    parts: dict[str, Any] = {"tokenizer": tokenizer("left"), "text_encoder": gemma3(), "connectors": connectors}
    parts |= {"vae": coder, "audio_vae": sound, "vocoder": speaker, "scheduler": scheduler()}
    return getattr(diffusers, kind)(transformer=transformer.eval(), **parts)


class Guard:
    """In the place of Cosmos' guard rails, which have nothing to say of pictures this small."""

    def to(self, _: Any) -> None:
        pass

    def check_text_safety(self, _: str) -> bool:
        return True

    def check_video_safety(self, video: Any) -> Any:
        return video


def cosmos(kind: str) -> Any:
    transformer = diffusers.CosmosTransformer3DModel(
        in_channels=17 if "Video" in kind else 16,
        num_layers=3,
        text_embed_dim=32,
        adaln_lora_dim=16,
        extra_pos_embed_type=None,
        **HEADS,
    )
    parts: dict[str, Any] = {"tokenizer": tokenizer(), "text_encoder": t5(), "vae": wan_vae()}
    parts["scheduler"] = diffusers.FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True)
    return getattr(diffusers, kind)(transformer=transformer.eval(), safety_checker=Guard(), **parts)


EDGE = 64

VIDEO_MAKERS = {
    "CogVideoX": cogvideox,
    "Wan": wan,
    "Lucy": wan,
    "Cosmos2": cosmos,
    "LTX2": ltx2,
    "LTXP": ltx,
    "LTXI": ltx,
    "LTXC": ltx,
    "HunyuanVideo15": hunyuan15,
    "HunyuanVideoP": hunyuan,
    "HunyuanVideoI": hunyuan,
    "HunyuanSkyreels": hunyuan,
}
