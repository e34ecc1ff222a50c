"""LongCat-Image and Ovis-Image: FLUX.1's double blocks without a pooled text, and text on the picture's diagonal."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ....concepts import Caption, Concepts, pool_captions
from ....pieces import template_pieces
from ....stream import ModulatedBlock
from ..pieces import own_rows
from .base import Evaluation, Seen, Start, no_text_encoder
from .flux import Flux1, double_block, embedded, image_ids, image_rotation, rotation
from .stream import pack


class Placed(Flux1):
    """What both have in common: the text's number stands on both of the picture's axes."""

    captions = True
    measured = False

    def tokens(self, transformer: Any, concepts: Concepts, seen: dict[str, list[Seen]]) -> Tensor:
        """The concepts behind the text path, ``(1, C, D)``."""
        return embedded(transformer, concepts, seen)

    def begin(
        self, transformer: Any, concepts: Concepts, seen: dict[str, list[Seen]], evaluation: Evaluation
    ) -> Start:
        vec = seen["time"][0].output
        rope = seen["places"][0].output
        ids = torch.zeros(len(concepts.names), 3, device=rope[0].device)
        ids[:, 1:] = torch.tensor([float(one.position) for one in concepts.captions])[:, None]
        rotate = rotation(transformer.pos_embed.forward(ids))

        def stream(index: int) -> ModulatedBlock:
            block = transformer.transformer_blocks[index]
            norm = block.norm1_context
            return double_block(block, norm.norm, norm.linear(norm.silu(vec))[:, None].chunk(6, dim=-1), rotate)

        own = image_rotation(rope, seen["text"][0].output.shape[1], evaluation)
        return Start(self.tokens(transformer, concepts, seen), stream, own)

    def inputs(
        self, transformer: Any, noised: Tensor, noise_level: float, guidance: float, told: dict[str, Any]
    ) -> dict[str, Any]:
        number, first = told["corner"]
        ids = image_ids((noised.shape[2] // 2, noised.shape[3] // 2)) + torch.tensor([number, first, first])
        return {
            **{name: value for name, value in told.items() if name != "corner"},
            "hidden_states": pack(noised),
            "timestep": torch.full((len(noised),), noise_level, device=noised.device, dtype=noised.dtype),
            "img_ids": ids.to(noised.device),
        }

    def call(self, pipe: Any, guidance: float, cfg: float) -> dict[str, Any]:
        return {"guidance_scale": cfg}


class LongCat(Placed):
    name = "LongCat-Image"
    pipelines = ("LongCatImagePipeline",)
    transformer = "LongCatImageTransformer2DModel"
    steps = 50
    cfg = 4.5

    def watched(self, transformer: Any) -> dict[str, nn.Module]:
        return {
            "time": transformer.time_embed,
            "text": transformer.context_embedder,
            "places": transformer.pos_embed,
        }

    def caption(self, pipe: Any, name: str, max_sequence_length: int) -> Caption:
        if pipe.text_encoder is None or pipe.tokenizer is None:
            raise ValueError(no_text_encoder("text encoder (`text_encoder`)"))
        if type(pipe).__name__ == "LongCatImageEditPipeline":
            raise ValueError(
                "LongCatImageEditPipeline reads a prompt beside its picture only. Give it `Concepts` that "
                "`encode_concepts` made with a LongCatImagePipeline of the same parts."
            )
        rows, _ = pipe.encode_prompt(prompt=name)
        return own_rows(rows[0], tuple(range(min(len(quoted_pieces(pipe, name)), len(rows[0])))))

    def prompt(self, pipe: Any, text: str, count: int, max_sequence_length: int) -> dict[str, Any]:
        rows, txt_ids = pipe.encode_prompt(prompt=text, num_images_per_prompt=count)
        # The picture begins where the longest text would end.
        return {"encoder_hidden_states": rows, "txt_ids": txt_ids, "corner": (1, pipe.tokenizer_max_length)}

    def call(self, pipe: Any, guidance: float, cfg: float) -> dict[str, Any]:
        return {"guidance_scale": cfg, "enable_prompt_rewrite": False}


class Ovis(Placed):
    name = "Ovis-Image"
    pipelines = ("OvisImagePipeline",)
    transformer = "OvisImageTransformer2DModel"
    max_sequence_length = 256
    steps = 50
    cfg = 5.0

    def watched(self, transformer: Any) -> dict[str, nn.Module]:
        return {
            "time": transformer.timestep_embedder,
            "norm": transformer.context_embedder_norm,
            "text": transformer.context_embedder,
            "places": transformer.pos_embed,
        }

    def tokens(self, transformer: Any, concepts: Concepts, seen: dict[str, list[Seen]]) -> Tensor:
        like = seen["norm"][0].args[0]

        def path(rows: Tensor) -> Tensor:
            return transformer.context_embedder.forward(transformer.context_embedder_norm.forward(rows.to(like)))

        return pool_captions(concepts, path)

    def caption(self, pipe: Any, name: str, max_sequence_length: int) -> Caption:
        if pipe.text_encoder is None or pipe.tokenizer is None:
            raise ValueError(no_text_encoder("text encoder (`text_encoder`)"))
        own = template_pieces(lambda text: pieces(pipe, text), name)
        rows, *_ = pipe.encode_prompt(
            prompt=name, do_classifier_free_guidance=False, max_sequence_length=max_sequence_length
        )
        return own_rows(rows[0], tuple(at - pipe.user_prompt_begin_id for at in own))

    def prompt(self, pipe: Any, text: str, count: int, max_sequence_length: int) -> dict[str, Any]:
        rows, _, txt_ids, _ = pipe.encode_prompt(
            prompt=text,
            do_classifier_free_guidance=False,
            num_images_per_prompt=count,
            max_sequence_length=max_sequence_length,
        )
        return {"encoder_hidden_states": rows, "txt_ids": txt_ids, "corner": (0, 0)}


def quoted_pieces(pipe: Any, text: str) -> list[int]:
    """A text's pieces as LongCat-Image reads it: what is quoted letter by letter."""
    from diffusers.pipelines.longcat_image.pipeline_longcat_image import split_quotation

    words = [word for part, quoted in split_quotation(text) for word in (part if quoted else [part])]
    return [id for word in words for id in pipe.tokenizer(word, add_special_tokens=False).input_ids]


def pieces(pipe: Any, text: str) -> list[int]:
    """A text's pieces in Ovis-Image's template, without padding."""
    chat = [{"role": "user", "content": pipe.system_prompt + text}]
    told = pipe.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    return pipe.tokenizer(told, add_special_tokens=False).input_ids
