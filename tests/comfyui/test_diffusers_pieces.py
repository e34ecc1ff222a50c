"""A concept's own pieces in diffusers' templates, by Qwen's real tokenizer, which comes with ComfyUI."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
from transformers import Qwen2Tokenizer

from conceptattention_core.adapters.diffusers.families import flux2, hunyuan, krea2, qwen, zimage
from conceptattention_core.pieces import template_pieces

TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant"
"""The chat template of Qwen3, less what it says of thinking behind the prompt."""


@pytest.fixture(scope="module")
def tokenizer(comfy: Any) -> Any:
    import comfy.text_encoders

    folder = Path(next(iter(comfy.text_encoders.__path__))) / "qwen25_tokenizer"
    return Qwen2Tokenizer.from_pretrained(folder, chat_template=TURNS)


def bare(kind: str, tokenizer: Any) -> Any:
    """A pipeline without models, with the templates that it makes itself."""
    if kind == "HunyuanVideo15Pipeline":  # which is not made without a VAE
        told = inspect.signature(diffusers.HunyuanVideo15Pipeline._get_mllm_prompt_embeds).parameters
        start, message = (told[name].default for name in ("crop_start", "system_message"))
        return SimpleNamespace(tokenizer=tokenizer, system_message=message, prompt_template_encode_start_idx=start)
    parts: dict[str, Any] = dict.fromkeys(["scheduler", "vae", "text_encoder", "transformer", "processor"])
    if "Edit" not in kind:
        del parts["processor"]
    return getattr(diffusers, kind)(tokenizer=tokenizer, **parts)


READ: dict[str, tuple[Callable[[Any, str], list[int]], int]] = {
    "QwenImagePipeline": (qwen.pieces, 34),
    "QwenImageEditPipeline": (qwen.pieces, 64),
    "QwenImageEditPlusPipeline": (qwen.pieces, 64),
    "Krea2Pipeline": (lambda pipe, text: krea2.pieces(pipe, text, 512), 0),
    "ZImagePipeline": (lambda pipe, text: zimage.pieces(pipe, text, 512), 3),
    "HunyuanVideo15Pipeline": (hunyuan.HunyuanVideo15().pieces, 108),
    "Flux2KleinPipeline": (lambda pipe, text: flux2.pieces(pipe, text, 512), 3),
}


@pytest.mark.parametrize("kind", READ)
def test_own_pieces(kind: str, tokenizer: Any) -> None:
    """They begin where the pipeline cuts its template off, or behind what leads the chat's."""
    pipe = bare(kind, tokenizer)
    read, first = READ[kind]
    assert not kind.startswith(("Qwen", "Hunyuan")) or pipe.prompt_template_encode_start_idx == first
    for name, pieces in {
        "skyscraper": ["sk", "ys", "craper"],
        "light house": ["light", " house"],
        "user": ["user"],
        "家": ["家"],
        "7": ["7"],
        "(cat)": ["(cat", ")"],
    }.items():
        own = template_pieces(lambda text: read(pipe, text), name)
        assert own[0] == first and [tokenizer.decode([read(pipe, name)[at]]) for at in own] == pieces
