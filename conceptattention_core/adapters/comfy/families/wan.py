"""Wan 2.1 and 2.2: videos, whose tokens read the prompt by cross attention."""

from __future__ import annotations

from typing import Any

from comfy.model_base import BaseModel
from torch import Tensor

from ....concepts import Concepts
from ....cross import VIDEO_PROJECTIONS, Place
from ..call import Call
from ..pieces import TextEncoder, template_pieces
from .base import Layout, is_a, pool_behind
from .cross import CrossFamily

MODULE = "comfy.ldm.wan.model"
CHECKED = ("WanModel", "VaceWanModel", "CameraWanModel")
"""Those of ComfyUI's classes whose blocks and tokens are as below. Others have more tokens, audio or poses."""


class Wan(CrossFamily):
    name = "Wan"
    models = "Wan 2.1 and 2.2, text and image to video, VACE, Fun"
    text = TextEncoder(("umt5xxl",), "CLIPLoader with type 'wan' and umt5_xxl", template_pieces)
    projections = VIDEO_PROJECTIONS
    frames = True
    video = True
    pictures_of_a_frame = 4
    vae = "Wan's VAE (Load VAE with wan_2.1_vae, for the 5B model wan2.2_vae)"

    def owns(self, model: BaseModel, dit: Any) -> bool:
        return is_a(model, "comfy.model_base.WAN21") and any(
            f"{type(dit).__module__}.{type(dit).__qualname__}" == f"{MODULE}.{name}" for name in CHECKED
        )

    def depth(self, dit: Any) -> int:
        return len(dit.blocks)

    def patch(self, dit: Any) -> int:
        return int(dit.patch_size[1])

    def latent_frames(self, dit: Any) -> int:
        return int(dit.patch_size[0])

    def context_width(self, dit: Any) -> int:
        return dit.text_embedding[0].in_features

    def why_not_for_pictures(self, model: BaseModel, dit: Any) -> str:
        if dit.patch_embedding.in_channels == model.latent_format.latent_channels:
            return ""
        return (
            "This MODEL makes a video of a picture, and reads more than a picture. Use a Wan model for text to video."
        )

    def layout(self, call: Call, count: int) -> Layout:
        # A reference picture stands before the video, and whatever else a model is shown behind it.
        return Layout(0, count, first=True, before=reference_tokens(call))

    def tokens(self, call: Call, concepts: Concepts) -> Tensor:
        return pool_behind(concepts, call, call.dit.text_embedding)

    def earlier(self, call: Call, queries: int) -> int:
        # The attention to a picture's CLIP Vision comes between.
        seen = call.conds.get("clip_fea")
        between = queries if seen is not None and seen.shape[-2] == call.text_tokens else 0
        return super().earlier(call, queries) + between

    def read(self, call: Call, place: Place, tokens: Tensor, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
        attention = call.dit.blocks[place[0]].cross_attn
        return attention.norm_k(attention.k(tokens)), attention.v(tokens)


def reference_tokens(call: Call) -> int:
    """Tokens of a whole reference picture, where the model has a layer for one."""
    reference = call.conds.get("reference_latent")
    if reference is None or call.dit.ref_conv is None:
        return 0
    _, high, wide = call.dit.patch_size
    return (reference.shape[-2] // high) * (reference.shape[-1] // wide)
