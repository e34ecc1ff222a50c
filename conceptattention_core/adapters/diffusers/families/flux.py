"""FLUX.1: its double blocks, text without places in front of the picture, and a pooled text that concepts lack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor, nn

from ....concepts import Caption, Concepts
from ....stream import ModulatedBlock
from ..pieces import own_rows, t5_pieces
from .base import Evaluation, Family, Seen, Start, no_text_encoder
from .stream import Rotate, halves, pack, text_stream, unmoved


class Flux1(Family):
    name = "FLUX.1"
    measured = True
    pipelines = (
        "FluxPipeline",
        "FluxImg2ImgPipeline",
        "FluxInpaintPipeline",
        "FluxFillPipeline",
        "FluxControlPipeline",
        "FluxControlImg2ImgPipeline",
        "FluxControlInpaintPipeline",
        "FluxControlNetPipeline",
        "FluxControlNetImg2ImgPipeline",
        "FluxControlNetInpaintPipeline",
        "FluxKontextPipeline",
        "FluxKontextInpaintPipeline",
    )
    transformer = "FluxTransformer2DModel"

    def evaluation(self, given: dict[str, Any], pipe: Any) -> Evaluation:
        start, grid = token_grid(given["img_ids"])
        return Evaluation(float(given["timestep"].flatten()[0]), len(given["hidden_states"]), grid, start=start)

    def watched(self, transformer: Any) -> dict[str, nn.Module]:
        return {
            "time": transformer.time_text_embed,
            "text": transformer.context_embedder,
            "places": transformer.pos_embed,
        }

    def begin(
        self, transformer: Any, concepts: Concepts, seen: dict[str, list[Seen]], evaluation: Evaluation
    ) -> Start:
        # time_text_embed(timestep, [guidance,] pooled): the concepts' vector is the same with a zero pooled text.
        *times, pooled = seen["time"][0].args
        vec = transformer.time_text_embed.forward(*times, torch.zeros_like(pooled))
        rotate = image_rotation(seen["places"][0].output, seen["text"][0].output.shape[1], evaluation)

        def stream(index: int) -> ModulatedBlock:
            block = transformer.transformer_blocks[index]
            norm = block.norm1_context
            modulations = norm.linear(norm.silu(vec))[:, None].chunk(6, dim=-1)
            return double_block(block, norm.norm, modulations)

        return Start(embedded(transformer, concepts, seen), stream, rotate)

    def caption(self, pipe: Any, name: str, max_sequence_length: int) -> Caption:
        if getattr(pipe, "text_encoder_2", None) is None or getattr(pipe, "tokenizer_2", None) is None:
            raise ValueError(no_text_encoder("T5 (`text_encoder_2`)"))
        own = t5_pieces(pipe.tokenizer_2, name)
        rows, *_ = pipe.encode_prompt(prompt=name, prompt_2=name, max_sequence_length=max_sequence_length)
        return own_rows(rows[0], own)

    def prompt(self, pipe: Any, text: str, count: int, max_sequence_length: int) -> dict[str, Any]:
        context, pooled, txt_ids = pipe.encode_prompt(
            prompt=text, prompt_2=text, num_images_per_prompt=count, max_sequence_length=max_sequence_length
        )
        return {
            "encoder_hidden_states": context,
            "pooled_projections": torch.zeros_like(pooled),
            "txt_ids": txt_ids,
        }

    def inputs(
        self, transformer: Any, noised: Tensor, noise_level: float, guidance: float, told: dict[str, Any]
    ) -> dict[str, Any]:
        channels = transformer.config.in_channels
        if channels != 4 * noised.shape[1]:
            raise ValueError(
                f"This transformer reads {channels // 4} latent channels and a picture has {noised.shape[1]}: it is a "
                "Fill or Control model, which needs more than a picture. Use a plain FLUX.1."
            )
        batch, device = len(noised), noised.device
        guided = torch.full((batch,), guidance, device=device) if transformer.config.guidance_embeds else None
        return {
            **told,
            "hidden_states": pack(noised),
            "timestep": torch.full((batch,), noise_level, device=device, dtype=noised.dtype),
            "img_ids": image_ids((noised.shape[2] // 2, noised.shape[3] // 2)).to(noised),
            "guidance": guided,
        }

    def not_needed(self, transformer: Any) -> Sequence[nn.Module]:
        return transformer.single_transformer_blocks[:1]

    def call(self, pipe: Any, guidance: float, cfg: float) -> dict[str, Any]:
        return {
            "guidance_scale": guidance,
            "true_cfg_scale": cfg,
            "negative_prompt": "" if cfg > 1 else None,
        }


def token_grid(img_ids: Tensor) -> tuple[int, tuple[int, int]]:
    """Where the picture's own tokens begin, and their ``(h, w)``; reference images have higher numbers.

    img_ids: ``(N, 3 or more)``, or ``(B, N, ...)`` as some pipelines pass it: image number, row, column. Raises
    ValueError where they are no grid.
    """
    ids = (img_ids[0] if img_ids.ndim == 3 else img_ids).detach().float().cpu()
    own = (ids[:, 0] == ids[:, 0].min()).nonzero().flatten()
    start = int(own[0])
    corner = ids[own, 1:3].amin(dim=0)
    h, w = (int(side) + 1 for side in ids[own, 1:3].amax(dim=0) - corner)
    places = torch.cartesian_prod(torch.arange(h), torch.arange(w)).float()
    if not torch.equal(ids[start : start + h * w, 1:3] - corner, places) or len(own) != h * w:
        raise ValueError(f"The {len(own)} image tokens are not a full grid of rows and columns: no map can be made.")
    return start, (h, w)


def image_ids(grid: tuple[int, int]) -> Tensor:
    """Position ids ``(h * w, 3)`` float32: image number 0, row, column."""
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    return torch.stack((torch.zeros_like(rows), rows, columns), dim=-1).flatten(0, 1).float()


def image_rotation(rope: tuple[Tensor, Tensor], text_tokens: int, evaluation: Evaluation) -> Rotate:
    """To the picture's own places. rope: cosines and sines of text and picture, ``(T + N, d)`` each."""
    own = slice(text_tokens + evaluation.image.start, text_tokens + evaluation.image.stop)
    return rotation((rope[0][own], rope[1][own]))


def rotation(rope: tuple[Tensor, Tensor]) -> Rotate:
    """Keys or queries ``(B, H, N, d)`` to the places that these cosines and sines ``(N, d)`` stand for."""
    declared: Any = rope  # as a tuple of one
    return lambda x: apply_rotary_emb(x, declared)  # pyright: ignore[reportReturnType]


def embedded(transformer: Any, concepts: Concepts, seen: dict[str, list[Seen]]) -> Tensor:
    """Concepts behind the prompt's linear layer, ``(1, C, D)``: pooling before it is the same as behind it."""
    return transformer.context_embedder.forward(concepts.embeddings.to(seen["text"][0].args[0]))


def double_block(block: Any, norm1: nn.Module, parts: Sequence[Tensor], rotate: Rotate = unmoved) -> ModulatedBlock:
    """The text stream of a double block, as all of FLUX.1's relatives have it. parts: see `halves`."""
    norms, fused = (norm1, block.norm2_context), block.attn.fused_projections
    return text_stream(block.attn, halves(parts), norms, block.ff_context, fused, rotate=rotate)
