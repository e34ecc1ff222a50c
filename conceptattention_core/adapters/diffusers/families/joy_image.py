"""JoyImage Edit and Edit Plus: double blocks with the picture first, a learnt table beside the timestep, and text
without places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from ....concepts import Caption, Concepts, pool_captions
from ....pieces import template_pieces
from ....stream import ModulatedBlock
from ..pieces import own_rows
from .base import Evaluation, Family, Seen, Start, no_text_encoder
from .flux import rotation
from .qwen import latent
from .stream import by_heads, halves

TEMPLATE = "multiple_images"
TURN = "<|im_start|>user\n{}<|im_end|>\n"
"""What stands in the template for a prompt without pictures."""


class JoyImage(Family):
    name = "JoyImage"
    pipelines = ("JoyImageEditPipeline", "JoyImageEditPlusPipeline")
    transformer = "JoyImageEditTransformer3DModel"
    plus = "JoyImageEditPlusTransformer3DModel"
    captions = True
    max_sequence_length = 4096
    input_layer = "img_in"
    steps = 40
    cfg = 4.0

    def owns(self, transformer: nn.Module) -> bool:
        return any(one.__name__ in (self.transformer, self.plus) for one in type(transformer).__mro__)

    def blocks(self, transformer: Any) -> Sequence[Any]:
        return transformer.double_blocks

    def parts(self, block: Any) -> tuple[Any, ...]:
        attention = getattr(block, "attn", None)
        return tuple(getattr(attention, name, None) for name in ("img_attn_qkv", "img_attn_proj", "txt_attn_qkv"))

    def fused(self, attention: Any) -> bool:
        return True

    def keys_from(self, attention: Any) -> nn.Module:
        return attention.img_attn_qkv

    def values_from(self, attention: Any) -> nn.Module:
        return attention.img_attn_qkv

    def key_norm(self, attention: Any) -> nn.Module:
        return attention.img_attn_k_norm

    def output_layer(self, attention: Any) -> nn.Module:
        return attention.img_attn_proj

    def evaluation(self, given: dict[str, Any], pipe: Any) -> Evaluation:
        count, sigma = len(given["hidden_states"]), float(given["timestep"].flatten()[0]) / 1000
        if given.get("shape_list") is None:  # Edit's call has the prompt alone, the picture behind its reference
            height, width = given["hidden_states"].shape[-2:]
            return Evaluation(sigma, count, (height // self.patch, width // self.patch))
        # Plus says the shapes of the picture and of its references; the negative prompt's half comes first.
        _, height, width = given["shape_list"][0][0]
        guided = getattr(pipe, "do_classifier_free_guidance", False)
        rows = slice(count // 2, count) if guided else slice(0, count)
        return Evaluation(sigma, rows.stop - rows.start, (height, width), rows)

    def watched(self, transformer: Any) -> dict[str, nn.Module]:
        return {"text": transformer.condition_embedder.text_embedder, "block": transformer.double_blocks[0]}

    def begin(
        self, transformer: Any, concepts: Concepts, seen: dict[str, list[Seen]], evaluation: Evaluation
    ) -> Start:
        text, given = seen["text"][0].args[0], seen["block"][0].kwargs
        six = given["temb"][evaluation.rows]
        picture = given["image_rotary_emb"]
        cosines, sines = picture[0] if isinstance(picture[0], tuple) else (one[0] for one in picture)

        def path(rows: Tensor) -> Tensor:
            return transformer.condition_embedder.text_embedder.forward(rows.to(text))

        rotate = rotation((cosines[evaluation.image], sines[evaluation.image]))
        return Start(
            pool_captions(concepts, path), lambda index: text_stream(transformer.double_blocks[index], six), rotate
        )

    def caption(self, pipe: Any, name: str, max_sequence_length: int) -> Caption:
        """A concept has no picture beside it."""
        if pipe.text_encoder is None or pipe.tokenizer is None:
            raise ValueError(no_text_encoder("text encoder (`text_encoder`)"))
        dropped = pipe.prompt_template_encode_start_idx[TEMPLATE]
        own = template_pieces(lambda text: pieces(pipe, text), name)
        return own_rows(rows_of(pipe, name)[0], tuple(at - dropped for at in own))

    def prompt(self, pipe: Any, text: str, count: int, max_sequence_length: int) -> dict[str, Any]:
        return {"encoder_hidden_states": rows_of(pipe, text).expand(count, -1, -1)}

    def latent(self, vae: Any, pixels: Tensor) -> Tensor:
        return latent(vae, pixels)

    def inputs(
        self, transformer: Any, noised: Tensor, noise_level: float, guidance: float, told: dict[str, Any]
    ) -> dict[str, Any]:
        time = torch.full((len(noised),), 1000 * noise_level, device=noised.device)
        if type(transformer).__name__ != self.plus:
            return {**told, "hidden_states": noised[:, :, None], "timestep": time}
        patches = rearrange(noised, "b c (h p) (w q) -> b (h w) c 1 p q", p=self.patch, q=self.patch)
        shape = (1, noised.shape[2] // self.patch, noised.shape[3] // self.patch)
        return {**told, "hidden_states": patches, "timestep": time, "shape_list": [[shape]] * len(noised)}


def text_stream(block: Any, six: Tensor) -> ModulatedBlock:
    """The text stream of one block. six: ``(B, 6, D)``, to which each block adds its own table."""
    attention = block.attn

    def qkv(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        parts = attention.txt_attn_qkv(x).chunk(3, dim=-1)
        query, key, value = (by_heads(part, attention.heads) for part in parts)
        return attention.txt_attn_q_norm(query), attention.txt_attn_k_norm(key), value

    modulations = halves([part[:, None] for part in block.txt_mod(six)])
    return ModulatedBlock(
        *modulations, block.txt_norm1, block.txt_norm2, qkv, attention.txt_attn_proj, block.txt_mlp
    )


def pieces(pipe: Any, text: str) -> list[int]:
    """A text's pieces in the pipelines' template."""
    return pipe.tokenizer(pipe.prompt_template_encode[TEMPLATE].format(TURN.format(text))).input_ids


def rows_of(pipe: Any, text: str) -> Tensor:
    """A text without a picture: ``(1, T, width)``, what leads the template cut off."""
    if hasattr(pipe, "encode_prompt"):
        return pipe.encode_prompt(prompt=text)[0]
    return pipe.encode_prompt_multiple_images(prompt=TURN.format(text))[0]
