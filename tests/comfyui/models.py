"""A small text encoder of Flux's kind, and models of other families, built by ComfyUI itself."""

from __future__ import annotations

from typing import Any

import torch

from .graphs import TINY


def text_encoder(context_dim: int = TINY["context_in_dim"]) -> Any:
    """ComfyUI's own Flux CLIP (tokenizers, T5, CLIP-L), two layers small, with random weights."""
    import comfy.sd
    import comfy.text_encoders.flux
    from comfy.supported_models_base import ClipTarget

    t5 = {"d_model": context_dim, "d_ff": 64, "d_kv": 16, "num_heads": 2, "num_layers": 2}
    clip_l = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2}
    clip = comfy.sd.CLIP(
        ClipTarget(comfy.text_encoders.flux.FluxTokenizer, comfy.text_encoders.flux.flux_clip()),
        model_options={"t5xxl_model_config": t5, "clip_l_model_config": clip_l, "dtype": torch.float32},
    )
    generator = torch.Generator().manual_seed(0)
    for weight in clip.cond_stage_model.parameters():
        x = torch.randn(weight.shape, generator=generator)
        weight.data = 1 + 0.1 * x if weight.ndim < 2 else x / weight.shape[-1] ** 0.5
    return clip


def other_model(family: str) -> Any:
    """A real MODEL of another family, as ComfyUI builds it, as small as it gets."""
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models as supported

    unet = {
        "image_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": 64,
        "num_res_blocks": [1],
        "channel_mult": [1],
        "transformer_depth": [1],
        "transformer_depth_middle": 1,
        "transformer_depth_output": [1, 1],
        "use_spatial_transformer": True,
        "use_temporal_attention": False,
    }
    xl = {
        **unet,
        "context_dim": 2048,
        "num_head_channels": 32,
        "use_linear_in_transformer": True,
        "adm_in_channels": 2816,
        "num_classes": "sequential",
    }
    dit = {"in_channels": 16, "out_channels": 16, "depth": 1, "patch_size": 2}
    double_single = {
        **dit,
        "context_in_dim": 32,
        "hidden_size": 128,
        "num_heads": 1,
        "mlp_ratio": 4.0,
        "depth_single_blocks": 1,
        "theta": 10000,
        "qkv_bias": True,
    }
    configs = {
        "SD15": {
            **unet,
            "context_dim": 768,
            "num_heads": 8,
            "use_linear_in_transformer": False,
            "adm_in_channels": None,
        },
        "SDXL": xl,
        "SDXLRefiner": {**xl, "context_dim": 1280, "adm_in_channels": 2560},
        "SD21UnclipL": {**xl, "context_dim": 1024, "adm_in_channels": 1536},
        "SD3": {**dit, "pos_embed_max_size": 8, "num_patches": 64, "input_size": None, "adm_in_channels": 32},
        "Flux2": {
            **double_single,
            "image_model": "flux2",
            "vec_in_dim": None,
            "axes_dim": [32, 32, 32, 32],
            "guidance_embed": True,
            "global_modulation": True,
            "mlp_silu_act": True,
            "txt_ids_dims": [3],
        },
        "Chroma": {
            **double_single,
            "image_model": "chroma",
            "axes_dim": [16, 56, 56],
            "in_dim": 64,
            "out_dim": 128,
            "hidden_dim": 128,
            "n_layers": 1,
            "txt_ids_dims": [],
            "vec_in_dim": None,
        },
    }
    config = getattr(supported, family)(configs[family])
    return comfy.model_patcher.ModelPatcher(config.get_model({}), torch.device("cpu"), torch.device("cpu"))
