"""HunyuanVideo, HunyuanVideo 1.5 and HunyuanImage 2.1: FLUX.1's double blocks, a text path that reads the timestep."""

from __future__ import annotations

from typing import Any

import torch
from comfy.ldm.flux.layers import timestep_embedding
from comfy.model_base import BaseModel
from torch import Tensor

from ....concepts import Concepts
from ..call import Call
from ..pieces import TextEncoder, template_pieces
from .base import Layout, is_a, pool_behind
from .flux import FluxFamily, Rotate

DIT = "comfy.ldm.hunyuan_video.model.HunyuanVideo"
MODELS = "comfy.model_base"


class HunyuanFamily(FluxFamily):
    """What all models of ComfyUI's HunyuanVideo class share."""

    whole_captions = True
    frames = True
    video = True
    pictures_of_a_frame = 4

    def patch(self, dit: Any) -> int:
        return int(dit.patch_size[-1])

    def latent_frames(self, dit: Any) -> int:
        return int(dit.patch_size[0])

    def layout(self, call: Call, count: int) -> Layout:
        # Quoted text, a seen picture and a reference may stand in front as well: the video is always last.
        return Layout(call.text_tokens, count)

    def tokens(self, call: Call, concepts: Concepts) -> Tensor:
        dit, time = call.dit, call.timestep()[:1]  # a sampler gives all rows of a prompt one timestep

        def refine(captions: Tensor) -> Tensor:
            """Captions of their own, ``(n, T, width)``, through the refiner: ``(n, T, D)``."""
            rows = dit.txt_in(captions, time.expand(len(captions)), None)
            if dit.cond_type_embedding is None:
                return rows
            return rows + dit.cond_type_embedding.weight[0].to(rows)  # 0: words of the prompt

        return pool_behind(concepts, call, refine)

    def vector(self, call: Call) -> Tensor:
        """Modulation vector of the concepts, ``(B, D)``: time and guidance as the prompt's, the pooled text zero.

        Where the first frame is a given picture, it has a vector of its own, and text keeps the others'.
        """
        dit = call.dit
        vec = dit.time_in(timestep_embedding(call.timestep(), 256, time_factor=1.0).to(call.dtype))
        following = next_sigma(call)
        if following is not None:
            vec = vec + dit.time_r_in(timestep_embedding(following, 256).to(call.dtype))
            vec = vec if dit.params.meanflow_sum else vec / 2
        if dit.vector_in is not None:
            vec = vec + dit.vector_in(vec.new_zeros(len(vec), dit.params.vec_in_dim))
        guidance = call.cond("guidance")
        if dit.params.guidance_embed and guidance is not None:
            vec = vec + dit.guidance_in(timestep_embedding(guidance, 256).to(call.dtype))
        return vec

    def own_places(self, call: Call, concepts: Concepts) -> Rotate:
        return lambda query, key: (query, key)  # text has none


def next_sigma(call: Call) -> Tensor | None:
    """``(1,)``: the noise level that the step goes to, which distilled models (MeanFlow) read; else None.

    As ComfyUI's own forward, which goes without it between two levels of the schedule.
    """
    if call.dit.time_r_in is None or call.conds.get("disable_time_r", False):
        return None
    schedule = call.options["sample_sigmas"]
    (at,) = torch.where(call.options["sigmas"][0] == schedule)
    return schedule[at[0] + 1][None].to(call.device, torch.float32) if len(at) else None


class HunyuanVideo(HunyuanFamily):
    name = "HunyuanVideo"
    models = "HunyuanVideo, text and image to video"
    text = TextEncoder(
        ("llama",),
        "DualCLIPLoader with type 'hunyuan_video', with a CLIP-L and a LLaVA Llama 3 file",
        template_pieces,
        beside=frozenset({"l"}),
        causal=True,
    )
    vae = "HunyuanVideo's VAE (Load VAE with hunyuan_video_vae)"

    def owns(self, model: BaseModel, dit: Any) -> bool:
        return (
            is_a(dit, DIT) and is_a(model, f"{MODELS}.HunyuanVideo") and not is_a(model, f"{MODELS}.HunyuanVideo15")
        )

    def why_not_for_pictures(self, model: BaseModel, dit: Any) -> str:
        if dit.in_channels == dit.out_channels:
            return ""
        return (
            "This MODEL makes a video of a picture, and reads more than a picture. Use a HunyuanVideo for text to "
            "video."
        )


class HunyuanVideo15(HunyuanFamily):
    name = "HunyuanVideo 1.5"
    models = "HunyuanVideo 1.5, text and image to video"
    text = TextEncoder(
        ("qwen25_7b",),
        "DualCLIPLoader with type 'hunyuan_video_15', with a Qwen2.5-VL 7B and a ByT5 file",
        template_pieces,
        beside=frozenset({"byt5"}),
        causal=True,
    )
    # Nobody has said which of its 54 blocks are good.
    default_blocks = (0, -1)
    vae = "HunyuanVideo 1.5's VAE (Load VAE with hunyuanvideo15_vae)"

    def owns(self, model: BaseModel, dit: Any) -> bool:
        # The one that makes a video larger has another picture beside it, and was never checked.
        return (
            is_a(dit, DIT)
            and is_a(model, f"{MODELS}.HunyuanVideo15")
            and not is_a(model, f"{MODELS}.HunyuanVideo15_SR_Distilled")
        )

    def why_not_for_pictures(self, model: BaseModel, dit: Any) -> str:
        return ""  # where no picture is given to begin with, it reads an empty one


class HunyuanImage21(HunyuanFamily):
    name = "HunyuanImage 2.1"
    models = "HunyuanImage 2.1, and distilled"
    text = TextEncoder(
        ("qwen25_7b",),
        "DualCLIPLoader with type 'hunyuan_image', with a Qwen2.5-VL 7B and a ByT5 file",
        template_pieces,
        beside=frozenset({"byt5"}),
        causal=True,
    )
    frames = False
    video = False
    pictures_of_a_frame = 1
    vae = "HunyuanImage 2.1's VAE (Load VAE with hunyuan_image_2.1_vae)"

    def latent_frames(self, dit: Any) -> int:
        return 1

    def owns(self, model: BaseModel, dit: Any) -> bool:
        # Its refiner has another picture beside its own, and was never checked.
        return (
            is_a(dit, DIT)
            and is_a(model, f"{MODELS}.HunyuanImage21")
            and not is_a(model, f"{MODELS}.HunyuanImage21Refiner")
        )

    def why_not_for_pictures(self, model: BaseModel, dit: Any) -> str:
        return ""
