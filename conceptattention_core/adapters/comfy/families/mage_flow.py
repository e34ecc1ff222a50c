"""Mage-Flow: Qwen-Image's blocks, one latent cell a token, and text without places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy.model_base import BaseModel
from torch import Tensor

from ....concepts import Concepts
from ....stream import ModulatedBlock
from ..call import Call
from ..pieces import TextEncoder, template_pieces
from .base import is_a
from .qwen import QwenImage, text_stream


class MageFlow(QwenImage):
    name = "Mage-Flow"
    models = "Mage-Flow, with reference pictures"
    text = TextEncoder(("qwen3vl_4b",), "CLIPLoader with type 'mage'", template_pieces, causal=True)
    default_blocks = (0, -1)
    frames = False
    vae = "Mage-Flow's VAE"

    def owns(self, model: BaseModel, dit: Any) -> bool:
        return is_a(dit, "comfy.ldm.mage_flow.model.MageFlowTransformer2DModel")

    def patch(self, dit: Any) -> int:
        return 1

    def stream(self, call: Call, concepts: Concepts) -> Callable[[int], ModulatedBlock]:
        vec = call.dit.time_text_embed(call.timestep(), call.x[:0].to(call.dtype))
        return lambda index: text_stream(call.dit.transformer_blocks[index], vec, unmoved)


def unmoved(x: Tensor) -> Tensor:
    """Text stands at 0, where the rotary embedding is the identity."""
    return x
