"""FLUX.2 dev and Klein: FLUX.1's double blocks with one modulation for all of them, and text that has places."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from ....concepts import Caption, Concepts
from ....pieces import template_pieces
from ....stream import ModulatedBlock
from ..pieces import own_rows
from .base import Evaluation, Seen, Start, no_text_encoder
from .flux import Flux1, double_block, embedded, image_ids, rotation


class Flux2(Flux1):
    name = "FLUX.2"
    measured = False
    pipelines = ("Flux2Pipeline", "Flux2KleinPipeline", "Flux2KleinInpaintPipeline", "Flux2KleinKVPipeline")
    transformer = "Flux2Transformer2DModel"
    # The authors' choices: the last three of dev's eight double blocks, and a temperature of 1000.
    default_blocks = (-3, -1)
    temperature = 1000.0
    captions = True
    patch = 1
    cfg = 4.0  # of Klein's base models; distilled ones have none, and dev is told its guidance

    def watched(self, transformer: Any) -> dict[str, nn.Module]:
        return {
            "modulations": transformer.double_stream_modulation_txt,
            "text": transformer.context_embedder,
            "places": transformer.pos_embed,
        }

    def begin(
        self, transformer: Any, concepts: Concepts, seen: dict[str, list[Seen]], evaluation: Evaluation
    ) -> Start:
        shared = seen["modulations"][0].output[:, None].chunk(6, dim=-1)
        cosines, sines = seen["places"][0].output  # the picture's; the text's come after
        ids = torch.zeros(len(concepts.names), 4, device=cosines.device)
        ids[:, 3] = torch.tensor([float(one.position) for one in concepts.captions])
        rotate = rotation(transformer.pos_embed.forward(ids))

        def stream(index: int) -> ModulatedBlock:
            block = transformer.transformer_blocks[index]
            return double_block(block, block.norm1_context, shared, rotate)

        own = rotation((cosines[evaluation.image], sines[evaluation.image]))
        return Start(embedded(transformer, concepts, seen), stream, own)

    def caption(self, pipe: Any, name: str, max_sequence_length: int) -> Caption:
        if pipe.text_encoder is None or pipe.tokenizer is None:
            raise ValueError(no_text_encoder("text encoder (`text_encoder`)"))
        own = template_pieces(lambda text: pieces(pipe, text, max_sequence_length), name)
        rows, _ = pipe.encode_prompt(prompt=name, max_sequence_length=max_sequence_length)
        return own_rows(rows[0], own)

    def prompt(self, pipe: Any, text: str, count: int, max_sequence_length: int) -> dict[str, Any]:
        context, txt_ids = pipe.encode_prompt(
            prompt=text, num_images_per_prompt=count, max_sequence_length=max_sequence_length
        )
        return {"encoder_hidden_states": context, "txt_ids": txt_ids}

    def latent(self, vae: Any, pixels: Tensor) -> Tensor:
        tokens = vae.encode(pixels).latent_dist.mode()
        patches = rearrange(tokens, "b c (h p) (w q) -> b (c p q) h w", p=2, q=2)
        mean, variance = (one.view(1, -1, 1, 1) for one in (vae.bn.running_mean, vae.bn.running_var))
        return (patches - mean) / torch.sqrt(variance + vae.config.batch_norm_eps)

    def inputs(
        self, transformer: Any, noised: Tensor, noise_level: float, guidance: float, told: dict[str, Any]
    ) -> dict[str, Any]:
        batch, device = len(noised), noised.device
        ids = torch.nn.functional.pad(image_ids((noised.shape[2], noised.shape[3])), (0, 1))
        return {
            **told,
            "hidden_states": rearrange(noised, "b c h w -> b (h w) c"),
            "timestep": torch.full((batch,), noise_level, device=device, dtype=noised.dtype),
            "img_ids": ids.to(device),
            "guidance": torch.full((batch,), guidance, device=device) if transformer.config.guidance_embeds else None,
        }

    def loaded_as(self, pipeline: str) -> str:
        return "Flux2KleinPipeline" if "Klein" in pipeline else "Flux2Pipeline"

    def steps_of(self, pipe: Any) -> int:
        return 4 if pipe.config.get("is_distilled") else self.steps

    def call(self, pipe: Any, guidance: float, cfg: float) -> dict[str, Any]:
        return {"guidance_scale": guidance if pipe.transformer.config.guidance_embeds else cfg}


def pieces(pipe: Any, text: str, length: int) -> list[int]:
    """A prompt's pieces as the pipeline's text encoder reads them, padding included: row for row of its result."""
    padded = {"padding": "max_length", "truncation": True, "max_length": length}
    if hasattr(pipe, "system_message"):
        from diffusers.pipelines.flux2.pipeline_flux2 import format_input

        messages = format_input([text], system_message=pipe.system_message)
        made = pipe.tokenizer.apply_chat_template(
            messages, add_generation_prompt=False, tokenize=True, return_dict=True, return_tensors="pt", **padded
        )
        return made["input_ids"][0].tolist()
    chat = [{"role": "user", "content": text}]
    told = pipe.tokenizer.apply_chat_template(
        chat, tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    return pipe.tokenizer(told, **padded).input_ids
