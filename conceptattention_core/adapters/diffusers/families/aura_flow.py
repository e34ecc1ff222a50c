"""AuraFlow: a few double blocks before many single ones; text without places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ....concepts import Caption, Concepts
from ....pieces import template_pieces
from ....stream import Entry, ModulatedBlock, Modulation
from ..pieces import own_rows
from .base import Evaluation, Family, Seen, Start, no_text_encoder
from .stream import halves, text_stream, unmoved


class AuraFlow(Family):
    name = "AuraFlow"
    pipelines = ("AuraFlowPipeline",)
    transformer = "AuraFlowTransformer2DModel"
    default_blocks = (0, -1)  # it has four
    max_sequence_length = 256
    input_layer = "pos_embed"
    steps = 50
    cfg = 3.5

    def blocks(self, transformer: Any) -> Sequence[Any]:
        return transformer.joint_transformer_blocks

    def evaluation(self, given: dict[str, Any], pipe: Any) -> Evaluation:
        count, _, height, width = given["hidden_states"].shape
        # The negative prompt's half of the batch comes first.
        rows = slice(count // 2, count) if getattr(pipe, "guidance_scale", 1.0) > 1 else slice(0, count)
        sigma = float(given["timestep"].flatten()[0])
        return Evaluation(sigma, rows.stop - rows.start, (height // self.patch, width // self.patch), rows)

    def watched(self, transformer: Any) -> dict[str, nn.Module]:
        return {"time": transformer.time_step_proj, "text": transformer.context_embedder}

    def begin(
        self, transformer: Any, concepts: Concepts, seen: dict[str, list[Seen]], evaluation: Evaluation
    ) -> Start:
        vec = seen["time"][0].output[evaluation.rows]
        # Pooling before a linear layer is the same as behind it.
        tokens = transformer.context_embedder.forward(concepts.embeddings.to(seen["text"][0].args[0]))
        return Start(tokens, lambda index: AuraText.of(transformer.joint_transformer_blocks[index], vec), unmoved)

    def caption(self, pipe: Any, name: str, max_sequence_length: int) -> Caption:
        if pipe.text_encoder is None or pipe.tokenizer is None:
            raise ValueError(no_text_encoder("text encoder (`text_encoder`)"))

        def tokenize(text: str) -> list[int]:
            padded = {"truncation": True, "padding": "max_length", "max_length": max_sequence_length}
            return pipe.tokenizer(text, **padded).input_ids

        own = template_pieces(tokenize, name)
        rows, *_ = pipe.encode_prompt(
            prompt=name, do_classifier_free_guidance=False, max_sequence_length=max_sequence_length
        )
        return own_rows(rows[0], own)

    def prompt(self, pipe: Any, text: str, count: int, max_sequence_length: int) -> dict[str, Any]:
        rows, *_ = pipe.encode_prompt(
            prompt=text,
            do_classifier_free_guidance=False,
            num_images_per_prompt=count,
            max_sequence_length=max_sequence_length,
        )
        return {"encoder_hidden_states": rows}

    def latent(self, vae: Any, pixels: Tensor) -> Tensor:
        return vae.encode(pixels).latent_dist.mode() * vae.config.scaling_factor

    def inputs(
        self, transformer: Any, noised: Tensor, noise_level: float, guidance: float, told: dict[str, Any]
    ) -> dict[str, Any]:
        time = torch.full((len(noised),), noise_level, device=noised.device, dtype=noised.dtype)
        return {**told, "hidden_states": noised, "timestep": time}

    def not_needed(self, transformer: Any) -> Sequence[nn.Module]:
        return transformer.single_transformer_blocks[:1]


@dataclass(frozen=True)
class AuraText:
    """The text stream of one double block. What attention makes enters the MLP, and not the residual stream."""

    usual: ModulatedBlock
    mlp_half: Modulation

    @classmethod
    def of(cls, block: Any, vec: Tensor) -> AuraText:
        """vec: the timestep's embedding, ``(B, D)``."""
        norm, attention = block.norm1_context, block.attn
        modulations = halves(norm.linear(norm.silu(vec))[:, None].chunk(6, dim=-1))
        norms = norm.norm, block.norm2_context
        usual = text_stream(attention, modulations, norms, block.ff_context, attention.fused_projections)
        return cls(usual, modulations[1])

    def enter(self, tokens: Tensor) -> Entry:
        return self.usual.enter(tokens)

    def leave(self, tokens: Tensor, entry: Entry, output: Tensor) -> Tensor:
        usual = self.usual
        mixed = usual.norm2(tokens + usual.attention.gate * usual.proj(output))
        return tokens + self.mlp_half.gate * usual.mlp(self.mlp_half(mixed))
