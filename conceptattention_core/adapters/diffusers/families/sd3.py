"""Stable Diffusion 3 and 3.5: joint blocks with a text stream of their own, text without places."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ....concepts import Caption, Concepts
from ....pieces import template_pieces
from ....stream import ModulatedBlock, Modulation
from ..pieces import own_rows, t5_pieces
from .base import Evaluation, Family, Seen, Start, no_text_encoder
from .stream import halves, text_stream, unmoved

CLIP_LENGTH = 77
"""Pieces that a CLIP reads, its start and its end included."""


class StableDiffusion3(Family):
    name = "Stable Diffusion 3"
    pipelines = (
        "StableDiffusion3Pipeline",
        "StableDiffusion3Img2ImgPipeline",
        "StableDiffusion3InpaintPipeline",
        "StableDiffusion3ControlNetPipeline",
        "StableDiffusion3ControlNetInpaintingPipeline",
    )
    transformer = "SD3Transformer2DModel"
    # The authors read SD3.5 large turbo by all of its blocks.
    default_blocks = (0, -1)
    block_name = "Joint block"
    max_sequence_length = 256
    heads_first = True
    input_layer = "pos_embed"
    cfg = 4.5

    def parts(self, block: Any) -> tuple[Any, ...]:
        attention = getattr(block, "attn", None)  # SD3 medium normalises neither query nor key
        return tuple(getattr(attention, name, None) for name in ("to_k", "to_out", "add_k_proj"))

    def evaluation(self, given: dict[str, Any], pipe: Any) -> Evaluation:
        count, _, height, width = given["hidden_states"].shape
        if getattr(pipe, "do_perturbed_attention_guidance", False):
            raise ValueError(
                "Perturbed attention guidance computes its attention in parts, so that there is nothing to read. "
                "Call the pipeline with pag_scale=0, or use StableDiffusion3Pipeline."
            )
        # The negative prompt's half of the batch comes first; a call that skips layers has the prompt's alone.
        guided = getattr(pipe, "do_classifier_free_guidance", False) and given.get("skip_layers") is None
        rows = slice(count // 2, count) if guided else slice(0, count)
        sigma = float(given["timestep"].flatten()[0]) / 1000
        return Evaluation(sigma, rows.stop - rows.start, (height // self.patch, width // self.patch), rows)

    def watched(self, transformer: Any) -> dict[str, nn.Module]:
        return {"time": transformer.time_text_embed, "text": transformer.context_embedder}

    def begin(
        self, transformer: Any, concepts: Concepts, seen: dict[str, list[Seen]], evaluation: Evaluation
    ) -> Start:
        time, pooled = (given[evaluation.rows] for given in seen["time"][0].args)
        vec = transformer.time_text_embed.forward(time, torch.zeros_like(pooled))
        tokens = transformer.context_embedder.forward(concepts.embeddings.to(seen["text"][0].args[0]))
        return Start(tokens, lambda index: joint_block(transformer.transformer_blocks[index], vec), unmoved)

    def caption(self, pipe: Any, name: str, max_sequence_length: int) -> Caption:
        """T5's rows, which stand behind CLIP's; without T5, CLIP-L's beside CLIP-G's."""
        if pipe.text_encoder is None or pipe.text_encoder_2 is None:
            raise ValueError(no_text_encoder("CLIP (`text_encoder`, `text_encoder_2`)"))
        if pipe.text_encoder_3 is None:
            own, first = clip_pieces(pipe, name), 0
        else:
            own, first = t5_pieces(pipe.tokenizer_3, name), pipe.tokenizer_max_length
        rows, *_ = pipe.encode_prompt(
            prompt=name,
            prompt_2=name,
            prompt_3=name,
            do_classifier_free_guidance=False,
            max_sequence_length=max_sequence_length,
        )
        return own_rows(rows[0], tuple(first + at for at in own))

    def prompt(self, pipe: Any, text: str, count: int, max_sequence_length: int) -> dict[str, Any]:
        context, _, pooled, _ = pipe.encode_prompt(
            prompt=text,
            prompt_2=text,
            prompt_3=text,
            do_classifier_free_guidance=False,
            num_images_per_prompt=count,
            max_sequence_length=max_sequence_length,
        )
        return {"encoder_hidden_states": context, "pooled_projections": torch.zeros_like(pooled)}

    def inputs(
        self, transformer: Any, noised: Tensor, noise_level: float, guidance: float, told: dict[str, Any]
    ) -> dict[str, Any]:
        time = torch.full((len(noised),), 1000 * noise_level, device=noised.device)
        return {**told, "hidden_states": noised, "timestep": time}


def clip_pieces(pipe: Any, name: str) -> tuple[int, ...]:
    """Positions of a concept's own pieces by CLIP-L."""

    def tokenize(text: str) -> list[int]:
        return pipe.tokenizer(text, truncation=True, max_length=CLIP_LENGTH).input_ids

    return template_pieces(tokenize, name)


def joint_block(block: Any, vec: Tensor) -> ModulatedBlock:
    """The text stream of one joint block; the model's last block ends it. vec: ``(B, D)``."""
    norm, fused = block.norm1_context, block.attn.fused_projections
    parts = norm.linear(norm.silu(vec))[:, None].chunk(2 if block.context_pre_only else 6, dim=-1)
    # The last block's norm is another class, which says scale before shift, and opens no gate.
    last = Modulation(parts[1], parts[0], torch.ones_like(parts[0])), None
    # diffusers' fused processor leaves the norms out.
    normalised = block.attn.norm_added_q is not None and not fused
    modulations = last if block.context_pre_only else halves(parts)
    return text_stream(
        block.attn, modulations, (norm.norm, block.norm2_context), block.ff_context, fused, normalised
    )
