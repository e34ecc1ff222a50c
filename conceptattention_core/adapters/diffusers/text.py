"""diffusers' text encoders: encode concepts with the pipeline's own."""

from __future__ import annotations

from typing import Any

import torch

from ...concepts import Concepts, TokenPooling, pool_tokens
from .families import require_family


@torch.no_grad()
def encode_concepts(
    pipe: Any,
    names: tuple[str, ...],
    background_count: int,
    pooling: TokenPooling = "mean",
    max_sequence_length: int | None = None,
) -> Concepts:
    """Encode each concept alone, as the paper does, to one vector: ``(1, C, context_dim)``.

    pipe: any supported pipeline with its text encoders loaded. max_sequence_length: to how many tokens the text encoder
    pads; T5 attends to the padding in FLUX.1 and Stable Diffusion 3, so use the pipeline call's own value (by default
    the pipelines' own default).
    Raises ValueError where the pipeline lacks its text encoder, and for a concept that it cannot read.
    """
    family = require_family(pipe)
    length = max_sequence_length or family.max_sequence_length
    captions = tuple(family.caption(pipe, name, length) for name in names)
    vectors = [pool_tokens(one.tokens, one.own, pooling) for one in captions]
    return Concepts(names, background_count, torch.stack(vectors)[None], captions, pooling)
