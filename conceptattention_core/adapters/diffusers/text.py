"""diffusers' text encoders: encode concepts with the pipeline's own T5."""

from __future__ import annotations

from typing import Any

import torch

from ...concepts import Concepts, TokenPooling, pool_tokens
from ...letters import require_t5_words


@torch.no_grad()
def encode_concepts(
    pipe: Any,
    names: tuple[str, ...],
    background_count: int,
    pooling: TokenPooling = "mean",
    max_sequence_length: int = 512,
) -> Concepts:
    """Encode each concept alone, as the paper does, to one vector: ``(1, C, context_dim)``.

    pipe: any Flux pipeline with its text encoders loaded. max_sequence_length: to how many tokens T5 pads; Flux's T5
    attends to the padding, so use the pipeline call's own value (512 unless you change it).
    Raises ValueError where the pipeline has no T5, and for a concept that T5 cannot read.
    """
    if getattr(pipe, "text_encoder_2", None) is None or getattr(pipe, "tokenizer_2", None) is None:
        raise ValueError(
            "This pipeline has no T5 (`text_encoder_2`) to encode the concepts with. Load it, or give a `Concepts` "
            "object that `encode_concepts` made with a pipeline that has one."
        )
    own = [_own_pieces(pipe.tokenizer_2, name) for name in names]
    vectors = []
    for name, pieces in zip(names, own, strict=True):
        encoded, *_ = pipe.encode_prompt(prompt=name, prompt_2=name, max_sequence_length=max_sequence_length)
        vectors.append(pool_tokens(encoded[0].cpu(), pieces, pooling))  # from (T, context_dim)
    return Concepts(names, background_count, torch.stack(vectors)[None])


def _own_pieces(tokenizer: Any, name: str) -> list[int]:
    """Positions of the concept's own pieces: no padding, no end token, no bare "▁" that stands before a word."""
    pieces = tokenizer(name).input_ids
    special = {tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("▁")}
    special.discard(tokenizer.unk_token_id)  # what a vocabulary without "▁" answers
    own = [at for at, piece in enumerate(pieces) if piece not in special]
    require_t5_words(name, not all(pieces[at] == tokenizer.unk_token_id for at in own))
    return own
