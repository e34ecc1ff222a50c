"""HunyuanVideo and HunyuanVideo 1.5: FLUX.1's double blocks, and a text path that reads the timestep."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ....concepts import Caption, Concepts, pool_captions
from ....pieces import template_pieces
from ....stream import ModulatedBlock
from ....times import picture_times
from .base import Evaluation, Family, Seen, Start, no_text_encoder
from .flux import double_block, rotation

PICTURES_OF_A_FRAME = 4
"""What their VAEs decode every latent frame but the first to."""
SKIPPED_LAYERS = 2
"""Of the text encoder, at its end: what the pipelines leave out by default."""


class HunyuanFamily(Family):
    """What both have in common."""

    captions = True
    video = True
    steps = 50

    def fused(self, attention: Any) -> bool:
        return False  # their attention processors read the separate layers, whatever else there is

    def vector(self, transformer: Any, seen: dict[str, list[Seen]]) -> Tensor:
        """Modulation vector of the concepts, ``(B, D)``."""
        raise NotImplementedError

    def typed(self, transformer: Any, rows: Tensor) -> Tensor:
        """Refined captions ``(n, T, D)``, as the words of a prompt that they are."""
        return rows

    def pieces(self, pipe: Any, text: str) -> list[int]:
        """A text's pieces in the template of a prompt, what is cut off in front included."""
        raise NotImplementedError

    def cut_off(self, pipe: Any) -> int:
        """Pieces of the template's beginning that the model does not see."""
        raise NotImplementedError

    def evaluation(self, given: dict[str, Any], pipe: Any) -> Evaluation:
        count, _, frames, height, width = given["hidden_states"].shape
        return Evaluation(
            sigma=float(given["timestep"].flatten()[0]) / 1000,
            batch=count,
            grid=(frames, height // self.patch, width // self.patch),
            times=picture_times(frames, PICTURES_OF_A_FRAME),
            token_pixels=self.patch * getattr(pipe, "vae_scale_factor_spatial", 16 // self.patch),
        )

    def begin(self, transformer: Any, concepts: Concepts, seen: dict[str, list[Seen]], evaluation: Evaluation) -> Start:
        vec, (call,) = self.vector(transformer, seen), seen["text"]
        like, times = call.args[:2]

        def refine(captions: Tensor) -> Tensor:
            """Captions of their own, ``(n, T, width)``, through the refiner: ``(n, T, D)``."""
            rows = transformer.context_embedder.forward(captions.to(like), times[:1].expand(len(captions)))
            return self.typed(transformer, rows)

        def stream(index: int) -> ModulatedBlock:
            block = transformer.transformer_blocks[index]
            norm = block.norm1_context
            return double_block(block, norm.norm, norm.linear(norm.silu(vec))[:, None].chunk(6, dim=-1))

        return Start(pool_captions(concepts, refine), stream, rotation(seen["places"][0].output))

    def caption(self, pipe: Any, name: str, max_sequence_length: int) -> Caption:
        """By the language model alone, without a picture; it only looks back, so that no padding is needed."""
        if pipe.text_encoder is None or pipe.tokenizer is None:
            raise ValueError(no_text_encoder("language model (`text_encoder`)"))
        cut = self.cut_off(pipe)
        own = template_pieces(lambda text: self.pieces(pipe, text)[cut:], name)
        numbers = torch.tensor([self.pieces(pipe, name)], device=pipe._execution_device)
        layers = pipe.text_encoder(
            input_ids=numbers, attention_mask=torch.ones_like(numbers), output_hidden_states=True
        ).hidden_states
        rows = layers[-(SKIPPED_LAYERS + 1)][0, cut:]
        return Caption(rows.float().cpu(), own, position=own[0], length=len(rows))


class HunyuanVideo(HunyuanFamily):
    name = "HunyuanVideo"
    pipelines = ("HunyuanVideoPipeline", "HunyuanVideoImageToVideoPipeline", "HunyuanSkyreelsImageToVideoPipeline")
    transformer = "HunyuanVideoTransformer3DModel"
    max_sequence_length = 256

    def evaluation(self, given: dict[str, Any], pipe: Any) -> Evaluation:
        told = super().evaluation(given, pipe)
        if pipe is None or pipe.transformer.config.image_condition_type != "latent_concat":
            return told
        # The pipeline decodes the given picture's own frame, and one frame's pictures are taken off in front.
        return replace(told, times=told.times[PICTURES_OF_A_FRAME:])

    def watched(self, transformer: Any) -> dict[str, nn.Module]:
        return {"time": transformer.time_text_embed, "text": transformer.context_embedder, "places": transformer.rope}

    def vector(self, transformer: Any, seen: dict[str, list[Seen]]) -> Tensor:
        # time_text_embed(timestep, pooled, guidance): the concepts' vector is the same with a zero pooled text.
        times, pooled, guidance = seen["time"][0].args
        vec, _ = transformer.time_text_embed.forward(times, torch.zeros_like(pooled), guidance)
        return vec

    def pieces(self, pipe: Any, text: str) -> list[int]:
        return pipe.tokenizer(template()["template"].format(text)).input_ids

    def cut_off(self, pipe: Any) -> int:
        return template()["crop_start"]


class HunyuanVideo15(HunyuanFamily):
    name = "HunyuanVideo 1.5"
    pipelines = ("HunyuanVideo15Pipeline", "HunyuanVideo15ImageToVideoPipeline")
    transformer = "HunyuanVideo15Transformer3DModel"
    # Nobody has said which of its 54 blocks are good.
    default_blocks = (0, -1)
    max_sequence_length = 1000
    patch = 1

    def watched(self, transformer: Any) -> dict[str, nn.Module]:
        return {"time": transformer.time_embed, "text": transformer.context_embedder, "places": transformer.rope}

    def vector(self, transformer: Any, seen: dict[str, list[Seen]]) -> Tensor:
        return seen["time"][0].output  # there is no pooled text

    def typed(self, transformer: Any, rows: Tensor) -> Tensor:
        return rows + transformer.cond_type_embed(torch.zeros(1, 1, dtype=torch.long, device=rows.device))

    def pieces(self, pipe: Any, text: str) -> list[int]:
        said = [{"role": "system", "content": pipe.system_message}, {"role": "user", "content": text}]
        told = pipe.tokenizer.apply_chat_template(said, add_generation_prompt=True, tokenize=True, return_dict=True)
        return told["input_ids"]

    def cut_off(self, pipe: Any) -> int:
        return pipe.prompt_template_encode_start_idx


def template() -> dict[str, Any]:
    """What HunyuanVideo's prompts stand in where there is no picture: its text, and the pieces cut off in front."""
    from diffusers.pipelines.hunyuan_video import pipeline_hunyuan_video

    return pipeline_hunyuan_video.DEFAULT_PROMPT_TEMPLATE
