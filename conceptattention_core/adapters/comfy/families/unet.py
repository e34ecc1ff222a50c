"""Stable Diffusion's UNets, 1.5, 2 and XL: text is read by cross attention, on grids of several sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from comfy.model_base import BaseModel
from torch import Tensor

from ....concepts import Concepts
from ....cross import CrossPass, Place, grid_of, to_grid
from ..call import Call
from ..pieces import TextEncoder, template_pieces
from .base import is_a, placed
from .cross import CrossFamily

UNET = "comfy.ldm.modules.diffusionmodules.openaimodel.UNetModel"


@dataclass(frozen=True)
class Spatial:
    """One of a UNet's spatial transformers: where it is, and how often the latent has been halved there."""

    block: tuple[str, int]
    module: Any
    halved: int


def spatial_transformers(dit: Any) -> Iterator[Spatial]:
    """All of them, in the order in which they run."""
    halved = 0
    parts = [(("input", at), one) for at, one in enumerate(dit.input_blocks)]
    parts += [(("middle", 0), dit.middle_block)] if dit.middle_block is not None else []
    parts += [(("output", at), one) for at, one in enumerate(dit.output_blocks)]
    for block, layers in parts:
        for layer in layers:
            kind = type(layer).__name__
            if kind in ("SpatialTransformer", "SpatialVideoTransformer"):
                yield Spatial(block, layer, halved)
            halved += (kind == "Downsample") - (kind == "Upsample")


class UNetFamily(CrossFamily):
    """What all of them have in common. A block is one spatial transformer, the mean over its own blocks."""

    block_name = "Spatial transformer"
    vae = "the VAE inside its checkpoint (Load Checkpoint)"

    def owns(self, model: BaseModel, dit: Any) -> bool:
        # Video UNets read time as well, and those without text have nothing to read.
        return is_a(dit, UNET) and all(
            type(one.module).__name__ == "SpatialTransformer" for one in spatial_transformers(dit)
        )

    def depth(self, dit: Any) -> int:
        return sum(1 for _ in spatial_transformers(dit))

    def patch(self, dit: Any) -> int:
        return 2 ** min(one.halved for one in spatial_transformers(dit))

    def context_width(self, dit: Any) -> int:
        return next(spatial_transformers(dit)).module.transformer_blocks[0].attn2.to_k.in_features

    def tokens(self, call: Call, concepts: Concepts) -> Tensor:
        # Keys and values are linear in the text: pooling before them is the same as behind.
        return placed(concepts.embeddings, call)

    def places(self, dit: Any) -> frozenset[Place]:
        return frozenset(
            (block, part)
            for block, one in enumerate(spatial_transformers(dit))
            for part in range(len(one.module.transformer_blocks))
        )

    def place(self, call: Call, options: dict[str, Any]) -> Place | None:
        named = [one.block for one in spatial_transformers(call.dit)]
        block = options.get("block")
        return (named.index(block), int(options["block_index"])) if block in named else None

    def read(self, call: Call, place: Place, tokens: Tensor, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
        attention = list(spatial_transformers(call.dit))[place[0]].module.transformer_blocks[place[1]].attn2
        return attention.to_k(tokens), attention.to_v(tokens)

    def stacked(self, call: Call, concepts: CrossPass, grid: tuple[int, ...]) -> Tensor:
        """The grid of every level is the latent's, halved and rounded up, level by level; or what a node made of it."""
        latent, patch, found = call.x.shape[-2:], self.patch(call.dit), []
        for block, one in enumerate(spatial_transformers(call.dit)):
            scores, side = concepts.block_scores(block), 2**one.halved
            halved = -(-latent[0] // side), -(-latent[1] // side)
            own = grid_of(scores.shape[2], halved)
            found.append(to_grid(scores.unflatten(2, own), (grid[0], grid[1]), side // patch).flatten(2))
        return torch.stack(found).cpu()


class SDXL(UNetFamily):
    name = "SDXL"
    models = "SDXL 1.0, Turbo, Lightning, Pony, Illustrious and other fine-tunes"
    text = TextEncoder(
        ("l",),
        "the CLIP of Load Checkpoint, or DualCLIPLoader with type 'sdxl', with a CLIP-L and a CLIP-G file",
        template_pieces,
        beside=frozenset({"g"}),
        causal=True,
    )

    def owns(self, model: BaseModel, dit: Any) -> bool:
        return is_a(model, "comfy.model_base.SDXL") and super().owns(model, dit)

    def pooled_width(self, dit: Any) -> int:
        return dit.label_emb[0][0].in_features - 6 * 256  # the rest are the picture's sizes


class StableDiffusion1(UNetFamily):
    name = "Stable Diffusion 1.5"
    models = "SD 1.5, SD 2.1 and their fine-tunes"
    text = TextEncoder(("l", "h"), "the CLIP of Load Checkpoint", template_pieces, causal=True)

    def owns(self, model: BaseModel, dit: Any) -> bool:
        return type(model) is BaseModel and super().owns(model, dit)
