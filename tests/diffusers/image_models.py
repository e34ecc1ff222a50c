"""Tiny random pipelines of image families, beside those of `models.py`: every part is the host's own, only small."""

from __future__ import annotations

from typing import Any

import diffusers
import torch
from diffusers.modular_pipelines.anima.modular_blocks_anima import AnimaAutoBlocks
from transformers import CLIPTextModel, LlamaConfig, LlamaForCausalLM, Qwen3VLForConditionalGeneration

from .parts import HEADS, Processor, clip, qwen3, qwen3_vl, qwen25_vl, scheduler, t5, tokenizer, vae


def aura_flow(kind: str) -> Any:
    transformer = diffusers.AuraFlowTransformer2DModel(
        sample_size=8,
        num_mmdit_layers=3,
        num_single_dit_layers=1,
        joint_attention_dim=32,
        caption_projection_dim=64,
        pos_embed_max_size=64,
        **HEADS,
    )
    # Louder, or a few words between eight registers do not lead the picture anywhere.
    torch.nn.init.normal_(transformer.context_embedder.weight)
    for block in transformer.joint_transformer_blocks:
        torch.nn.init.normal_(block.norm1.linear.weight, std=0.5)
        torch.nn.init.normal_(block.norm1_context.linear.weight, std=0.5)
    texts = {"tokenizer": tokenizer(), "text_encoder": t5()}
    return getattr(diffusers, kind)(transformer=transformer.eval(), vae=vae(4), scheduler=scheduler(), **texts)


def hidream(kind: str) -> Any:
    transformer = diffusers.HiDreamImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        num_layers=3,
        num_single_layers=1,
        caption_channels=[32, 16],
        text_emb_dim=32,
        axes_dims_rope=(8, 12, 12),
        max_resolution=(16, 16),
        llama_layers=[0, 1, 1, 1],
        **HEADS,
    )
    words = {f"tokenizer{number}": tokenizer() for number in ("", "_2", "_3", "_4")}
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    texts = {"text_encoder": clip(), "text_encoder_2": clip(), "text_encoder_3": t5()}
    texts["text_encoder_4"] = LlamaForCausalLM(LlamaConfig(vocab_size=32, **sizes)).eval()
    pipe = getattr(diffusers, kind)(
        transformer=transformer.eval(), vae=vae(), scheduler=scheduler(), **words, **texts
    )
    pipe.default_sample_size = 9.9  # it brings every picture to so many latent cells, squared
    return pipe


def hunyuan_image(kind: str) -> Any:
    transformer = diffusers.HunyuanImageTransformer2DModel(
        in_channels=16,
        out_channels=16,
        num_layers=3,
        num_single_layers=1,
        num_refiner_layers=1,
        text_embed_dim=16,
        text_embed_2_dim=32,
        guidance_embeds=True,
        use_meanflow=True,
        rope_axes_dim=(16, 16),
        **HEADS,
    )
    coder = diffusers.AutoencoderKLHunyuanImage(
        in_channels=3,
        out_channels=3,
        latent_channels=16,
        block_out_channels=(32,) * 6,
        layers_per_block=1,
        spatial_compression_ratio=32,
        sample_size=128,
        scaling_factor=0.75,
    ).eval()
    texts = {"tokenizer": tokenizer(), "text_encoder": qwen25_vl(), "tokenizer_2": tokenizer(), "text_encoder_2": t5()}
    pipe = getattr(diffusers, kind)(
        transformer=transformer.eval(),
        vae=coder,
        scheduler=scheduler(),
        guider=diffusers.AdaptiveProjectedMixGuidance(),
        **texts,
    )
    pipe.prompt_template_encode_start_idx = len(tokenizer()(pipe.prompt_template_encode.partition("{}")[0]).input_ids)
    pipe.tokenizer_max_length = 24
    return pipe


def joy_image(kind: str) -> Any:
    name = "JoyImageEditPlusTransformer3DModel" if "Plus" in kind else "JoyImageEditTransformer3DModel"
    sizes = {"hidden_size": 64, "num_attention_heads": 2, "text_dim": 16, "num_layers": 3}
    transformer = getattr(diffusers, name)(rope_dim_list=[8, 12, 12], **sizes)
    coder = diffusers.AutoencoderKLWan(base_dim=8, z_dim=16, num_res_blocks=1).eval()
    texts = {"tokenizer": tokenizer(), "text_encoder": qwen3_vl(Qwen3VLForConditionalGeneration)}
    pipe = getattr(diffusers, kind)(
        transformer=transformer.eval(), vae=coder, scheduler=scheduler(), processor=Processor(), **texts
    )
    leading = tokenizer()(pipe.prompt_template_encode["multiple_images"].partition("{}")[0] + " <|im_start|>user ")
    pipe.prompt_template_encode_start_idx = dict.fromkeys(pipe.prompt_template_encode, len(leading.input_ids))
    # They bring every picture to a million pixels.
    processor = pipe.image_processor if "Plus" in kind else pipe.vae_image_processor
    processor.get_default_height_width = lambda image, height=None, width=None: (height or 64, width or 64)
    return pipe


def sdxl(kind: str) -> Any:
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        sample_size=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(1, 2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 1, 2),
        projection_class_embeddings_input_dim=64,
        cross_attention_dim=32,
        norm_num_groups=8,
    )
    words = {"tokenizer": tokenizer(), "tokenizer_2": tokenizer()}
    texts = {"text_encoder": clip(CLIPTextModel).eval(), "text_encoder_2": clip().eval()}
    return getattr(diffusers, kind)(unet=unet.eval(), vae=vae(4), scheduler=euler(), **words, **texts)


def sd1(kind: str) -> Any:
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(16, 32),
        layers_per_block=1,
        sample_size=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=2,
        cross_attention_dim=16,
        norm_num_groups=8,
    )
    texts = {"tokenizer": tokenizer(), "text_encoder": clip(CLIPTextModel).eval()}
    none = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return getattr(diffusers, kind)(unet=unet.eval(), vae=vae(4), scheduler=euler(), **texts, **none)


def anima(kind: str) -> Any:
    transformer = diffusers.CosmosTransformer3DModel(
        in_channels=16,
        out_channels=16,
        num_layers=3,
        mlp_ratio=2,
        text_embed_dim=32,
        adaln_lora_dim=4,
        max_size=(4, 32, 32),
        rope_scale=(1.0, 1.0, 1.0),
        extra_pos_embed_type=None,
        **HEADS,
    )
    sizes = {"num_layers": 2, "num_attention_heads": 2, "target_vocab_size": 32, "min_sequence_length": 8}
    conditioner = diffusers.AnimaTextConditioner(source_dim=16, target_dim=32, model_dim=32, **sizes)
    coder = diffusers.AutoencoderKLQwenImage(base_dim=8, dim_mult=[1, 1, 1, 1], num_res_blocks=1).eval()
    texts = {"text_encoder": qwen3(2).model, "tokenizer": tokenizer(), "t5_tokenizer": tokenizer()}
    pipe = AnimaAutoBlocks().init_pipeline()
    pipe.update_components(
        transformer=transformer.eval(),
        text_conditioner=conditioner.eval(),
        vae=coder,
        scheduler=scheduler(),
        **texts,
    )
    return pipe


def euler() -> Any:
    return diffusers.EulerDiscreteScheduler(timestep_spacing="leading", steps_offset=1)


IMAGE_MAKERS = {
    "StableDiffusionXL": sdxl,
    "StableDiffusion": sd1,
    "Anima": anima,
    "AuraFlow": aura_flow,
    "HiDream": hidream,
    "HunyuanImage": hunyuan_image,
    "JoyImage": joy_image,
}
