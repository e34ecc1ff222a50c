"""Tiny random pipelines of every family but FLUX.1: every part is diffusers' or transformers' own, only small."""

from __future__ import annotations

from typing import Any

import diffusers
import torch

from conceptattention_core.adapters.diffusers.families import denoisers

from .image_models import IMAGE_MAKERS
from .parts import HEADS, Processor, clip, qwen3, qwen3_vl, qwen25_vl, scheduler, t5, tokenizer, vae
from .video_models import VIDEO_MAKERS


def sd3(kind: str, pag_applied_layers: Any = None, **sizes: Any) -> Any:
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8,
        num_layers=3,
        joint_attention_dim=32,
        caption_projection_dim=64,
        pooled_projection_dim=32,
        pos_embed_max_size=16,
        **{**HEADS, "qk_norm": "rms_norm", "dual_attention_layers": (0, 1), **sizes},
    )
    words = tokenizer()
    texts = {"tokenizer": words, "tokenizer_2": words, "tokenizer_3": words, "text_encoder": clip()}
    texts |= {"text_encoder_2": clip(), "text_encoder_3": t5()}
    if pag_applied_layers is not None:
        texts["pag_applied_layers"] = pag_applied_layers
    return getattr(diffusers, kind)(transformer=transformer.eval(), vae=vae(), scheduler=scheduler(), **texts)


def chroma(kind: str) -> Any:
    transformer = diffusers.ChromaTransformer2DModel(
        num_layers=3,
        num_single_layers=1,
        joint_attention_dim=32,
        axes_dims_rope=(8, 12, 12),
        approximator_hidden_dim=32,
        approximator_layers=1,
        **HEADS,
    )
    texts = {"tokenizer": tokenizer(), "text_encoder": t5()}
    return getattr(diffusers, kind)(transformer=transformer.eval(), vae=vae(), scheduler=scheduler(), **texts)


def flux2(kind: str) -> Any:
    klein = "Klein" in kind
    transformer = diffusers.Flux2Transformer2DModel(
        in_channels=64,
        num_layers=3,
        num_single_layers=1,
        joint_attention_dim=48,
        axes_dims_rope=(8, 8, 8, 8),
        guidance_embeds=not klein,
        **HEADS,
    )
    coder = diffusers.AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8), layers_per_block=1, latent_channels=16, norm_num_groups=4
    ).eval()
    coder.bn.running_mean.uniform_(-1, 1)
    coder.bn.running_var.uniform_(0.5, 2)
    texts = {"tokenizer": tokenizer("right" if klein else "left"), "text_encoder": qwen3(28 if klein else 31)}
    pipe = getattr(diffusers, kind)(transformer=transformer.eval(), vae=coder, scheduler=scheduler(), **texts)
    if not klein:
        pipe.system_message = "system"
    return pipe


def qwen(kind: str) -> Any:
    transformer = diffusers.QwenImageTransformer2DModel(
        out_channels=16,
        num_layers=3,
        joint_attention_dim=16,
        axes_dims_rope=(8, 12, 12),
        zero_cond_t="Plus" in kind,
        **HEADS,
    )
    coder = diffusers.AutoencoderKLQwenImage(base_dim=8, dim_mult=[1, 1, 1, 1], num_res_blocks=1).eval()
    parts: dict[str, Any] = {"tokenizer": tokenizer(), "text_encoder": qwen25_vl()}
    if "Edit" in kind:
        parts["processor"] = Processor()
    pipe = getattr(diffusers, kind)(transformer=transformer.eval(), vae=coder, scheduler=scheduler(), **parts)
    # In this vocabulary, what leads the template is of another length.
    leading = pipe.prompt_template_encode.partition("{}")[0].replace("<|vision_start|><|image_pad|><|vision_end|>", "")
    pipe.prompt_template_encode_start_idx = len(tokenizer()(leading).input_ids)
    return pipe


def zimage(kind: str, n_layers: int = 3) -> Any:
    transformer = diffusers.ZImageTransformer2DModel(
        dim=64,
        n_layers=n_layers,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[8, 12, 12],
        axes_lens=[256, 32, 32],
    )
    texts = {"tokenizer": tokenizer(), "text_encoder": qwen3(2)}
    return getattr(diffusers, kind)(transformer=transformer.eval(), vae=vae(), scheduler=scheduler(), **texts)


def krea2(kind: str) -> Any:
    transformer = diffusers.Krea2Transformer2DModel(
        num_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        attention_head_dim=32,
        intermediate_size=64,
        text_hidden_dim=16,
        num_text_layers=2,
        text_num_attention_heads=2,
        text_num_key_value_heads=2,
        text_intermediate_size=16,
        num_layerwise_text_blocks=1,
        num_refiner_text_blocks=1,
        axes_dims_rope=(8, 12, 12),
    )
    coder = diffusers.AutoencoderKLQwenImage(base_dim=8, dim_mult=[1, 1, 1, 1], num_res_blocks=1).eval()
    layers = {"text_encoder_select_layers": (1, 2)}
    texts = {"tokenizer": tokenizer(), "text_encoder": qwen3_vl()}
    pipe = getattr(diffusers, kind)(
        transformer=transformer.eval(), vae=coder, scheduler=scheduler(), **texts, **layers
    )
    pipe.prompt_template_encode_start_idx = len(tokenizer()(pipe.prompt_template_encode_prefix).input_ids)
    pipe.prompt_template_encode_num_suffix_tokens = len(tokenizer()(pipe.prompt_template_encode_suffix).input_ids)
    return pipe


def longcat(kind: str) -> Any:
    transformer = diffusers.LongCatImageTransformer2DModel(
        num_layers=3, num_single_layers=1, joint_attention_dim=16, axes_dims_rope=[8, 12, 12], **HEADS
    )
    texts = {"tokenizer": tokenizer(), "text_encoder": qwen25_vl(), "text_processor": Processor()}
    pipe = getattr(diffusers, kind)(transformer=transformer.eval(), vae=vae(), scheduler=scheduler(), **texts)
    pipe.tokenizer_max_length = 24
    return pipe


def ovis(kind: str) -> Any:
    transformer = diffusers.OvisImageTransformer2DModel(
        num_layers=3, num_single_layers=1, joint_attention_dim=16, axes_dims_rope=(8, 12, 12), **HEADS
    )
    texts = {"tokenizer": tokenizer(), "text_encoder": qwen3(2).model}
    pipe = getattr(diffusers, kind)(transformer=transformer.eval(), vae=vae(), scheduler=scheduler(), **texts)
    pipe.user_prompt_begin_id = len(tokenizer()(f"user {pipe.system_prompt}").input_ids)
    return pipe


def lumina2(kind: str) -> Any:
    transformer = diffusers.Lumina2Transformer2DModel(
        hidden_size=64,
        num_layers=3,
        num_refiner_layers=1,
        num_attention_heads=4,
        num_kv_heads=2,
        multiple_of=16,
        cap_feat_dim=16,
        axes_dim_rope=(4, 6, 6),
        axes_lens=(256, 32, 32),
    )
    texts = {"tokenizer": tokenizer(), "text_encoder": qwen3(2)}
    pipe = getattr(diffusers, kind)(transformer=transformer.eval(), vae=vae(), scheduler=scheduler(), **texts)
    pipe.system_prompt = "system"
    return pipe


MAKERS = {
    **VIDEO_MAKERS,
    **IMAGE_MAKERS,
    "Lumina2": lumina2,
    "LongCat": longcat,
    "Ovis": ovis,
    "StableDiffusion3": sd3,
    "Chroma": chroma,
    "Flux2": flux2,
    "QwenImage": qwen,
    "ZImage": zimage,
    "Krea2": krea2,
}


def controlnet(kind: str) -> Any:
    """The control net that belongs to the tiny model of this family."""
    if kind.startswith("StableDiffusion3"):
        sizes = {"caption_projection_dim": 64, "pooled_projection_dim": 32, "pos_embed_max_size": 16}
        sizes["extra_conditioning_channels"] = 1 if "Inpaint" in kind else 0  # the mask's
        return diffusers.SD3ControlNetModel(sample_size=8, num_layers=1, joint_attention_dim=32, **sizes, **HEADS)
    if kind.startswith("QwenImage"):
        extra = 4 if "Inpaint" in kind else 0  # the mask's channels
        sizes = {"joint_attention_dim": 16, "axes_dims_rope": (8, 12, 12), "extra_condition_channels": extra}
        return diffusers.QwenImageControlNetModel(num_layers=1, **sizes, **HEADS)
    places: dict[str, Any] = {"control_layers_places": [0, 2], "control_refiner_layers_places": [0]}
    sizes = {"dim": 64, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2, "control_in_dim": 16}
    if "Inpaint" in kind:
        sizes["control_in_dim"] = 33  # control, mask and picture
    return diffusers.ZImageControlNetModel(add_control_noise_refiner="control_noise_refiner", **places, **sizes)


def make(kind: str, **sizes: Any) -> Any:
    """A pipeline of this class, its weights drawn anew and alike."""
    torch.manual_seed(1)
    maker = MAKERS[max((name for name in MAKERS if kind.startswith(name)), key=len)]
    if "ControlNet" in kind:
        plain = maker(kind.partition("ControlNet")[0] + "Pipeline")
        unet = plain.components.get("unet")
        net = controlnet(kind) if unet is None else diffusers.ControlNetModel.from_unet(unet)
        fill(net)
        pipe = getattr(diffusers, kind)(**plain.components, controlnet=net.eval())
        if kind.startswith("QwenImage"):
            pipe.prompt_template_encode_start_idx = plain.prompt_template_encode_start_idx
    else:
        pipe = maker(kind, **sizes)
    for model in denoisers(pipe):
        fill(model)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def fill(model: torch.nn.Module) -> None:
    """What training would begin at zero would hide mistakes."""
    for weight in model.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.2)
