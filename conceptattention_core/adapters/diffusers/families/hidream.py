"""HiDream I1: the picture before the text, T5's rows beside Llama's, text without places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ....concepts import Caption, Concepts
from ....stream import ModulatedBlock
from ..pieces import own_rows, t5_pieces
from .base import Evaluation, Family, Seen, Start, no_text_encoder
from .stream import by_heads, halves, rotation_of_pairs


class HiDream(Family):
    name = "HiDream I1"
    pipelines = ("HiDreamImagePipeline",)
    transformer = "HiDreamImageTransformer2DModel"
    max_sequence_length = 128
    prompt_argument = "encoder_hidden_states_t5"
    steps = 50
    cfg = 5.0

    def blocks(self, transformer: Any) -> Sequence[Any]:
        return [one.block for one in transformer.double_stream_blocks]

    def attention(self, block: Any) -> Any:
        return block.attn1

    def parts(self, block: Any) -> tuple[Any, ...]:
        attention = getattr(block, "attn1", None)
        return tuple(getattr(attention, name, None) for name in ("k_rms_norm", "to_out", "k_rms_norm_t"))

    def key_norm(self, attention: Any) -> nn.Module:
        return attention.k_rms_norm

    def output_layer(self, attention: Any) -> nn.Module:
        return attention.to_out

    def evaluation(self, given: dict[str, Any], pipe: Any) -> Evaluation:
        count, _, height, width = given["hidden_states"].shape
        # The negative prompt's half of the batch comes first.
        guided = getattr(pipe, "do_classifier_free_guidance", False)
        rows = slice(count // 2, count) if guided else slice(0, count)
        sigma = float(given["timesteps"].flatten()[0]) / 1000
        # Behind the tokens of a picture that is no square diffusers fills the sequence up, which is no picture.
        return Evaluation(sigma, rows.stop - rows.start, (height // self.patch, width // self.patch), rows)

    def watched(self, transformer: Any) -> dict[str, nn.Module]:
        return {
            "time": transformer.t_embedder,
            "pooled": transformer.p_embedder,
            "text": transformer.caption_projection[-1],
            "places": transformer.pe_embedder,
        }

    def begin(
        self, transformer: Any, concepts: Concepts, seen: dict[str, list[Seen]], evaluation: Evaluation
    ) -> Start:
        """Concepts have the prompt's time, and zero for its pooled text. They never meet Llama's rows: prompt."""
        pooled = transformer.p_embedder.forward(torch.zeros_like(seen["pooled"][0].args[0]))
        vec = (seen["time"][0].output + pooled)[evaluation.rows]
        # Pooling before a linear layer is the same as behind it.
        tokens = transformer.caption_projection[-1].forward(concepts.embeddings.to(seen["text"][0].args[0]))
        turns = seen["places"][0].output[:1, evaluation.image, 0, :, :, 0]  # cosine and sine of each pair's turn
        rotate = rotation_of_pairs(torch.view_as_complex(turns[0].contiguous()))
        blocks = self.blocks(transformer)
        return Start(tokens, lambda index: text_stream(blocks[index], vec), rotate)

    def caption(self, pipe: Any, name: str, max_sequence_length: int) -> Caption:
        if pipe.text_encoder_3 is None or pipe.tokenizer_3 is None:
            raise ValueError(no_text_encoder("T5 (`text_encoder_3`)"))
        own = t5_pieces(pipe.tokenizer_3, name)
        nothing = torch.zeros(1, 1)  # what the other text encoders would make of it is not read
        rows, *_ = pipe.encode_prompt(
            prompt=name,
            do_classifier_free_guidance=False,
            pooled_prompt_embeds=nothing,
            prompt_embeds_llama3=nothing[None, None],
            max_sequence_length=max_sequence_length,
        )
        return own_rows(rows[0], own)

    def prompt(self, pipe: Any, text: str, count: int, max_sequence_length: int) -> dict[str, Any]:
        t5, _, llama, _, pooled, _ = pipe.encode_prompt(
            prompt=text,
            do_classifier_free_guidance=False,
            num_images_per_prompt=count,
            max_sequence_length=max_sequence_length,
        )
        return {
            "encoder_hidden_states_t5": t5,
            "encoder_hidden_states_llama3": llama,
            "pooled_embeds": torch.zeros_like(pooled),
        }

    def inputs(
        self, transformer: Any, noised: Tensor, noise_level: float, guidance: float, told: dict[str, Any]
    ) -> dict[str, Any]:
        time = torch.full((len(noised),), 1000 * noise_level, device=noised.device)
        return {**told, "hidden_states": noised, "timesteps": time}

    def not_needed(self, transformer: Any) -> Sequence[nn.Module]:
        return transformer.single_stream_blocks[:1]


def text_stream(block: Any, vec: Tensor) -> ModulatedBlock:
    """The text stream of one of the double blocks. vec: time and pooled text, ``(B, D)``.

    Query and key are normalised over all heads at once.
    """
    attention = block.attn1

    def qkv(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key = attention.q_rms_norm_t(attention.to_q_t(x)), attention.k_rms_norm_t(attention.to_k_t(x))
        parts = query.to(x.dtype), key.to(x.dtype), attention.to_v_t(x)
        query, key, value = (by_heads(part, attention.heads) for part in parts)
        return query, key, value

    # The picture's six come first.
    modulations = halves(block.adaLN_modulation(vec)[:, None].chunk(12, dim=-1)[6:])
    return ModulatedBlock(*modulations, block.norm1_t, block.norm3_t, qkv, attention.to_out_t, block.ff_t)
