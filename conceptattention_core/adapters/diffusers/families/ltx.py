"""LTX-Video: videos whose tokens, of 32 pixels, read the prompt by cross attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ....concepts import Caption, Concepts, pool_captions
from ....cross import VIDEO_PROJECTIONS
from ....times import picture_times
from ..pieces import own_rows, t5_pieces
from .base import Evaluation, Seen, no_text_encoder
from .cross import CrossFamily, Read, keys_and_values


class LTXVideo(CrossFamily):
    name = "LTX-Video"
    pipelines = ("LTXPipeline", "LTXImageToVideoPipeline", "LTXConditionPipeline")
    transformer = "LTXVideoTransformer3DModel"
    projections = VIDEO_PROJECTIONS
    max_sequence_length = 128
    video = True
    captions = True
    input_layer = "proj_in"
    steps = 50
    cfg = 3.0

    def evaluation(self, given: dict[str, Any], pipe: Any) -> Evaluation:
        count = len(given["hidden_states"])
        # The negative prompt's half of the batch comes first.
        rows = slice(count // 2 if self.guided(given, pipe) else 0, count)
        start, grid = self.placed(given)
        return Evaluation(
            # A token of a given picture has a timestep of its own.
            sigma=float(torch.as_tensor(given["timestep"]).max()) / 1000,
            batch=rows.stop - rows.start,
            grid=grid,
            rows=rows,
            start=start,
            times=picture_times(grid[0], getattr(pipe, "vae_temporal_compression_ratio", 8)),
            token_pixels=getattr(pipe, "vae_spatial_compression_ratio", 32),
        )

    def guided(self, given: dict[str, Any], pipe: Any) -> bool:
        """Whether a call's batch holds the negative prompt, too."""
        return pipe is not None and pipe.do_classifier_free_guidance

    def placed(self, given: dict[str, Any]) -> tuple[int, tuple[int, int, int]]:
        """Where the video's own tokens begin, and their ``(frames, h, w)``."""
        if given.get("video_coords") is None:
            return 0, (given["num_frames"], given["height"], given["width"])
        return video_grid(given["video_coords"][0])

    def watched(self, transformer: Any) -> dict[str, nn.Module]:
        return {"text": transformer.caption_projection}

    def reader(
        self, transformer: Any, concepts: Concepts, seen: dict[str, list[Seen]], evaluation: Evaluation
    ) -> Read:
        like = seen["text"][0].args[0]

        def path(rows: Tensor) -> Tensor:
            return transformer.caption_projection.forward(rows.to(like))

        tokens = pool_captions(concepts, path)
        return lambda place: keys_and_values(transformer.transformer_blocks[place[0]].attn2, tokens)

    def caption(self, pipe: Any, name: str, max_sequence_length: int) -> Caption:
        if pipe.text_encoder is None or pipe.tokenizer is None:
            raise ValueError(no_text_encoder("T5 (`text_encoder`)"))
        own = t5_pieces(pipe.tokenizer, name)
        rows, *_ = pipe.encode_prompt(
            prompt=name, do_classifier_free_guidance=False, max_sequence_length=max_sequence_length
        )
        return own_rows(rows[0], own)


def video_grid(coords: Tensor) -> tuple[int, tuple[int, int, int]]:
    """Where the video's own tokens begin, and their ``(frames, h, w)``.

    coords: ``(3, N)``, each token's time, row and column. Given pictures of later frames stand in front of the video,
    whose own first tokens are the first of time 0.
    """
    start = int((coords[0] == 0).nonzero()[0])
    h, w = (len(coords[axis, start:].unique()) for axis in (1, 2))
    return start, ((coords.shape[1] - start) // (h * w), h, w)
