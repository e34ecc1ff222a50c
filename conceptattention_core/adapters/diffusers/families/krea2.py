"""Krea 2: one stream, the prompt before the picture, an output gate from the block's input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ....concepts import Caption, Concepts, pool_captions
from ....pieces import template_pieces
from ....stream import Entry
from .base import Evaluation, Family, Seen, Start, no_text_encoder
from .flux import image_ids, rotation, token_grid
from .qwen import latent
from .stream import all_heads, by_heads, pack


class Krea2(Family):
    name = "Krea 2"
    pipelines = ("Krea2Pipeline",)
    transformer = "Krea2Transformer2DModel"
    # What the first public pack for it reads (rockerBOO's): the last four blocks, and a temperature of 1000.
    default_blocks = (-4, -1)
    temperature = 1000.0
    block_name = "Block"
    captions = True
    input_layer = "img_in"
    cfg = 5.5

    def parts(self, block: Any) -> tuple[Any, ...]:
        attention = getattr(block, "attn", None)
        return tuple(getattr(attention, name, None) for name in ("norm_k", "to_out", "to_gate"))

    def heads(self, attention: Any) -> tuple[int, int]:
        return attention.num_heads, attention.num_kv_heads

    def gate(self, attention: Any) -> nn.Module:
        return attention.to_gate

    def fused(self, attention: Any) -> bool:
        return False  # its attention processor reads the separate layers, whatever else there is

    def evaluation(self, given: dict[str, Any], pipe: Any) -> Evaluation:
        text_tokens = given["encoder_hidden_states"].shape[1]
        start, grid = token_grid(given["position_ids"][text_tokens:])
        sigma = float(given["timestep"].flatten()[0])
        return Evaluation(sigma, len(given["hidden_states"]), grid, start=text_tokens + start)

    def watched(self, transformer: Any) -> dict[str, nn.Module]:
        return {"time": transformer.time_mod_proj, "text": transformer.text_fusion, "places": transformer.rotary_emb}

    def begin(
        self, transformer: Any, concepts: Concepts, seen: dict[str, list[Seen]], evaluation: Evaluation
    ) -> Start:
        vec = seen["time"][0].output.unflatten(-1, (6, -1))
        like = seen["text"][0].args[0]
        cosines, sines = seen["places"][0].output

        def fuse(rows: Tensor) -> Tensor:
            """Captions of one length, ``(n, T, layers * width)``, through the fusion of the encoder's layers."""
            layers = rows.to(like).unflatten(-1, like.shape[2:])
            return transformer.txt_in(transformer.text_fusion.forward(layers))

        def stream(index: int) -> Krea2Block:
            block = transformer.transformer_blocks[index]
            return Krea2Block(block, (vec + block.scale_shift_table).unbind(-2))

        own = rotation((cosines[evaluation.image], sines[evaluation.image]))
        return Start(pool_captions(concepts, fuse), stream, own)

    def caption(self, pipe: Any, name: str, max_sequence_length: int) -> Caption:
        """Without the padding that the pipeline puts between a prompt and the template's end."""
        if pipe.text_encoder is None or pipe.tokenizer is None:
            raise ValueError(no_text_encoder("text encoder (`text_encoder`)"))
        own = template_pieces(lambda text: pieces(pipe, text, max_sequence_length), name)
        rows, mask = pipe.encode_prompt(prompt=name, max_sequence_length=max_sequence_length)
        tokens = rows[0][mask[0]].flatten(1).float().cpu()
        return Caption(tokens, own, position=own[0], length=len(tokens))

    def prompt(self, pipe: Any, text: str, count: int, max_sequence_length: int) -> dict[str, Any]:
        rows, mask = pipe.encode_prompt(
            prompt=text, num_images_per_prompt=count, max_sequence_length=max_sequence_length
        )
        return {"encoder_hidden_states": rows, "encoder_attention_mask": mask}

    def latent(self, vae: Any, pixels: Tensor) -> Tensor:
        return latent(vae, pixels)

    def inputs(
        self, transformer: Any, noised: Tensor, noise_level: float, guidance: float, told: dict[str, Any]
    ) -> dict[str, Any]:
        own = image_ids((noised.shape[2] // 2, noised.shape[3] // 2)).to(noised.device)
        return {
            **told,
            "hidden_states": pack(noised),
            "timestep": torch.full((len(noised),), noise_level, device=noised.device, dtype=noised.dtype),
            "position_ids": pad(own, (0, 0, told["encoder_hidden_states"].shape[1], 0)),  # text stands at the origin
        }

    def steps_of(self, pipe: Any) -> int:
        return 8 if pipe.config.get("is_distilled") else self.steps

    def cfg_of(self, pipe: Any) -> float:
        return 1.0 if pipe.config.get("is_distilled") else self.cfg

    def call(self, pipe: Any, guidance: float, cfg: float) -> dict[str, Any]:
        return {"guidance_scale": cfg - 1}  # its own measure is 0 without


def pieces(pipe: Any, text: str, length: int) -> list[int]:
    """A text's pieces in the pipeline's template, what leads it and padding cut off."""
    leading, closing = pipe.prompt_template_encode_start_idx, pipe.prompt_template_encode_num_suffix_tokens
    limit = {"truncation": True, "max_length": length + leading - closing}
    told = pipe.tokenizer(pipe.prompt_template_encode_prefix + text, **limit).input_ids[leading:]
    return [*told, *pipe.tokenizer(pipe.prompt_template_encode_suffix).input_ids]


@dataclass(frozen=True)
class Krea2Block:
    """One block. Text stands at (0, 0, 0), where the rotary embedding is the identity.

    modulations: scale, shift and gate of attention and of MLP, ``(B, 1, D)`` each. The picture goes through the same
    modules, which are therefore called by their `forward`, past the hooks.
    """

    block: Any
    modulations: tuple[Tensor, ...]

    def enter(self, tokens: Tensor) -> Entry:
        scale, shift, *_ = self.modulations
        attention = self.block.attn
        x = (1 + scale) * self.block.norm1(tokens) + shift
        query = by_heads(attention.to_q(x), attention.num_heads)
        key, value = (by_heads(one.forward(x), attention.num_kv_heads) for one in (attention.to_k, attention.to_v))
        query, key = attention.norm_q(query), attention.norm_k.forward(key)
        key, value = (all_heads(one, attention.num_heads) for one in (key, value))
        return Entry(query, key, value, carry=attention.to_gate.forward(x).sigmoid())

    def leave(self, tokens: Tensor, entry: Entry, output: Tensor) -> Tensor:
        _, _, gate, mlp_scale, mlp_shift, mlp_gate = self.modulations
        tokens = tokens + gate * self.block.attn.to_out[0].forward(output * entry.carry)
        return tokens + mlp_gate * self.block.ff((1 + mlp_scale) * self.block.norm2(tokens) + mlp_shift)
