"""Anima: Cosmos-Predict2's blocks, which read T5's pieces as the model's own adapter makes them of Qwen's rows."""

from __future__ import annotations

from typing import Any

import torch
from comfy.model_base import BaseModel
from torch import Tensor

from ....concepts import Caption, Concepts, pool_tokens
from ..call import Call
from ..pieces import TextEncoder, t5_pieces
from .base import is_a
from .cosmos import CosmosPredict2


class Anima(CosmosPredict2):
    name = "Anima"
    models = "Anima"
    text = TextEncoder(
        ("t5xxl",),
        "CLIPLoader with qwen_3_06b_base",
        t5_pieces,
        beside=frozenset({"qwen3_06b"}),
        numbers=True,
    )
    whole_captions = True
    vae = "Qwen-Image's VAE (Load VAE with qwen_image_vae)"

    def owns(self, model: BaseModel, dit: Any) -> bool:
        return is_a(model, "comfy.model_base.Anima") and is_a(dit, "comfy.ldm.anima.model.Anima")

    def context_width(self, dit: Any) -> int:
        return dit.llm_adapter.blocks[0].cross_attn.context_dim

    def tokens(self, call: Call, concepts: Concepts) -> Tensor:
        # The adapter's pieces read each other and all of Qwen's rows, so each concept is a prompt of its own.
        def one(caption: Caption) -> Tensor:
            rows = caption.tokens[None].to(device=call.device, dtype=call.dtype)
            numbers = torch.tensor([caption.numbers], device=call.device)
            adapted = call.dit.preprocess_text_embeds(rows, numbers)
            return pool_tokens(adapted[0], caption.own, concepts.pooling).to(call.dtype)

        return torch.stack([one(caption) for caption in concepts.captions])[None]
