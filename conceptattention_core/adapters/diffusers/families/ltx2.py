"""LTX-2: LTX-Video's blocks beside those of its sound; the prompt's pieces go through a connector with registers."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ....concepts import Caption, Concepts, pool_captions
from ....pieces import template_pieces
from ..pieces import own_rows
from .base import Evaluation, Seen, named, no_text_encoder
from .cross import Read, keys_and_values
from .ltx import LTXVideo


class LTX2(LTXVideo):
    name = "LTX-2"
    pipelines = ("LTX2Pipeline", "LTX2ImageToVideoPipeline", "LTX2ConditionPipeline", "LTX2InContextPipeline")
    transformer = "LTX2VideoTransformer3DModel"
    max_sequence_length = 1024
    steps = 40
    cfg = 4.0

    def guided(self, given: dict[str, Any], pipe: Any) -> bool:
        # Further guidance looks at the prompt once more, by itself.
        alone = given.get("isolate_modalities") or given.get("spatio_temporal_guidance_blocks")
        return super().guided(given, pipe) and not alone

    def placed(self, given: dict[str, Any]) -> tuple[int, tuple[int, int, int]]:
        return 0, (given["num_frames"], given["height"], given["width"])  # what else it is given stands behind

    def read_again(self, attention: Any) -> dict[str, nn.Module]:
        if attention.to_gate_logits is None:
            return {}
        # LTX-2.3 opens a gate for each head in front of its output. Registers fill the prompt, so there is no mask.
        return {"keys": attention.norm_k, "values": attention.to_v}

    def watched(self, transformer: Any) -> dict[str, nn.Module]:
        return {"block": transformer.transformer_blocks[0]}

    def reader(
        self, transformer: Any, concepts: Concepts, seen: dict[str, list[Seen]], evaluation: Evaluation
    ) -> Read:
        blocks, (call,) = transformer.transformer_blocks, seen["block"]
        given = named(blocks[0], call.args, call.kwargs)
        like, time = given["encoder_hidden_states"], given.get("temb_prompt")

        def path(rows: Tensor) -> Tensor:
            rows = rows.to(like)
            return transformer.caption_projection.forward(rows) if transformer.config.use_prompt_embeddings else rows

        tokens = pool_captions(concepts, path)
        step = None if time is None else time[evaluation.rows].unflatten(-1, (2, -1))

        def read(place: tuple[int, int]) -> tuple[Tensor, Tensor]:
            block = blocks[place[0]]
            return keys_and_values(block.attn2, modulated(block, tokens, step))

        return read

    def caption(self, pipe: Any, name: str, max_sequence_length: int) -> Caption:
        """Behind the connector, where its pieces have read each other and stand in front of the registers."""
        if pipe.text_encoder is None or pipe.tokenizer is None:
            raise ValueError(no_text_encoder("Gemma (`text_encoder`)"))
        rows, mask, *_ = pipe.encode_prompt(
            prompt=name, do_classifier_free_guidance=False, max_sequence_length=max_sequence_length
        )
        own = template_pieces(lambda text: pipe.tokenizer(text).input_ids, name)
        behind, *_ = pipe.connectors(rows, mask, padding_side=pipe.tokenizer.padding_side)
        return own_rows(behind[0], own)


def modulated(block: Any, tokens: Tensor, step: Tensor | None) -> Tensor:
    """The prompt's rows as a block of LTX-2.3 scales and shifts them, by its own table and what the step says.

    tokens: ``(1, C, D)``; step: ``(B, 1, 2, D)``, None where only the table does. Returns ``(1 or B, C, D)``.
    """
    if not block.cross_attn_adaln:
        return tokens
    table = block.prompt_scale_shift_table[None, None].to(tokens)
    shift, scale = (table if step is None else table + step).unbind(dim=2)
    return tokens * (1 + scale) + shift
