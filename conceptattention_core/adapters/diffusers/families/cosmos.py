"""Cosmos-Predict2: pictures and videos whose tokens read T5's own rows by cross attention, each head normalised."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ....concepts import Caption, Concepts
from ....cross import VIDEO_PROJECTIONS
from ....stream import merge_heads
from ....times import picture_times
from ..pieces import own_rows, t5_pieces
from .base import Evaluation, Family, Seen, named, no_text_encoder
from .cross import CrossFamily, Read
from .qwen import latent
from .stream import by_heads

PICTURES_OF_A_FRAME = 4
"""What its VAE decodes every latent frame but the first to."""


class CosmosPredict2(CrossFamily):
    name = "Cosmos-Predict2"
    pipelines = ("Cosmos2TextToImagePipeline",)
    transformer = "CosmosTransformer3DModel"
    heads_first = True
    input_layer = "patch_embed"
    steps = 35
    cfg = 8.0

    def owns(self, transformer: nn.Module) -> bool:
        return is_predict2(self, transformer) and not makes_videos(transformer)

    def evaluation(self, given: dict[str, Any], pipe: Any) -> Evaluation:
        count, _, frames, height, width = given["hidden_states"].shape
        grid = (height // self.patch, width // self.patch)
        return Evaluation(
            # Frames that are known already have a timestep of their own.
            sigma=float(given["timestep"].max()),
            batch=count,
            grid=(frames, *grid) if self.video else grid,
            times=picture_times(frames, PICTURES_OF_A_FRAME) if self.video else (),
        )

    def watched(self, transformer: Any) -> dict[str, nn.Module]:
        return {"block": transformer.transformer_blocks[0]}

    def reader(
        self, transformer: Any, concepts: Concepts, seen: dict[str, list[Seen]], evaluation: Evaluation
    ) -> Read:
        block, (call,) = transformer.transformer_blocks[0], seen["block"]
        tokens = concepts.embeddings.to(named(block, call.args, call.kwargs)["encoder_hidden_states"])

        def read(place: tuple[int, int]) -> tuple[Tensor, Tensor]:
            attention = transformer.transformer_blocks[place[0]].attn2
            keys = attention.norm_k.forward(by_heads(attention.to_k.forward(tokens), attention.heads))
            return merge_heads(keys), attention.to_v.forward(tokens)

        return read

    def caption(self, pipe: Any, name: str, max_sequence_length: int) -> Caption:
        if pipe.text_encoder is None or pipe.tokenizer is None:
            raise ValueError(no_text_encoder("T5 (`text_encoder`)"))
        own = t5_pieces(pipe.tokenizer, name)
        rows, _ = pipe.encode_prompt(
            prompt=name, do_classifier_free_guidance=False, max_sequence_length=max_sequence_length
        )
        return own_rows(rows[0], own)

    def prompt(self, pipe: Any, text: str, count: int, max_sequence_length: int) -> dict[str, Any]:
        rows, _ = pipe.encode_prompt(
            prompt=text,
            do_classifier_free_guidance=False,
            num_images_per_prompt=count,
            max_sequence_length=max_sequence_length,
        )
        return {"encoder_hidden_states": rows}

    def latent(self, vae: Any, pixels: Tensor) -> Tensor:
        return latent(vae, pixels)

    def inputs(
        self, transformer: Any, noised: Tensor, noise_level: float, guidance: float, told: dict[str, Any]
    ) -> dict[str, Any]:
        return {
            **told,
            "hidden_states": noised[:, :, None],
            "timestep": torch.full((len(noised),), noise_level, device=noised.device, dtype=noised.dtype),
            "padding_mask": noised.new_zeros(1, 1, *noised.shape[2:]),
        }

    def call(self, pipe: Any, guidance: float, cfg: float) -> dict[str, Any]:
        return {"guidance_scale": cfg - 1}  # its own measure is 0 without


class CosmosPredict2Video(CosmosPredict2):
    """The same transformer, given a mask of the frames that are known already."""

    name = "Cosmos-Predict2 video"
    pipelines = ("Cosmos2VideoToWorldPipeline",)
    projections = VIDEO_PROJECTIONS
    video = True

    def owns(self, transformer: nn.Module) -> bool:
        return is_predict2(self, transformer) and makes_videos(transformer)

    def prompt(self, pipe: Any, text: str, count: int, max_sequence_length: int) -> dict[str, Any]:
        return Family.prompt(self, pipe, text, count, max_sequence_length)


def is_predict2(family: Family, transformer: Any) -> bool:
    """Cosmos 1.0 has learned places in the same class, and 2.5 another text path."""
    if not Family.owns(family, transformer):
        return False
    return transformer.config.extra_pos_embed_type is None and not transformer.config.use_crossattn_projection


def makes_videos(transformer: Any) -> bool:
    """Whether it reads the mask of known frames beside the latent."""
    return transformer.config.in_channels > transformer.config.out_channels
