"""Anima: Cosmos-Predict2's blocks, which read T5's pieces as a conditioner of its own makes them of Qwen's rows."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....concepts import Caption
from ..pieces import own_rows, t5_pieces
from .base import no_text_encoder
from .cosmos import CosmosPredict2


class Anima(CosmosPredict2):
    name = "Anima"
    pipelines = ("AnimaModularPipeline",)
    only_listed = True  # its transformer is Cosmos-Predict2's own class
    steps = 50

    def caption(self, pipe: Any, name: str, max_sequence_length: int) -> Caption:
        if pipe.text_encoder is None or pipe.tokenizer is None or pipe.text_conditioner is None:
            raise ValueError(no_text_encoder("Qwen3 or no text conditioner (`text_encoder`, `text_conditioner`)"))
        return own_rows(rows_of(pipe, name, max_sequence_length)[0], t5_pieces(pipe.t5_tokenizer, name))

    def prompt(self, pipe: Any, text: str, count: int, max_sequence_length: int) -> dict[str, Any]:
        return {"encoder_hidden_states": rows_of(pipe, text, max_sequence_length).expand(count, -1, -1)}

    def cfg_of(self, pipe: Any) -> float:
        return pipe.guider.guidance_scale

    def call(self, pipe: Any, guidance: float, cfg: float) -> dict[str, Any]:
        """Its real guidance is a part of the pipeline, and no argument of a call."""
        pipe.guider.guidance_scale = cfg
        return {}


def rows_of(pipe: Any, text: str, max_sequence_length: int) -> Tensor:
    """A text as the blocks read it, ``(1, T, width)``: a row for each of T5's pieces, and padding."""
    from diffusers.modular_pipelines.anima.encoders import AnimaTextEncoderStep

    made: Any = AnimaTextEncoderStep.encode_prompt(
        pipe, text, prepare_unconditional_embeds=False, max_sequence_length=max_sequence_length
    )
    conditioner = pipe.text_conditioner
    return conditioner(
        source_hidden_states=made["qwen_prompt_embeds"].to(conditioner.dtype),
        target_input_ids=made["t5_input_ids"],
        target_attention_mask=made["t5_attention_mask"],
        source_attention_mask=made["qwen_attention_mask"],
    ).to(pipe.transformer.dtype)
