"""HunyuanImage 2.1: FLUX.1's double blocks, a text path that reads the timestep, text without places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ....concepts import Caption, Concepts, pool_captions
from ....pieces import template_pieces
from ....stream import ModulatedBlock
from .base import Evaluation, Family, Seen, Start, no_text_encoder
from .flux import rotation
from .stream import halves, text_stream


class HunyuanImage(Family):
    name = "HunyuanImage 2.1"
    pipelines = ("HunyuanImagePipeline",)
    transformer = "HunyuanImageTransformer2DModel"
    captions = True
    patch = 1
    token_pixels = 32  # a latent cell each
    steps = 50

    def owns(self, transformer: nn.Module) -> bool:
        # The refiner reads two pictures as a video of two frames, and was never checked.
        return super().owns(transformer) and len(getattr(transformer, "config", {})["patch_size"]) == 2

    def fused(self, attention: Any) -> bool:
        return False  # its attention processor reads the separate layers, whatever else there is

    def evaluation(self, given: dict[str, Any], pipe: Any) -> Evaluation:
        count, _, height, width = given["hidden_states"].shape
        sigma = float(given["timestep"].flatten()[0]) / 1000
        grid = height // self.patch, width // self.patch
        return Evaluation(sigma, count, grid, token_pixels=self.token_pixels)

    def watched(self, transformer: Any) -> dict[str, nn.Module]:
        return {
            "time": transformer.time_guidance_embed,
            "text": transformer.context_embedder,
            "places": transformer.rope,
        }

    def begin(
        self, transformer: Any, concepts: Concepts, seen: dict[str, list[Seen]], evaluation: Evaluation
    ) -> Start:
        vec = seen["time"][0].output
        text, timestep, _ = seen["text"][0].args

        def refine(rows: Tensor) -> Tensor:
            """Captions of one length, ``(n, T, width)``, each by itself, at the prompt's time."""
            whole = torch.ones(rows.shape[:2], dtype=torch.bool, device=text.device)
            return transformer.context_embedder.forward(rows.to(text), timestep[:1].expand(len(rows)), whole)

        def stream(index: int) -> ModulatedBlock:
            block = transformer.transformer_blocks[index]
            norm = block.norm1_context
            modulations = halves(norm.linear(norm.silu(vec))[:, None].chunk(6, dim=-1))
            return text_stream(block.attn, modulations, (norm.norm, block.norm2_context), block.ff_context, False)

        return Start(pool_captions(concepts, refine), stream, rotation(seen["places"][0].output))

    def caption(self, pipe: Any, name: str, max_sequence_length: int) -> Caption:
        if pipe.text_encoder is None or pipe.tokenizer is None:
            raise ValueError(no_text_encoder("text encoder (`text_encoder`)"))
        dropped = pipe.prompt_template_encode_start_idx
        own = template_pieces(lambda text: pieces(pipe, text), name)
        nothing = torch.zeros(1, 1, 1)  # what ByT5 reads are words in quotes, to be written into the picture
        rows, mask, *_ = pipe.encode_prompt(prompt=name, prompt_embeds_2=nothing, prompt_embeds_mask_2=nothing[0])
        tokens = rows[0][mask[0].bool()].float().cpu()
        places = tuple(at - dropped for at in own)
        return Caption(tokens, places, position=places[0], length=len(tokens))

    def prompt(self, pipe: Any, text: str, count: int, max_sequence_length: int) -> dict[str, Any]:
        rows, mask, quoted, quoted_mask = pipe.encode_prompt(prompt=text, num_images_per_prompt=count)
        return {
            "encoder_hidden_states": rows,
            "encoder_attention_mask": mask,
            "encoder_hidden_states_2": quoted.to(rows),
            "encoder_attention_mask_2": quoted_mask,
        }

    def latent(self, vae: Any, pixels: Tensor) -> Tensor:
        return vae.encode(pixels).latent_dist.mode() * vae.config.scaling_factor

    def inputs(
        self, transformer: Any, noised: Tensor, noise_level: float, guidance: float, told: dict[str, Any]
    ) -> dict[str, Any]:
        time, config = torch.full((len(noised),), 1000 * noise_level).to(noised), transformer.config
        return {
            **told,
            "hidden_states": noised,
            "timestep": time,
            "timestep_r": torch.zeros_like(time) if config.use_meanflow else None,  # one step to the picture
            "guidance": torch.full_like(time, 1000 * guidance) if config.guidance_embeds else None,
        }

    def not_needed(self, transformer: Any) -> Sequence[nn.Module]:
        return transformer.single_transformer_blocks[:1]

    def cfg_of(self, pipe: Any) -> float:
        return 1.0 if pipe.guider is None else pipe.guider.guidance_scale

    def call(self, pipe: Any, guidance: float, cfg: float) -> dict[str, Any]:
        """Its real guidance is a part of the pipeline, and no argument of a call."""
        for guider in (pipe.guider, pipe.ocr_guider):
            if guider is not None:
                guider.guidance_scale = cfg
        return {"distilled_guidance_scale": guidance}


def pieces(pipe: Any, text: str) -> list[int]:
    """A text's pieces in the pipeline's template."""
    limit = pipe.tokenizer_max_length + pipe.prompt_template_encode_start_idx
    return pipe.tokenizer(pipe.prompt_template_encode.format(text), truncation=True, max_length=limit).input_ids
