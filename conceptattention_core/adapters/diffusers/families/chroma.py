"""Chroma: FLUX.1's double blocks, every modulation from one small network, and no pooled text."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ....concepts import Caption, Concepts
from ....stream import ModulatedBlock
from ..pieces import own_rows, t5_pieces
from .base import Evaluation, Seen, Start, no_text_encoder
from .flux import Flux1, double_block, embedded, image_ids, image_rotation
from .stream import pack


class Chroma(Flux1):
    name = "Chroma"
    measured = False
    # ChromaInpaintPipeline asks its transformer's config for what it has not, and does not run in diffusers 0.41.
    pipelines = ("ChromaPipeline", "ChromaImg2ImgPipeline")
    transformer = "ChromaTransformer2DModel"
    steps = 40
    cfg = 3.0

    def watched(self, transformer: Any) -> dict[str, nn.Module]:
        return {
            "modulations": transformer.distilled_guidance_layer,
            "text": transformer.context_embedder,
            "places": transformer.pos_embed,
        }

    def begin(
        self, transformer: Any, concepts: Concepts, seen: dict[str, list[Seen]], evaluation: Evaluation
    ) -> Start:
        table = seen["modulations"][0].output  # (B, entries, D): of single blocks, the picture's, the text's, the end's
        first = 3 * len(transformer.single_transformer_blocks) + 6 * len(transformer.transformer_blocks)
        rotate = image_rotation(seen["places"][0].output, seen["text"][0].output.shape[1], evaluation)

        def stream(index: int) -> ModulatedBlock:
            block, at = transformer.transformer_blocks[index], first + 6 * index
            return double_block(block, block.norm1_context.norm, table[:, at : at + 6].split(1, dim=1))

        return Start(embedded(transformer, concepts, seen), stream, rotate)

    def caption(self, pipe: Any, name: str, max_sequence_length: int) -> Caption:
        if pipe.text_encoder is None or pipe.tokenizer is None:
            raise ValueError(no_text_encoder("T5 (`text_encoder`)"))
        own = t5_pieces(pipe.tokenizer, name)
        rows, *_ = pipe.encode_prompt(
            prompt=name, do_classifier_free_guidance=False, max_sequence_length=max_sequence_length
        )
        return own_rows(rows[0], own)

    def prompt(self, pipe: Any, text: str, count: int, max_sequence_length: int) -> dict[str, Any]:
        context, txt_ids, mask, *_ = pipe.encode_prompt(
            prompt=text,
            do_classifier_free_guidance=False,
            num_images_per_prompt=count,
            max_sequence_length=max_sequence_length,
        )
        return {"encoder_hidden_states": context, "txt_ids": txt_ids, "attention_mask": mask}

    def inputs(
        self, transformer: Any, noised: Tensor, noise_level: float, guidance: float, told: dict[str, Any]
    ) -> dict[str, Any]:
        tokens, mask = pack(noised), told["attention_mask"]
        return {
            **told,
            "attention_mask": torch.cat((mask, mask.new_ones(tokens.shape[:2])), dim=1),
            "hidden_states": tokens,
            "timestep": torch.full((len(noised),), noise_level, device=noised.device, dtype=noised.dtype),
            "img_ids": image_ids((noised.shape[2] // 2, noised.shape[3] // 2)).to(noised),
        }

    def call(self, pipe: Any, guidance: float, cfg: float) -> dict[str, Any]:
        return {"guidance_scale": cfg}
