"""Qwen-Image and its Edit models: double blocks, text that has places behind the picture's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ....concepts import Caption, Concepts, pool_captions
from ....pieces import template_pieces
from ....stream import ModulatedBlock
from ..pieces import own_rows
from .base import Evaluation, Family, Seen, Start, no_text_encoder
from .stream import halves, pack, rotation_of_pairs, text_stream

PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
"""Where the Edit model's template shows a picture, which a concept has not."""


class QwenImage(Family):
    name = "Qwen-Image"
    pipelines = (
        "QwenImagePipeline",
        "QwenImageImg2ImgPipeline",
        "QwenImageInpaintPipeline",
        "QwenImageEditPipeline",
        "QwenImageEditInpaintPipeline",
        "QwenImageEditPlusPipeline",
        "QwenImageControlNetPipeline",
        "QwenImageControlNetInpaintPipeline",
    )
    transformer = "QwenImageTransformer2DModel"
    # Nobody has said which of its 60 blocks are good.
    default_blocks = (0, -1)
    captions = True
    input_layer = "img_in"
    steps = 50
    cfg = 4.0

    def owns(self, transformer: nn.Module) -> bool:
        # Layered paints several pictures at once, with rotary embeddings of its own, and was never checked.
        return super().owns(transformer) and not getattr(transformer, "config", {}).get("use_layer3d_rope")

    def fused(self, attention: Any) -> bool:
        return False  # its attention processor reads the separate layers, whatever else there is

    def evaluation(self, given: dict[str, Any], pipe: Any) -> Evaluation:
        # One entry a picture: its own size, or a list with the sizes of the reference pictures behind it.
        first = given["img_shapes"][0]
        _, h, w = first[0] if isinstance(first, list) else first
        return Evaluation(float(given["timestep"].flatten()[0]), len(given["hidden_states"]), (int(h), int(w)))

    def watched(self, transformer: Any) -> dict[str, nn.Module]:
        return {
            "time": transformer.time_text_embed,
            "norm": transformer.txt_norm,
            "text": transformer.txt_in,
            "places": transformer.pos_embed,
        }

    def begin(
        self, transformer: Any, concepts: Concepts, seen: dict[str, list[Seen]], evaluation: Evaluation
    ) -> Start:
        # Where references stand at time zero, theirs are the second half, and the text has the picture's.
        vec = seen["time"][0].output[: evaluation.batch]
        like = seen["norm"][0].args[0]

        def path(rows: Tensor) -> Tensor:
            return transformer.txt_in.forward(transformer.txt_norm.forward(rows.to(like)))

        places = [one.position for one in concepts.captions]
        asked = seen["places"][0]
        picture, _ = asked.output
        longest = {**asked.kwargs, "max_txt_seq_len": max(places) + 1}
        _, text = transformer.pos_embed.forward(*asked.args, **longest)
        rotate = rotation_of_pairs(text[places])

        def stream(index: int) -> ModulatedBlock:
            block = transformer.transformer_blocks[index]
            modulations = halves(block.txt_mod(vec)[:, None].chunk(6, dim=-1))
            norms = block.txt_norm1, block.txt_norm2
            return text_stream(block.attn, modulations, norms, block.txt_mlp, False, rotate=rotate)

        return Start(pool_captions(concepts, path), stream, rotation_of_pairs(picture[evaluation.image]))

    def caption(self, pipe: Any, name: str, max_sequence_length: int) -> Caption:
        if pipe.text_encoder is None or pipe.tokenizer is None:
            raise ValueError(no_text_encoder("text encoder (`text_encoder`)"))
        dropped = pipe.prompt_template_encode_start_idx
        own = template_pieces(lambda text: pieces(pipe, text), name)
        return own_rows(rows_of(pipe, name)[0], tuple(at - dropped for at in own))

    def prompt(self, pipe: Any, text: str, count: int, max_sequence_length: int) -> dict[str, Any]:
        return {"encoder_hidden_states": rows_of(pipe, text).expand(count, -1, -1)}

    def latent(self, vae: Any, pixels: Tensor) -> Tensor:
        return latent(vae, pixels)

    def inputs(
        self, transformer: Any, noised: Tensor, noise_level: float, guidance: float, told: dict[str, Any]
    ) -> dict[str, Any]:
        return {
            **told,
            "hidden_states": pack(noised),
            "timestep": torch.full((len(noised),), noise_level, device=noised.device, dtype=noised.dtype),
            "img_shapes": [[(1, noised.shape[2] // 2, noised.shape[3] // 2)]] * len(noised),
        }

    def call(self, pipe: Any, guidance: float, cfg: float) -> dict[str, Any]:
        return {"true_cfg_scale": cfg, "negative_prompt": " " if cfg > 1 else None}


def latent(vae: Any, pixels: Tensor) -> Tensor:
    """``(B, 3, H, W)`` -1..1 -> ``(B, 16, H/8, W/8)``, by a VAE that knows pictures as videos of one frame."""
    cells = vae.encode(pixels[:, :, None]).latent_dist.mode()[:, :, 0]
    mean, deviation = (
        torch.tensor(one, device=cells.device, dtype=cells.dtype).view(1, -1, 1, 1)
        for one in (vae.config.latents_mean, vae.config.latents_std)
    )
    return (cells - mean) / deviation


def pieces(pipe: Any, text: str) -> list[int]:
    """A text's pieces in the pipeline's template."""
    template = pipe.prompt_template_encode.replace(PICTURE, "")
    limit = pipe.tokenizer_max_length + pipe.prompt_template_encode_start_idx
    return pipe.tokenizer(template.format(text), truncation=True, max_length=limit).input_ids


def rows_of(pipe: Any, text: str) -> Tensor:
    """A text without a picture, by the pipeline's text encoder: ``(1, T, width)``, what leads the template cut off.

    The Edit pipelines' own `encode_prompt` wants a picture, so none is asked.
    """
    ids = torch.tensor([pieces(pipe, text)], device=pipe._execution_device)
    encoder = pipe.text_encoder
    made = encoder(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
    return made.hidden_states[-1][:, pipe.prompt_template_encode_start_idx :].to(encoder.dtype)
