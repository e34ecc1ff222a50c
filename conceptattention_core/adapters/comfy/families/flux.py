"""ComfyUI's Flux: where it keeps the text stream, the image keys and values, and the attention outputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from comfy.ldm.flux.layers import DoubleStreamBlock, timestep_embedding
from comfy.ldm.flux.math import apply_rope1
from comfy.ldm.flux.model import Flux
from comfy.model_patcher import ModelPatcher
from einops import rearrange
from torch import Tensor

from ....record import Recorder
from ....scores import ConceptPass
from ....stream import Modulation, TextStream


def require_flux(model: ModelPatcher) -> Flux:
    """The FLUX.1 transformer inside a MODEL. Raises ValueError for any other family."""
    flux = model.get_model_object("diffusion_model")
    if not isinstance(flux, Flux) or flux.params.global_modulation or flux.vector_in is None:
        raise ValueError(
            f"Concept Attention works on FLUX.1 models (dev, schnell, Fill, Krea, Kontext); this MODEL is a "
            f"{type(model.model).__name__}. Load one with 'Load Diffusion Model', or try 'Load Demo Flux'."
        )
    return flux


@dataclass(frozen=True)
class FluxPass:
    """One evaluation's attention patches: they feed the concept pass and change nothing.

    rows: those of the evaluation's `batch` that carry the positive prompt.
    image_tokens: h * w, reference images' tokens not counted.
    """

    flux: Flux
    concepts: ConceptPass
    rows: slice | list[int]
    batch: int
    image_tokens: int

    @classmethod
    def start(
        cls,
        flux: Flux,
        recorder: Recorder,
        rows: slice | list[int],
        dtype: torch.dtype,
        timestep: Tensor,
        context: Tensor,
        guidance: Tensor | None,
    ) -> FluxPass:
        """Embed the concepts for this evaluation. timestep, guidance: ``(B,)``; context: ``(B, T, context_dim)``."""
        batch, timestep = len(timestep), timestep[rows]
        vec = concept_vector(flux, dtype, timestep, None if guidance is None else guidance[rows])
        embeddings = recorder.concepts.embeddings.to(device=context.device, dtype=context.dtype)
        tokens = flux.txt_in(embeddings).expand(len(timestep), -1, -1)
        return cls(flux, ConceptPass(tokens, vec, recorder.projection), rows, batch, math.prod(recorder.grid))

    def missing_blocks(self, last_block: int | None = None) -> list[int]:
        """Double blocks, of all or of those up to `last_block`, that the evaluation has ended without scoring."""
        depth = len(self.flux.double_blocks) if last_block is None else last_block + 1
        return sorted(set(range(depth)) - set(self.concepts.blocks))

    def patches(self, others: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """The call's patches with ours last, so that they see what other packs' patches made of the tensors."""
        return {
            **others,
            "attn1_patch": [*others.get("attn1_patch", []), self.attend],
            "attn1_output_patch": [*others.get("attn1_output_patch", []), self.score],
        }

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        pe: Tensor | None = None,
        attn_mask: Any = None,
        extra_options: Any = None,
    ) -> dict[str, Tensor]:
        """attn1_patch. q, k, v: ``(B, H, text + image, d)``, before the rotary embedding `pe` is applied."""
        if extra_options["block_type"] == "double":
            block = extra_options["block_index"]
            image = self.image_slice(extra_options)
            # A block that another node runs on a part of the tokens or batch, or once more, is none of the model's.
            if len(k) != self.batch or k.shape[2] < image.stop or block in self.concepts.blocks:
                return {}
            keys = k[self.rows, :, image]
            if pe is not None:
                keys = apply_rope1(keys, (pe[self.rows] if len(pe) > 1 else pe)[:, :, image])
            stream = text_stream(self.flux.double_blocks[block])
            self.concepts.attend(block, stream, keys, v[self.rows, :, image])
        else:
            self.concepts.release_tokens()
        return {}

    def score(self, attention: Tensor, extra_options: dict[str, Any]) -> Tensor:
        """attn1_output_patch. attention: ``(B, text + image, D)``, before the output projection."""
        if extra_options["block_type"] == "double":
            image = self.image_slice(extra_options)
            self.concepts.score(extra_options["block_index"], attention[self.rows, image])
        return attention

    def image_slice(self, extra_options: dict[str, Any]) -> slice:
        """The picture's own tokens: behind the prompt's, before those of Kontext's reference images."""
        start = extra_options["img_slice"][0]
        return slice(start, start + self.image_tokens)


def stop_after(flux: Flux, last_block: int, others: dict[str, Any]) -> dict[str, Any]:
    """A call's block replacements, with every block behind double block `last_block` handing on what it was given.

    So none of them runs, and no exception has to find its way out through other nodes' wrappers: they get a velocity of
    the right shape, which means nothing.
    """

    def hand_on(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        return args

    double = [("double_block", index) for index in range(last_block + 1, len(flux.double_blocks))]
    single = [("single_block", index) for index in range(len(flux.single_blocks))]
    return {**others, "dit": {**others.get("dit", {}), **dict.fromkeys([*double, *single], hand_on)}}


def concept_vector(flux: Flux, dtype: torch.dtype, timestep: Tensor, guidance: Tensor | None) -> Tensor:
    """Modulation vector of the concepts, ``(B, D)``: timestep and guidance as the prompt's, the pooled text zero."""
    vec = flux.time_in(timestep_embedding(timestep, 256).to(dtype))
    if flux.params.guidance_embed and guidance is not None:
        vec = vec + flux.guidance_in(timestep_embedding(guidance, 256).to(dtype))
    return vec + flux.vector_in(torch.zeros(len(vec), flux.params.vec_in_dim, device=vec.device, dtype=dtype))


def text_stream(block: DoubleStreamBlock) -> TextStream:
    """Point at the text stream of one of ComfyUI's double blocks; each module casts and loads its weights itself."""

    def modulation(vec: Tensor) -> tuple[Modulation, Modulation]:
        attention, mlp = block.txt_mod(vec)
        return (
            Modulation(attention.shift, attention.scale, attention.gate),
            Modulation(mlp.shift, mlp.scale, mlp.gate),
        )

    def qkv(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = rearrange(block.txt_attn.qkv(x), "b c (k h d) -> k b h c d", k=3, h=block.num_heads)
        return *block.txt_attn.norm(query, key, value), value

    return TextStream(modulation, block.txt_norm1, block.txt_norm2, qkv, block.txt_attn.proj, block.txt_mlp)
