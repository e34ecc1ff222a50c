"""Parts of tiny random pipelines: every one is diffusers' or transformers' own, only small."""

from __future__ import annotations

from typing import Any

import diffusers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BatchEncoding,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3VLConfig,
    Qwen3VLModel,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
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


def tokenizer(side: str = "right", signs: bool = False) -> PreTrainedTokenizerFast:
    """One piece a word. signs: punctuation by itself."""
    backend = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(word, "isolated") for word in MARKS]
        + [pre_tokenizers.Whitespace() if signs else pre_tokenizers.WhitespaceSplit()]
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


def umt5(width: int = 32) -> Any:
    sizes = {"d_kv": 16, "d_ff": 37, "num_layers": 1, "num_heads": 2}
    return UMT5EncoderModel(UMT5Config(vocab_size=32, d_model=width, **sizes)).eval()


def clip(kind: Any = CLIPTextModelWithProjection) -> Any:
    sizes: dict[str, Any] = {"hidden_size": 16, "projection_dim": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    return kind(CLIPTextConfig(vocab_size=32, eos_token_id=1, intermediate_size=20, **sizes))


def qwen3(layers: int) -> Any:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1}
    return Qwen3ForCausalLM(Qwen3Config(vocab_size=32, num_hidden_layers=layers, head_dim=8, **sizes)).eval()


def gemma3() -> Any:
    text = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    config = Gemma3Config(
        text_config={"vocab_size": 32, "num_hidden_layers": 2, "head_dim": 8, **text},
        vision_config={"image_size": 8, "patch_size": 4, **vision},
    )
    return Gemma3ForConditionalGeneration(config).eval()


def llava() -> Any:
    text = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2}
    config = LlavaConfig(
        text_config=LlamaConfig(vocab_size=32, num_hidden_layers=3, **text),
        vision_config=CLIPVisionConfig(image_size=8, patch_size=4, **vision),
    )
    return LlavaForConditionalGeneration(config).eval()


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
