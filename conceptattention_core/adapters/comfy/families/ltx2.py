"""LTX-2: LTX-Video's blocks beside those of its sound; the prompt's pieces go through a connector with registers."""

from __future__ import annotations

import math
from typing import Any

from comfy.model_base import BaseModel
from torch import Tensor

from ....concepts import Concepts
from ....cross import Place
from ..call import Call
from ..pieces import TextEncoder, template_pieces
from .base import is_a, pool_behind
from .ltx import LTXVideo


class LTX2(LTXVideo):
    name = "LTX-2"
    models = "LTX-2 and 2.3, text and image to video, with sound or without"
    text = TextEncoder(
        ("gemma3_12b",),
        "Load LTXV Audio Text Encoder with gemma_3_12B_it and the model's checkpoint",
        template_pieces,
        causal=True,
        escape=False,
    )
    whole_captions = True
    vae = "LTX-2's video VAE (the one inside its checkpoint, by Load Checkpoint)"

    def owns(self, model: BaseModel, dit: Any) -> bool:
        return is_a(model, "comfy.model_base.LTXAV") and is_a(dit, "comfy.ldm.lightricks.av_model.LTXAVModel")

    def context_width(self, dit: Any) -> int:
        if _projected_by_encoder(dit):
            return dit.cross_attention_dim + dit.audio_cross_attention_dim
        return dit.caption_channels

    def tokens(self, call: Call, concepts: Concepts) -> Tensor:
        """Each concept is a prompt of its own through the model's connector: its pieces read each other."""
        dit = call.dit

        def path(rows: Tensor) -> Tensor:
            if _projected_by_encoder(dit):  # the rest is the sound's
                rows = rows[..., : dit.cross_attention_dim]
            if dit.caption_proj_before_connector:
                return dit.video_embeddings_connector(dit.caption_projection(rows))[0]
            return dit.caption_projection(dit.video_embeddings_connector(rows)[0])

        return pool_behind(concepts, call, path)

    def place(self, call: Call, options: dict[str, Any]) -> Place | None:
        # Without its video a block's first text attention is the sound's.
        return super().place(call, options) if options.get("run_vx", True) else None

    def earlier(self, call: Call, queries: int) -> int:
        # The latent is one flat piece where there is sound.
        tokens = math.prod(call.conds["latent_shapes"][0][2:])
        return tokens if tokens == call.text_tokens else 0

    def read(self, call: Call, place: Place, tokens: Tensor, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
        timestep = options["prompt_timestep"]
        if timestep is not None:  # LTX-2.3
            table = call.dit.transformer_blocks[place[0]].prompt_scale_shift_table.to(tokens)
            shift, scale = (table + timestep[call.rows].unflatten(2, (2, -1))).unbind(dim=2)
            tokens = tokens * (1 + scale) + shift
        return super().read(call, place, tokens, options)


def _projected_by_encoder(dit: Any) -> bool:
    """Whether the text encoder hands over rows for the video and the sound beside each other, as LTX-2.3's does."""
    return dit.caption_proj_before_connector and not dit.caption_projection_first_linear
