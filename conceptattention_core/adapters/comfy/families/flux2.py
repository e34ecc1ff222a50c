"""FLUX.2 dev and Klein: Flux's blocks with one modulation for all of them, and text that has places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy.model_base import BaseModel

from ....concepts import Caption, Concepts
from ..call import Call
from ..pieces import TextEncoder, template_pieces
from .base import is_a
from .flux import FLUX, FluxFamily, text_stream

CONTEXT_TOKENS = 512
"""ComfyUI puts zeros before a shorter conditioning, which moves the text's places towards the end."""


class Flux2(FluxFamily):
    name = "FLUX.2"
    models = "dev, Klein 4B and 9B, with reference pictures"
    text = TextEncoder(
        ("mistral3_24b", "qwen3_4b", "qwen3_8b"), "CLIPLoader with type 'flux2'", template_pieces, causal=True
    )
    # The authors' choices: the last three of dev's eight double blocks, and a temperature of 1000.
    default_blocks = (-3, -1)
    temperature = 1000.0
    vae = "FLUX.2's VAE (Load VAE with flux2-vae.safetensors)"

    def owns(self, model: BaseModel, dit: Any) -> bool:
        return is_a(dit, FLUX) and dit.params.global_modulation

    def place(self, caption: Caption, call: Call) -> float:
        padded = min(CONTEXT_TOKENS, call.text_tokens)
        return caption.position + max(0, padded - caption.length)

    def stream(self, call: Call, concepts: Concepts) -> Callable[[int], Any]:
        shared = call.dit.double_stream_modulation_txt(self.vector(call))
        rotate = self.own_places(call, concepts)
        return lambda index: text_stream(call.dit.double_blocks[index], shared, rotate)
