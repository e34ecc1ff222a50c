"""Cosmos-Predict2: pictures and videos whose tokens read T5's own rows by cross attention, each head normalised."""

from __future__ import annotations

from typing import Any

from comfy.model_base import BaseModel
from einops import rearrange
from torch import Tensor

from ....concepts import Concepts
from ....cross import VIDEO_PROJECTIONS, Place
from ..call import Call
from ..pieces import TextEncoder, t5_pieces
from .base import is_a, placed
from .cross import CrossFamily


class CosmosPredict2(CrossFamily):
    name = "Cosmos-Predict2"
    models = "Cosmos-Predict2 text to image, 2B and 14B"
    text = TextEncoder(("t5xxl",), "CLIPLoader with type 'cosmos' and oldt5_xxl", t5_pieces)
    frames = True
    vae = "Wan's VAE (Load VAE with wan_2.1_vae)"

    def owns(self, model: BaseModel, dit: Any) -> bool:
        return is_cosmos(model, dit) and not model.image_to_video

    def depth(self, dit: Any) -> int:
        return len(dit.blocks)

    def patch(self, dit: Any) -> int:
        return int(dit.patch_spatial)

    def context_width(self, dit: Any) -> int:
        return dit.blocks[0].cross_attn.context_dim

    def tokens(self, call: Call, concepts: Concepts) -> Tensor:
        return placed(concepts.embeddings, call)

    def read(self, call: Call, place: Place, tokens: Tensor, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
        attention = call.dit.blocks[place[0]].cross_attn
        keys = rearrange(attention.k_proj(tokens), "b c (h d) -> b c h d", h=attention.n_heads)
        return rearrange(attention.k_norm(keys), "b c h d -> b c (h d)"), attention.v_proj(tokens)


class CosmosPredict2Video(CosmosPredict2):
    """The same transformer, given a mask of the frames that are known already."""

    name = "Cosmos-Predict2 video"
    models = "Cosmos-Predict2 video to world, 2B and 14B"
    projections = VIDEO_PROJECTIONS
    video = True
    pictures_of_a_frame = 4

    def owns(self, model: BaseModel, dit: Any) -> bool:
        return is_cosmos(model, dit) and model.image_to_video

    def latent_frames(self, dit: Any) -> int:
        return int(dit.patch_temporal)


def is_cosmos(model: BaseModel, dit: Any) -> bool:
    return is_a(model, "comfy.model_base.CosmosPredict2") and is_a(dit, "comfy.ldm.cosmos.predict2.MiniTrainDIT")
