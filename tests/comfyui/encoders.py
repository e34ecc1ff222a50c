"""ComfyUI's own text encoder of each family, with its own tokenizer: three small layers with random weights.

Qwen's, T5's, CLIP's and Llama's vocabularies come with ComfyUI. Mistral's (FLUX.2 dev), Gemma's (Lumina 2, PixelDiT,
LTX-2), UMT5's (Wan) and GPT-OSS's (Lens) come with checkpoints: for those, ComfyUI's classes are given Qwen's or
Pile-T5's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

WIDTH = 16
LLM = {
    "hidden_size": WIDTH,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
CLIP = {"hidden_size": WIDTH, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 3}
T5 = {"d_model": WIDTH, "d_ff": 32, "d_kv": 8, "num_heads": 2, "num_layers": 3}
LLMS = (
    *("qwen3_06b", "qwen3_2b", "qwen3_4b", "qwen3_8b", "qwen3vl_4b", "qwen3vl_8b"),
    *("gemma2_2b", "gemma3_12b"),
)
OPTIONS = {
    "dtype": torch.float32,
    **{f"{name}_model_config": LLM for name in LLMS},
    # Hunyuan's conditioning is the third layer from the end, which may not be the first.
    **{f"{name}_model_config": {**LLM, "num_hidden_layers": 4} for name in ("qwen25_7b", "llama")},
    "mistral3_24b_model_config": {**LLM, "vocab_size": 152064},
    **{f"{name}_model_config": T5 for name in ("t5xxl", "pile_t5xl", "umt5xxl")},
    **{f"{name}_model_config": CLIP for name in ("clip_l", "clip_g", "clip_h")},
    "gpt_oss_config": {**LLM, "head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1},
    "selected_layers": (0, 2),
}


def encoder(name: str) -> Any:
    """The CLIP that ComfyUI's loaders make for a family, by its name in `TARGETS`."""
    import comfy.sd
    from comfy.supported_models_base import ClipTarget

    with small():
        tokenizer, make, data = TARGETS[name]()
        target = ClipTarget(tokenizer, lambda **arguments: fill(make(**arguments)))
        return comfy.sd.CLIP(target, tokenizer_data=data, model_options=dict(OPTIONS))


def fill(model: nn.Module) -> nn.Module:
    """Random weights, some of which layers that may be quantised do not have before a checkpoint is loaded."""
    layers = {at: module._orig_shape for at, module in model.named_modules() if hasattr(module, "_orig_shape")}
    model.load_state_dict({f"{at}.weight": torch.empty(shape) for at, shape in layers.items()}, strict=False)
    generator = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        x = torch.randn(weight.shape, generator=generator)
        weight.data = 1 + 0.1 * x if weight.ndim < 2 else x / weight.shape[-1] ** 0.5
    return model


class Blind(nn.Module):
    """In place of an encoder's vision half, whose size is fixed, and which no prompt of words goes through."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()


@contextmanager
def small() -> Iterator[None]:
    """ComfyUI's encoders without their vision halves, and Qwen's vocabulary loaded once."""
    from comfy.text_encoders import qwen3vl, qwen_vl
    from transformers import Qwen2Tokenizer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qwen_vl, "Qwen2VLVisionTransformer", Blind)
        patch.setattr(qwen3vl, "Qwen3VLVisionModel", Blind)
        patch.setattr(Qwen2Tokenizer, "from_pretrained", load_qwen)
        yield


def vocabulary(name: str) -> Path:
    return Path(import_module("comfy.text_encoders.llama").__file__).parent / name


@cache
def load_qwen(*_: Any, special: tuple[str, ...] = (), **__: Any) -> Any:
    """Qwen's tokenizer, with other special pieces besides."""
    from transformers import Qwen2Tokenizer

    real = super(Qwen2Tokenizer, Qwen2Tokenizer).from_pretrained  # that of the class itself is this one
    tokenizer = real(str(vocabulary("qwen25_tokenizer")))
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    return tokenizer


Target = tuple[type, Callable[..., nn.Module], dict[str, Any]]
"""Tokenizer, model, and what the tokenizer would be given from a checkpoint."""


def of(
    file: str,
    tokenizer: str,
    make: Callable[[Any], Callable[..., nn.Module]],
    folder: str = "comfy.text_encoders",
    **data: Any,
) -> Target:
    module = import_module(f"{folder}.{file}")
    return getattr(module, tokenizer), make(module), data


def tapped(make: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """An encoder whose conditioning is several layers beside each other: the three that there are."""

    def build(**arguments: Any) -> nn.Module:
        model = make(**arguments)
        inner = getattr(model, model.clip)
        inner.layer = [0, 1, 2]
        inner.options_default = (inner.layer, *inner.options_default[1:])
        return model

    return build


def projected(make: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """An encoder that projects all of its layers beside each other: here the three and what goes in, not 49 of 3840."""

    def build(**arguments: Any) -> nn.Module:
        options = {**arguments.pop("model_options"), "_model_config": LLM}  # this encoder is told no name
        model = make(**arguments, model_options=options)
        model.gemma3_12b.transformer.vision_model = Blind()
        model.text_embedding_projection = nn.Linear(4 * WIDTH, WIDTH, bias=False)
        return model

    return build


def mistral() -> Target:
    """FLUX.2 dev. ComfyUI's loader of Mistral's vocabulary does not run with transformers 5.24."""
    from comfy.sd1_clip import SDTokenizer

    class Tokenizers:
        @staticmethod
        def from_pretrained(*_: Any, **__: Any) -> Any:
            return load_qwen(special=("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[INST]", "[/INST]"))

    class Mistral(SDTokenizer):
        def __init__(self, **_: Any) -> None:
            settings = {"pad_with_end": False, "has_end_token": False, "pad_to_max_length": False, "pad_left": True}
            numbers = {"pad_token": 11, "start_token": 1, "max_length": 99999999, "min_length": 1}
            super().__init__("", tokenizer_class=Tokenizers, disable_weights=True, **settings, **numbers)

    return of("flux", "Flux2Tokenizer", lambda file: tapped(file.flux2_te()), mistral3_24b_tokenizer_class=Mistral)


def lens() -> Target:
    special = ("<|start|>", "<|message|>", "<|channel|>", "<|end|>")
    json = load_qwen(special=special).backend_tokenizer.to_str().encode()
    return of("gpt_oss", "LensTokenizer", lambda file: file.lens_te(), tokenizer_json=json)


def qwen_for_hunyuan() -> Callable[..., nn.Module]:
    """Without the encoder of quoted text, which stands beside it in the model."""
    return import_module("comfy.text_encoders.hunyuan_image").te(byt5=False)


def piled(file: str, tokenizer: str, make: Callable[[Any], Callable[..., nn.Module]]) -> Target:
    return of(file, tokenizer, make, spiece_model=vocabulary("t5_pile_tokenizer/tokenizer.model").read_bytes())


TARGETS: dict[str, Callable[[], Target]] = {
    "flux": lambda: of("flux", "FluxTokenizer", lambda file: file.flux_clip()),
    "longcat": lambda: of("longcat_image", "LongCatImageTokenizer", lambda file: file.te()),
    "ovis": lambda: of("ovis", "OvisTokenizer", lambda file: file.te()),
    "flux2_dev": mistral,
    "klein_4b": lambda: of("flux", "KleinTokenizer", lambda file: tapped(file.klein_te())),
    "klein_8b": lambda: of("flux", "KleinTokenizer8B", lambda file: tapped(file.klein_te(model_type="qwen3_8b"))),
    "chroma": lambda: of("pixart_t5", "PixArtTokenizer", lambda file: file.pixart_te()),
    "qwen_image": lambda: of("qwen_image", "QwenImageTokenizer", lambda file: file.te()),
    "mage": lambda: of("mage_flow", "MageFlowTokenizer", lambda file: file.te()),
    "sd3": lambda: of("sd3_clip", "SD3Tokenizer", lambda file: file.sd3_clip()),
    "sd3_clips": lambda: of("sd3_clip", "SD3Tokenizer", lambda file: file.sd3_clip(t5=False)),
    "hidream": lambda: of("hidream", "HiDreamTokenizer", lambda file: file.hidream_clip()),
    "aura": lambda: of("aura_t5", "AuraT5Tokenizer", lambda file: file.AuraT5Model),
    "boogu": lambda: of("boogu", "BooguTokenizer", lambda file: file.te()),
    "lens": lens,
    "joy": lambda: of("joyimage", "JoyImageTokenizer", lambda file: file.te()),
    "pixeldit": lambda: piled("pixeldit", "PixelDiTGemma2Tokenizer", lambda file: file.pixeldit_te()),
    "zimage": lambda: of("z_image", "ZImageTokenizer", lambda file: file.te()),
    "lumina2": lambda: piled("lumina2", "LuminaTokenizer", lambda file: file.te()),
    "krea2": lambda: of("krea2", "Krea2Tokenizer", lambda file: tapped(file.te())),
    "sdxl": lambda: of("sdxl_clip", "SDXLTokenizer", lambda file: file.SDXLClipModel, "comfy"),
    "sd1": lambda: of("sd1_clip", "SD1Tokenizer", lambda file: file.SD1ClipModel, "comfy"),
    "wan": lambda: piled("wan", "WanT5Tokenizer", lambda file: file.te()),
    "ltxv": lambda: of("lt", "LTXVT5Tokenizer", lambda file: file.ltxv_te()),
    "ltxav": lambda: piled("lt", "LTXAVGemmaTokenizer", lambda file: projected(file.ltxav_te())),
    "cogvideo": lambda: of("cogvideo", "CogVideoXTokenizer", lambda file: file.cogvideo_te()),
    "cosmos": lambda: of("cosmos", "CosmosT5Tokenizer", lambda file: file.te()),
    "anima": lambda: of("anima", "AnimaTokenizer", lambda file: file.te()),
    "hunyuan_video": lambda: of("hunyuan_video", "HunyuanVideoTokenizer", lambda file: file.hunyuan_video_clip()),
    "hunyuan_video15": lambda: of("hunyuan_video", "HunyuanVideo15Tokenizer", lambda _: qwen_for_hunyuan()),
    "hunyuan_image": lambda: of("hunyuan_image", "HunyuanImageTokenizer", lambda file: file.te(byt5=False)),
    "sd2": lambda: of("sd2_clip", "SD2Tokenizer", lambda file: file.SD2ClipModel),
}
