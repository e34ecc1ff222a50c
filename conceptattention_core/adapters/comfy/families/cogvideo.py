"""CogVideoX 1.0 and 1.5: videos by joint blocks, whose one set of weights has a modulation for the text of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy.model_base import BaseModel
from einops import rearrange
from torch import Tensor
from torch.nn.functional import gelu

from ....concepts import Concepts
from ....stream import ModulatedBlock, Modulation
from ..call import Call
from ..pieces import TextEncoder, t5_pieces
from .base import Family, Layout, is_a, placed


class CogVideoX(Family):
    name = "CogVideoX"
    models = "CogVideoX 2B and 5B, 1.0 and 1.5, text and image to video"
    text = TextEncoder(("t5xxl",), "CLIPLoader with type 'cogvideox' and a T5-XXL file", t5_pieces)
    # The authors average all blocks.
    default_blocks = (0, -1)
    stops_early = False  # ComfyUI has no block replacements here
    frames = True
    video = True
    pictures_of_a_frame = 4
    vae = "CogVideoX's VAE (Load VAE)"

    def owns(self, model: BaseModel, dit: Any) -> bool:
        return is_a(dit, "comfy.ldm.cogvideo.model.CogVideoXTransformer3DModel")

    def depth(self, dit: Any) -> int:
        return len(dit.blocks)

    def latent_frames(self, dit: Any) -> int:
        return dit.patch_size_t or 1

    def context_width(self, dit: Any) -> int:
        return dit.patch_embed.text_proj.in_features

    def why_not_for_pictures(self, model: BaseModel, dit: Any) -> str:
        if dit.in_channels == dit.out_channels:
            return ""
        return (
            "This MODEL makes a video of a picture, and reads more than a picture. Use a CogVideoX for text to video."
        )

    def layout(self, call: Call, count: int) -> Layout:
        return Layout(call.text_tokens, count, calls=self.depth(call.dit))

    def tokens(self, call: Call, concepts: Concepts) -> Tensor:
        # Pooling before a linear layer is the same as behind it. Its weights have a dtype of their own.
        project, text = call.dit.patch_embed.text_proj, placed(concepts.embeddings, call)
        if project.weight.is_floating_point():
            text = text.to(project.weight.dtype)
        return project(text).to(call.dtype)

    def stream(self, call: Call, concepts: Concepts) -> Callable[[int], ModulatedBlock]:
        time = embedded_time(call)
        return lambda index: text_stream(call.dit.blocks[index], time)


def embedded_time(call: Call) -> Tensor:
    """``(B, width)``: the timestep's embedding, and that of image-to-video models' `ofs` besides."""
    from comfy.ldm.cogvideo.model import get_timestep_embedding  # late: older versions of ComfyUI have none

    dit = call.dit
    flip, shift = dit.time_proj_flip, dit.time_proj_shift
    known = get_timestep_embedding(call.timestep(), dit.time_proj_dim, flip, shift).to(call.dtype)
    time = dit.time_embedding_linear_2(dit.time_embedding_act(dit.time_embedding_linear_1(known)))
    ofs = call.cond("ofs")
    if ofs is None or dit.ofs_embedding_linear_1 is None:
        return time
    known = get_timestep_embedding(ofs, dit.ofs_proj_dim, flip, shift).to(call.dtype)
    return time + dit.ofs_embedding_linear_2(dit.ofs_embedding_act(dit.ofs_embedding_linear_1(known)))


def text_stream(block: Any, time: Tensor) -> ModulatedBlock:
    """A block's weights with the text's modulation, the second three of six. Text is not rotated."""

    def modulation(norm: Any) -> Modulation:
        shift, scale, gate = norm.linear(norm.silu(time))[:, None].chunk(6, dim=-1)[3:]
        return Modulation(shift, scale, gate)

    def qkv(tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        parts = (layer(tokens) for layer in (block.q, block.k, block.v))
        query, key, value = (rearrange(one, "b c (h d) -> b h c d", h=block.num_heads) for one in parts)
        return block.norm_q(query), block.norm_k(key), value

    return ModulatedBlock(
        attention=modulation(block.norm1),
        mlp_half=modulation(block.norm2),
        norm1=block.norm1.norm,
        norm2=block.norm2.norm,
        qkv=qkv,
        proj=block.attn_out,
        mlp=lambda tokens: block.ff_out(gelu(block.ff_proj(tokens), approximate="tanh")),
    )
