"""Lumina 2: one stream, the caption before the picture, both with places, one set of weights for both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ....concepts import Caption, Concepts, pool_captions
from ....pieces import template_pieces
from ....stream import Entry
from .base import Evaluation, Family, Seen, Start, no_text_encoder
from .stream import GatedLayer, Rotate, all_heads, by_heads, rotation_of_pairs


class Lumina2(Family):
    name = "Lumina 2"
    pipelines = ("Lumina2Pipeline",)
    transformer = "Lumina2Transformer2DModel"
    block_name = "Layer"
    max_sequence_length = 256
    captions = True
    steps = 30
    cfg = 4.0

    def blocks(self, transformer: Any) -> Sequence[Any]:
        return transformer.layers

    def parts(self, block: Any) -> tuple[Any, ...]:
        attention = getattr(block, "attn", None)
        return tuple(getattr(attention, name, None) for name in ("norm_k", "to_out"))

    def heads(self, attention: Any) -> tuple[int, int]:
        return attention.heads, attention.heads * attention.inner_kv_dim // attention.inner_dim

    def fused(self, attention: Any) -> bool:
        return False  # its attention processor reads the separate layers, whatever else there is

    def evaluation(self, given: dict[str, Any], pipe: Any) -> Evaluation:
        count, _, height, width = given["hidden_states"].shape
        time = float(given["timestep"].flatten()[0])  # which runs from 0, noise, to 1
        # Each picture stands right behind its own caption, without that one's padding.
        starts = tuple(int(length) for length in given["encoder_attention_mask"].sum(dim=1))
        return Evaluation(1 - time, count, (height // self.patch, width // self.patch), starts=starts)

    def watched(self, transformer: Any) -> dict[str, nn.Module]:
        return {"time": transformer.time_caption_embed, "places": transformer.rope_embedder}

    def begin(
        self, transformer: Any, concepts: Concepts, seen: dict[str, list[Seen]], evaluation: Evaluation
    ) -> Start:
        time, embedded = seen["time"][0].output
        picture = seen["places"][0].output[2]

        def refine(rows: Tensor) -> Tensor:
            """Captions of one length, ``(n, T, width)``, refined as the prompt's."""
            return refined(transformer, rows.to(seen["time"][0].args[2]))

        places = [one.position for one in concepts.captions]
        rotate = rotation_of_pairs(text_turns(transformer, max(places) + 1, embedded.device)[0, places])
        tokens = pool_captions(concepts, refine)
        own = rotation_of_pairs(picture[:, None])
        return Start(tokens, lambda index: Lumina2Layer.of(transformer.layers[index], time, rotate), own)

    def caption(self, pipe: Any, name: str, max_sequence_length: int) -> Caption:
        if pipe.text_encoder is None or pipe.tokenizer is None:
            raise ValueError(no_text_encoder("text encoder (`text_encoder`)"))
        own = template_pieces(lambda text: pieces(pipe, text, max_sequence_length), name)
        rows, mask, *_ = pipe.encode_prompt(
            prompt=name, do_classifier_free_guidance=False, max_sequence_length=max_sequence_length
        )
        tokens = rows[0][mask[0].bool()].float().cpu()
        return Caption(tokens, own, position=own[0], length=len(tokens))

    def prompt(self, pipe: Any, text: str, count: int, max_sequence_length: int) -> dict[str, Any]:
        rows, mask, *_ = pipe.encode_prompt(
            prompt=text,
            do_classifier_free_guidance=False,
            num_images_per_prompt=count,
            max_sequence_length=max_sequence_length,
        )
        return {"encoder_hidden_states": rows, "encoder_attention_mask": mask}

    def inputs(
        self, transformer: Any, noised: Tensor, noise_level: float, guidance: float, told: dict[str, Any]
    ) -> dict[str, Any]:
        time = torch.full((len(noised),), 1 - noise_level, device=noised.device)
        return {**told, "hidden_states": noised, "timestep": time}


def pieces(pipe: Any, text: str, length: int) -> list[int]:
    """A text's pieces behind the pipeline's system prompt, without padding."""
    return pipe.tokenizer(f"{pipe.system_prompt} <Prompt Start> {text}", truncation=True, max_length=length).input_ids


def text_turns(transformer: Any, length: int, device: torch.device) -> Tensor:
    """The text's rotary embedding, from its first place on: complex ``(1, length, d / 2)``."""
    patch = transformer.config.patch_size
    smallest = torch.zeros(1, 1, patch, patch, device=device)
    return transformer.rope_embedder.forward(smallest, torch.ones(1, length, dtype=torch.int64, device=device))[1]


def refined(transformer: Any, rows: Tensor) -> Tensor:
    """Whole captions of one length behind embedder and refiner, ``(n, T, width)`` -> ``(n, T, D)``."""
    tokens = transformer.time_caption_embed.caption_embedder(rows)
    turn = text_turns(transformer, tokens.shape[1], tokens.device).expand(len(tokens), -1, -1)
    for layer in transformer.context_refiner:
        tokens = layer(tokens, None, turn)
    return tokens


class Lumina2Layer(GatedLayer):
    """One layer, by its own modules."""

    @classmethod
    def of(cls, layer: Any, time: Tensor, rotate: Rotate) -> Lumina2Layer:
        """time: the timestep's embedding, ``(B, width)``."""
        norm = layer.norm1
        scale, gate, mlp_scale, mlp_gate = norm.linear(norm.silu(time))[:, None].chunk(4, dim=-1)
        return cls(layer, scale, gate.tanh(), mlp_scale, mlp_gate.tanh(), rotate)

    def enter(self, tokens: Tensor) -> Entry:
        attention = self.layer.attn
        x = self.layer.norm1.norm(tokens) * (1 + self.scale)
        query = by_heads(attention.to_q(x), attention.heads)
        shared = attention.heads * attention.inner_kv_dim // attention.inner_dim
        key, value = (by_heads(one.forward(x), shared) for one in (attention.to_k, attention.to_v))
        query, key = self.rotate(attention.norm_q(query)), self.rotate(attention.norm_k.forward(key))
        return Entry(query, *(all_heads(one, attention.heads) for one in (key, value)))

    def leave(self, tokens: Tensor, entry: Entry, output: Tensor) -> Tensor:
        layer = self.layer
        tokens = tokens + self.gate * layer.norm2(layer.attn.to_out[0].forward(output))
        hidden = layer.feed_forward(layer.ffn_norm1(tokens) * (1 + self.mlp_scale))
        return tokens + self.mlp_gate * layer.ffn_norm2(hidden)
