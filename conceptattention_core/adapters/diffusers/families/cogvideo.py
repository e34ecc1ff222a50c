"""CogVideoX 1.0 and 1.5: videos by joint blocks, whose one set of weights has a modulation for the text of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ....concepts import Caption, Concepts
from ....stream import ModulatedBlock, Modulation
from ....times import picture_times
from ..pieces import own_rows, t5_pieces
from .base import Evaluation, Family, Seen, Start, named, no_text_encoder
from .stream import by_heads, rotation_of_pairs, unmoved

PADDING = ("CogVideoXPipeline", "CogVideoXImageToVideoPipeline")
"""Pipelines that put latent frames in front of 1.5's until tokens of two are full, and take them off again."""
PICTURES_OF_A_FRAME = 4
"""What its VAE decodes every latent frame but the first to."""


class CogVideoX(Family):
    name = "CogVideoX"
    pipelines = (
        "CogVideoXPipeline",
        "CogVideoXImageToVideoPipeline",
        "CogVideoXVideoToVideoPipeline",
        "CogVideoXFunControlPipeline",
    )
    transformer = "CogVideoXTransformer3DModel"
    # The authors average all blocks.
    default_blocks = (0, -1)
    block_name = "Block"
    max_sequence_length = 226
    heads_first = True
    rotates_in_place = True
    video = True
    input_layer = "patch_embed"
    steps = 50
    cfg = 6.0

    def attention(self, block: Any) -> Any:
        return block.attn1

    def parts(self, block: Any) -> tuple[Any, ...]:
        attention = getattr(block, "attn1", None)
        return tuple(getattr(attention, name, None) for name in ("norm_k", "to_out", "norm_q"))

    def evaluation(self, given: dict[str, Any], pipe: Any) -> Evaluation:
        count, frames, _, height, width = given["hidden_states"].shape
        # The negative prompt's half of the batch comes first.
        rows = slice(count // 2 if pipe is not None and guided(given, pipe) else 0, count)
        h, w = height // self.patch, width // self.patch
        places = given.get("image_rotary_emb")  # a place for each token; 1.0's 2B has none, and a token for each frame
        together = 1 if places is None else frames * h * w // len(places[0])
        # Its makers ask for 16 n + 1 pictures: an odd number of latent frames, of which one is added.
        added = together - 1 if type(pipe).__name__ in PADDING else 0
        return Evaluation(
            sigma=float(torch.as_tensor(given["timestep"]).flatten()[0]) / 1000,
            batch=rows.stop - rows.start,
            grid=(frames // together, h, w),
            rows=rows,
            start=given["encoder_hidden_states"].shape[1],
            # Its VAE decodes latent frames by twos, and only an odd one at the beginning is a picture by itself.
            times=picture_times(frames, PICTURES_OF_A_FRAME, together, added, alone=(frames - added) % 2 == 1),
        )

    def watched(self, transformer: Any) -> dict[str, nn.Module]:
        return {"text": transformer.patch_embed, "block": transformer.transformer_blocks[0]}

    def begin(self, transformer: Any, concepts: Concepts, seen: dict[str, list[Seen]], evaluation: Evaluation) -> Start:
        block, (call,) = transformer.transformer_blocks[0], seen["block"]
        given = named(block, call.args, call.kwargs)
        time, places = given["temb"][evaluation.rows], given.get("image_rotary_emb")
        text = seen["text"][0].args[0]
        # Pooling before a linear layer is the same as behind it.
        tokens = transformer.patch_embed.text_proj.forward(concepts.embeddings.to(text))
        rotate = unmoved if places is None else rotation_of_pairs(torch.complex(*(one[:, ::2] for one in places)))
        return Start(tokens, lambda index: text_stream(transformer.transformer_blocks[index], time), rotate)

    def caption(self, pipe: Any, name: str, max_sequence_length: int) -> Caption:
        if pipe.text_encoder is None or pipe.tokenizer is None:
            raise ValueError(no_text_encoder("T5 (`text_encoder`)"))
        own = t5_pieces(pipe.tokenizer, name)
        rows, _ = pipe.encode_prompt(
            prompt=name, do_classifier_free_guidance=False, max_sequence_length=max_sequence_length
        )
        return own_rows(rows[0], own)


def guided(given: dict[str, Any], pipe: Any) -> bool:
    """Whether a call's batch holds the negative prompt, too, beside the same videos.

    `use_dynamic_cfg` moves the pipeline's guidance scale behind each call, now and then to exactly 1, and the batch
    keeps its halves. Without guidance, the videos of several prompts differ from the second call on.
    """
    first, other = given["hidden_states"].tensor_split(2)
    late = float(torch.as_tensor(given["timestep"]).flatten()[0]) < float(pipe.scheduler.timesteps[0])
    return pipe.guidance_scale > 1 or (pipe.guidance_scale == 1 and late and torch.equal(first, other))


def text_stream(block: Any, time: Tensor) -> ModulatedBlock:
    """A block's weights with the text's modulation, the second three of six. Text is not rotated. time: ``(B, D)``."""
    attention = block.attn1

    def modulation(norm: Any) -> Modulation:
        shift, scale, gate = norm.linear(norm.silu(time))[:, None].chunk(6, dim=-1)[3:]
        return Modulation(shift, scale, gate)

    def qkv(tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if attention.fused_projections:
            parts = attention.to_qkv.forward(tokens).chunk(3, dim=-1)
        else:
            parts = tuple(layer.forward(tokens) for layer in (attention.to_q, attention.to_k, attention.to_v))
        query, key, value = (by_heads(part, attention.heads) for part in parts)
        return attention.norm_q.forward(query), attention.norm_k.forward(key), value

    return ModulatedBlock(
        attention=modulation(block.norm1),
        mlp_half=modulation(block.norm2),
        norm1=block.norm1.norm,
        norm2=block.norm2.norm,
        qkv=qkv,
        proj=attention.to_out[0].forward,
        mlp=block.ff,
    )
