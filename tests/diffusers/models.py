"""Tiny random pipelines of every family but FLUX.1: every part is diffusers' or transformers' own, only small."""

from __future__ import annotations

from typing import Any

import diffusers
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BatchEncoding,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLModel,
    T5Config,
    T5EncoderModel,
)

WORDS = ["<pad>", "</s>", "<unk>", "a", "the", "on", "cat", "sofa", "dragon", "rock", "light", "house", "background"]
WORDS += ["ugly", "0", "7", "user", "assistant", "system"]
MARKS = ["<|im_start|>", "<|im_end|>", "<|image_pad|>", "<|vision_start|>", "<|vision_end|>"]
WORDS += MARKS
CHAT = (
    "{% for m in messages %}{{ m.role }} {% if m.content is string %}{{ m.content }}{% else %}"
    "{% for part in m.content %}{{ part.text }}{% endfor %}{% endif %} : {% endfor %}"
    "{% if add_generation_prompt %}assistant{% endif %}"
)
HEADS: dict[str, Any] = {"num_attention_heads": 2, "attention_head_dim": 32}


def tokenizer(side: str = "right") -> PreTrainedTokenizerFast:
    """One piece a word."""
    backend = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(word, "isolated") for word in MARKS] + [pre_tokenizers.WhitespaceSplit()]
    )
    specials = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_max_length=77, padding_side=side, chat_template=CHAT, **specials
    )


def vae(channels: int = 16) -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        latent_channels=channels,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ).eval()


def t5(width: int = 32) -> Any:
    return T5EncoderModel(T5Config(vocab_size=32, d_model=width, d_kv=16, d_ff=37, num_layers=1, num_heads=2)).eval()


def clip() -> Any:
    sizes: dict[str, Any] = {"hidden_size": 16, "projection_dim": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    return CLIPTextModelWithProjection(CLIPTextConfig(vocab_size=32, eos_token_id=1, intermediate_size=20, **sizes))


def qwen3(layers: int) -> Any:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1}
    return Qwen3ForCausalLM(Qwen3Config(vocab_size=32, num_hidden_layers=layers, head_dim=8, **sizes)).eval()


def qwen25_vl() -> Any:
    text = {
        "vocab_size": 32,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
    }
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    tokens = {"image_token_id": 31, "video_token_id": 30, "vision_start_token_id": 29, "vision_end_token_id": 28}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **tokens)
    return Qwen2_5_VLForConditionalGeneration(config).eval()


def qwen3_vl(kind: Any = Qwen3VLModel) -> Any:
    text = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "head_dim": 8}
    text |= {"num_attention_heads": 2, "num_key_value_heads": 1}
    text |= {"rope_scaling": {"mrope_section": [2, 1, 1], "rope_type": "default", "mrope_interleaved": True}}
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    vision |= {"deepstack_visual_indexes": [0]}
    return kind(Qwen3VLConfig(text_config=text, vision_config=vision)).eval()


class Processor:
    """What the Edit pipelines read prompts with; the picture is not looked at."""

    def __call__(self, text: Any, images: Any = None, **more: Any) -> BatchEncoding:
        return tokenizer()(text, **more)


def scheduler() -> Any:
    return diffusers.FlowMatchEulerDiscreteScheduler()


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


MAKERS = {
    "JoyImage": joy_image,
    "HunyuanImage": hunyuan_image,
    "HiDream": hidream,
    "AuraFlow": aura_flow,
    "CogVideoX": cogvideox,
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
    (maker,) = (maker for name, maker in MAKERS.items() if kind.startswith(name))
    if "ControlNet" in kind:
        plain = maker(kind.partition("ControlNet")[0] + "Pipeline")
        net = controlnet(kind)
        fill(net)
        pipe = getattr(diffusers, kind)(**plain.components, controlnet=net.eval())
        if kind.startswith("QwenImage"):
            pipe.prompt_template_encode_start_idx = plain.prompt_template_encode_start_idx
    else:
        pipe = maker(kind, **sizes)
    fill(pipe.transformer)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def fill(model: torch.nn.Module) -> None:
    """What training would begin at zero would hide mistakes."""
    for weight in model.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.2)
