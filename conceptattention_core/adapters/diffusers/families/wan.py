"""Wan 2.1 and 2.2: videos, whose tokens read the prompt by cross attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ....concepts import Caption, Concepts, pool_captions
from ....cross import VIDEO_PROJECTIONS
from ....pieces import template_pieces
from ....times import picture_times
from ..pieces import own_rows
from .base import Evaluation, Seen, no_text_encoder
from .cross import CrossFamily, Read, keys_and_values

CONTROLLED = "WanVACETransformer3DModel"
"""The same blocks, with others beside them for a video that leads."""
PICTURES_OF_A_FRAME = 4
"""What its VAE decodes every latent frame but the first to."""


class Wan(CrossFamily):
    name = "Wan"
    pipelines = (
        "WanPipeline",
        "WanImageToVideoPipeline",
        "WanVideoToVideoPipeline",
        "WanVACEPipeline",
        "LucyEditPipeline",
    )
    transformer = "WanTransformer3DModel"
    projections = VIDEO_PROJECTIONS
    video = True
    captions = True
    input_layer = "patch_embedding"
    steps = 50
    cfg = 5.0

    def owns(self, transformer: nn.Module) -> bool:
        return super().owns(transformer) or type(transformer).__name__ == CONTROLLED

    def blocks(self, transformer: Any) -> Sequence[Any]:
        return transformer.blocks

    def read_again(self, attention: Any) -> dict[str, nn.Module]:
        if attention.add_k_proj is None:
            return {}
        # What was read of a picture by CLIP Vision is added to what was read of the prompt.
        values = attention.to_kv if getattr(attention, "fused_projections", False) else attention.to_v
        return {"keys": attention.norm_k, "values": values}

    def evaluation(self, given: dict[str, Any], pipe: Any) -> Evaluation:
        count, channels, frames, height, width = given["hidden_states"].shape
        h, w = height // self.patch, width // self.patch
        control = given.get("control_hidden_states")
        references = 0 if control is None else leading(control, channels)
        # Wan 2.2's 5B has a timestep for each token, 0 where a given picture stands.
        level = float(torch.as_tensor(given["timestep"]).max()) / 1000
        return Evaluation(
            sigma=level,
            batch=count,
            grid=(frames - references, h, w),
            start=references * h * w,
            times=picture_times(frames - references, PICTURES_OF_A_FRAME),
            token_pixels=self.patch * getattr(pipe, "vae_scale_factor_spatial", 8),
        )

    def watched(self, transformer: Any) -> dict[str, nn.Module]:
        return {"text": transformer.condition_embedder.text_embedder}

    def reader(
        self, transformer: Any, concepts: Concepts, seen: dict[str, list[Seen]], evaluation: Evaluation
    ) -> Read:
        text, like = transformer.condition_embedder.text_embedder, seen["text"][0].args[0]

        def path(rows: Tensor) -> Tensor:
            return text.forward(rows.to(like))

        tokens = pool_captions(concepts, path)
        return lambda place: keys_and_values(transformer.blocks[place[0]].attn2, tokens)

    def caption(self, pipe: Any, name: str, max_sequence_length: int) -> Caption:
        if pipe.text_encoder is None or pipe.tokenizer is None:
            raise ValueError(no_text_encoder("UMT5 (`text_encoder`)"))
        own = template_pieces(lambda text: pipe.tokenizer(text).input_ids, name)
        rows, _ = pipe.encode_prompt(
            prompt=name, do_classifier_free_guidance=False, max_sequence_length=max_sequence_length
        )
        return own_rows(rows[0], own)


def leading(control: Tensor, channels: int) -> int:
    """VACE's reference pictures, which are frames in front of the video while the model looks at it.

    control: ``(B, 2 channels + mask, frames, h, w)``, what is kept, what is to change, and the mask: the last two are
    nothing at all in a reference, and what a VAE makes of no picture is something.
    """
    nothing = ~control[:, channels:].any(dim=1).any(dim=-1).any(dim=-1).any(dim=0)
    return int(nothing.int().cumprod(dim=0).sum())
