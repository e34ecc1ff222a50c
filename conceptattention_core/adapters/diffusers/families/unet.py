"""Stable Diffusion's UNets, 1.5, 2 and XL: text is read by cross attention, on grids of several sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ....concepts import Caption, Concepts
from ....cross import CrossPass, Place, grid_of, to_grid
from ..pieces import own_rows
from .base import Evaluation, Seen, no_text_encoder
from .cross import CrossFamily, Read, keys_and_values
from .sd3 import clip_pieces

CELL = 8
"""Pixels of a latent cell, each way."""
LAST_STEP = 999
"""The schedule's noisiest timestep."""


class UNetFamily(CrossFamily):
    """What all of them have in common. A block is one spatial transformer, the mean over its own blocks.

    addition: what the UNet adds to its timestep, as its config calls it.
    """

    transformer = "UNet2DConditionModel"
    block_name = "Spatial transformer"
    only_listed = True  # a UNet does many things, and others lay out their guidance's batch otherwise
    input_layer = "conv_in"
    steps = 50
    addition: str | None = None

    def owns(self, transformer: nn.Module) -> bool:
        # Others read pictures or two texts beside the prompt, and were never checked.
        asked = ("addition_embed_type", "class_embed_type", "dual_cross_attention")
        config: Mapping[str, Any] = getattr(transformer, "config", {})
        return (
            super().owns(transformer)
            and [config.get(name) or None for name in asked] == [self.addition, None, None]
            and config.get("encoder_hid_dim_type") in (None, "ip_image_proj")
        )

    def blocks(self, transformer: Any) -> Sequence[Any]:
        return list(spatial_transformers(transformer))

    def parts(self, block: Any) -> tuple[Any, ...]:
        return tuple(part for one in block.transformer_blocks for part in super(UNetFamily, self).parts(one))

    def attentions(self, transformer: Any) -> Mapping[Place, Any]:
        return {
            (at, number): self.attention(one)
            for at, spatial in enumerate(spatial_transformers(transformer))
            for number, one in enumerate(spatial.transformer_blocks)
        }

    def read_again(self, attention: Any) -> dict[str, nn.Module]:
        # An IP-Adapter adds what was read of its picture to what was read of the prompt.
        return {"keys": attention.to_k, "values": attention.to_v} if hasattr(attention.processor, "to_k_ip") else {}

    def evaluation(self, given: dict[str, Any], pipe: Any) -> Evaluation:
        total, _, height, width = given["sample"].shape
        # The negative prompt's part of the batch comes first, what perturbed attention guidance disturbs last.
        guided = bool(getattr(pipe, "do_classifier_free_guidance", False))
        count = total // (1 + guided + bool(getattr(pipe, "do_perturbed_attention_guidance", False)))
        return Evaluation(
            sigma=float(torch.as_tensor(given["timestep"]).flatten()[0]) / 1000,
            batch=count,
            grid=(math.ceil(height / self.patch), math.ceil(width / self.patch)),
            rows=slice(guided * count, (guided + 1) * count),
            token_pixels=self.token_pixels,
        )

    def watched(self, transformer: Any) -> dict[str, nn.Module]:
        return {"time": transformer.time_embedding}

    def reader(
        self, transformer: Any, concepts: Concepts, seen: dict[str, list[Seen]], evaluation: Evaluation
    ) -> Read:
        # Keys and values are linear in the text: pooling before them is the same as behind.
        tokens, found = concepts.embeddings.to(seen["time"][0].output), self.attentions(transformer)
        return lambda place: keys_and_values(found[place], tokens)

    def stacked(self, concepts: CrossPass, evaluation: Evaluation) -> Tensor:
        """The grid of every level is the finest one, halved and rounded up, level by level."""
        (h, w), found = evaluation.grid, []
        for block in concepts.blocks:
            scores = concepts.block_scores(block)
            halved = 2 ** round(math.log2(h * w / scores.shape[2]) / 2)
            own = grid_of(scores.shape[2], (math.ceil(h / halved), math.ceil(w / halved)))
            found.append(to_grid(scores.unflatten(2, own), (h, w), halved).flatten(2))
        return torch.stack(found).cpu()

    def latent(self, vae: Any, pixels: Tensor) -> Tensor:
        return vae.encode(pixels).latent_dist.mode() * vae.config.scaling_factor

    def noised(self, pipe: Any, latent: Tensor, noise: Tensor, noise_level: float) -> Tensor:
        kept = float(pipe.scheduler.alphas_cumprod[round(LAST_STEP * noise_level)])
        return kept**0.5 * latent + (1 - kept) ** 0.5 * noise

    def inputs(
        self, transformer: Any, noised: Tensor, noise_level: float, guidance: float, told: dict[str, Any]
    ) -> dict[str, Any]:
        if transformer.config.in_channels != noised.shape[1]:
            raise ValueError(
                f"This UNet reads {transformer.config.in_channels} latent channels and a picture has "
                f"{noised.shape[1]}: it is made for inpainting or another task that needs more than a picture. Use a "
                f"plain {self.name}."
            )
        return {**told, "sample": noised, "timestep": torch.tensor(round(LAST_STEP * noise_level))}


class SDXL(UNetFamily):
    name = "SDXL"
    pipelines = (
        "StableDiffusionXLPipeline",
        "StableDiffusionXLImg2ImgPipeline",
        "StableDiffusionXLInpaintPipeline",
        "StableDiffusionXLControlNetPipeline",
        "StableDiffusionXLControlNetImg2ImgPipeline",
        "StableDiffusionXLControlNetInpaintPipeline",
        "StableDiffusionXLPAGPipeline",
    )
    addition = "text_time"
    cfg = 5.0

    def caption(self, pipe: Any, name: str, max_sequence_length: int) -> Caption:
        """CLIP-L's pieces; its rows stand beside CLIP-G's."""
        if pipe.text_encoder is None or pipe.text_encoder_2 is None:
            raise ValueError(no_text_encoder("CLIP-L or no CLIP-G (`text_encoder`, `text_encoder_2`)"))
        rows, *_ = pipe.encode_prompt(prompt=name, do_classifier_free_guidance=False)
        return own_rows(rows[0], clip_pieces(pipe, name))

    def prompt(self, pipe: Any, text: str, count: int, max_sequence_length: int) -> dict[str, Any]:
        context, _, pooled, _ = pipe.encode_prompt(
            prompt=text, num_images_per_prompt=count, do_classifier_free_guidance=False
        )
        return {"encoder_hidden_states": context, "added_cond_kwargs": {"text_embeds": torch.zeros_like(pooled)}}

    def inputs(
        self, transformer: Any, noised: Tensor, noise_level: float, guidance: float, told: dict[str, Any]
    ) -> dict[str, Any]:
        made = super().inputs(transformer, noised, noise_level, guidance, told)
        size = [CELL * side for side in noised.shape[2:]]
        sizes = torch.tensor([[*size, 0, 0, *size]] * len(noised)).to(noised)  # nothing is cut off
        return {**made, "added_cond_kwargs": {**told["added_cond_kwargs"], "time_ids": sizes}}


class StableDiffusion1(UNetFamily):
    name = "Stable Diffusion 1.5"
    pipelines = (
        "StableDiffusionPipeline",
        "StableDiffusionImg2ImgPipeline",
        "StableDiffusionInpaintPipeline",
        "StableDiffusionControlNetPipeline",
        "StableDiffusionControlNetImg2ImgPipeline",
        "StableDiffusionControlNetInpaintPipeline",
        "StableDiffusionPAGPipeline",
    )
    patch = 1
    token_pixels = CELL
    cfg = 7.5

    def caption(self, pipe: Any, name: str, max_sequence_length: int) -> Caption:
        if pipe.text_encoder is None or pipe.tokenizer is None:
            raise ValueError(no_text_encoder("CLIP (`text_encoder`)"))
        rows, _ = pipe.encode_prompt(name, pipe._execution_device, 1, False)
        return own_rows(rows[0], clip_pieces(pipe, name))

    def prompt(self, pipe: Any, text: str, count: int, max_sequence_length: int) -> dict[str, Any]:
        return {"encoder_hidden_states": pipe.encode_prompt(text, pipe._execution_device, count, False)[0]}


def spatial_transformers(unet: Any) -> Iterator[Any]:
    """All that read the prompt, in the order in which they run."""
    for part in (*unet.down_blocks, unet.mid_block, *unet.up_blocks):
        yield from (one for one in getattr(part, "attentions", ()) if type(one).__name__ == "Transformer2DModel")
