"""Z-Image: one stream, the picture before the caption, both with places, one set of weights for both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ....concepts import Caption, Concepts, pool_captions
from ....pieces import template_pieces
from ....stream import Entry
from .base import Evaluation, Family, Seen, Start, no_text_encoder
from .stream import GatedLayer, Rotate, by_heads, rotation_of_pairs

MULTIPLE = 32
"""Captions are padded to a multiple of so many tokens."""


class ZImage(Family):
    name = "Z-Image"
    pipelines = (
        "ZImagePipeline",
        "ZImageImg2ImgPipeline",
        "ZImageInpaintPipeline",
        "ZImageControlNetPipeline",
        "ZImageControlNetInpaintPipeline",
    )
    transformer = "ZImageTransformer2DModel"
    # FreeFuse (arXiv 2510.23515) reads layer 18 of 30, and divides by 4000.
    default_blocks = (14, 22)
    temperature = 4000.0
    block_name = "Layer"
    captions = True
    input_layer = "all_x_embedder"
    prompt_argument = "cap_feats"
    steps = 9

    def owns(self, transformer: nn.Module) -> bool:
        # Omni puts the caption and reference pictures before the picture, and was never checked.
        return super().owns(transformer) and getattr(transformer, "siglip_embedder", None) is None

    def blocks(self, transformer: Any) -> Sequence[Any]:
        return transformer.layers

    def attention(self, block: Any) -> Any:
        return block.attention

    def parts(self, block: Any) -> tuple[Any, ...]:
        attention = getattr(block, "attention", None)
        return tuple(getattr(attention, name, None) for name in ("norm_k", "to_out"))

    def fused(self, attention: Any) -> bool:
        return False  # its attention processor reads the separate layers, whatever else there is

    def evaluation(self, given: dict[str, Any], pipe: Any) -> Evaluation:
        count, time = len(given["x"]), float(given["t"].flatten()[0])  # which runs from 0, noise, to 1
        cut = getattr(pipe, "_cfg_truncation", None)
        guided = getattr(pipe, "do_classifier_free_guidance", False)
        if guided and not (cut is not None and float(cut) <= 1 and time > cut):
            count //= 2  # the negative prompt's half of the batch comes second
        height, width = given["x"][0].shape[-2:]
        return Evaluation(1 - time, count, (height // self.patch, width // self.patch), slice(0, count))

    def watched(self, transformer: Any) -> dict[str, nn.Module]:
        return {"text": transformer.cap_embedder, "layer": transformer.layers[0]}

    def begin(
        self, transformer: Any, concepts: Concepts, seen: dict[str, list[Seen]], evaluation: Evaluation
    ) -> Start:
        _, _, places, time, *_ = seen["layer"][0].args
        like = seen["text"][0].args[0]

        def refine(rows: Tensor) -> Tensor:
            """Captions of one length, ``(n, T, width)``, padded and refined as the prompt's."""
            return refined(transformer, rows.to(like))

        turn = transformer.rope_embedder(caption_ids([1 + one.position for one in concepts.captions], like.device))
        rotate = rotation_of_pairs(turn)
        time = time[evaluation.rows]
        own = rotation_of_pairs(places[evaluation.rows, evaluation.image][:, None])
        tokens = pool_captions(concepts, refine)
        return Start(tokens, lambda index: ZImageLayer.of(transformer.layers[index], time, rotate), own)

    def caption(self, pipe: Any, name: str, max_sequence_length: int) -> Caption:
        if pipe.text_encoder is None or pipe.tokenizer is None:
            raise ValueError(no_text_encoder("text encoder (`text_encoder`)"))
        own = template_pieces(lambda text: pieces(pipe, text, max_sequence_length), name)
        (rows,), _ = pipe.encode_prompt(
            prompt=name, do_classifier_free_guidance=False, max_sequence_length=max_sequence_length
        )
        return Caption(rows.float().cpu(), own, position=own[0], length=len(rows))

    def prompt(self, pipe: Any, text: str, count: int, max_sequence_length: int) -> dict[str, Any]:
        (rows,), _ = pipe.encode_prompt(
            prompt=text, do_classifier_free_guidance=False, max_sequence_length=max_sequence_length
        )
        return {"cap_feats": [rows] * count}

    def inputs(
        self, transformer: Any, noised: Tensor, noise_level: float, guidance: float, told: dict[str, Any]
    ) -> dict[str, Any]:
        time = torch.full((len(noised),), 1 - noise_level, device=noised.device)
        return {**told, "x": list(noised[:, :, None]), "t": time}

    def call(self, pipe: Any, guidance: float, cfg: float) -> dict[str, Any]:
        return {"guidance_scale": cfg - 1}  # its own measure is 0 without


def pieces(pipe: Any, text: str, length: int) -> list[int]:
    """A text's pieces in the pipeline's template, without padding."""
    chat = [{"role": "user", "content": text}]
    told = pipe.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True, enable_thinking=True)
    return pipe.tokenizer(told, truncation=True, max_length=length).input_ids


def caption_ids(places: Sequence[int], device: torch.device) -> Tensor:
    """Position ids of text, ``(N, 3)``: it has places on the first axis alone, from 1 on."""
    return pad(torch.tensor(places, dtype=torch.int32, device=device)[:, None], (0, 2))


def refined(transformer: Any, rows: Tensor) -> Tensor:
    """Whole captions of one length behind embedder and refiner, ``(n, T, width)`` -> ``(n, T or more, D)``."""
    tokens = transformer.cap_embedder.forward(rows)
    missing = -tokens.shape[1] % MULTIPLE
    tokens = torch.cat((tokens, transformer.cap_pad_token.to(tokens).expand(len(tokens), missing, -1)), dim=1)
    ids = caption_ids(range(1, 1 + tokens.shape[1]), tokens.device)
    turn = transformer.rope_embedder(ids)[None].expand(len(tokens), -1, -1)
    for layer in transformer.context_refiner:
        tokens = layer(tokens, None, turn)
    return tokens


class ZImageLayer(GatedLayer):
    """One layer, by its own modules."""

    @classmethod
    def of(cls, layer: Any, time: Tensor, rotate: Rotate) -> ZImageLayer:
        """time: the timestep's embedding, ``(B, width)``."""
        scale, gate, mlp_scale, mlp_gate = layer.adaLN_modulation(time)[:, None].chunk(4, dim=-1)
        return cls(layer, scale, gate.tanh(), mlp_scale, mlp_gate.tanh(), rotate)

    def enter(self, tokens: Tensor) -> Entry:
        attention = self.layer.attention
        x = self.layer.attention_norm1(tokens) * (1 + self.scale)
        query, key, value = (
            by_heads(linear.forward(x), attention.heads) for linear in (attention.to_q, attention.to_k, attention.to_v)
        )
        query, key = attention.norm_q.forward(query), attention.norm_k.forward(key)
        return Entry(self.rotate(query), self.rotate(key), value)

    def leave(self, tokens: Tensor, entry: Entry, output: Tensor) -> Tensor:
        layer = self.layer
        tokens = tokens + self.gate * layer.attention_norm2(layer.attention.to_out[0].forward(output))
        hidden = layer.feed_forward(layer.ffn_norm1(tokens) * (1 + self.mlp_scale))
        return tokens + self.mlp_gate * layer.ffn_norm2(hidden)
