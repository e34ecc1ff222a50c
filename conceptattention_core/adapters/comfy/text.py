"""ComfyUI's CLIP: encode concepts with the prompt's own T5."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...concepts import Concepts, TokenPooling, pool_tokens

T5_PAD, T5_END, T5_UNKNOWN, T5_SPACE = 0, 1, 2, 3
"""T5's special pieces; 3 is the bare "▁" that stands before a word whose first character has no piece of its own."""


def encode_concepts(
    clip: Any, names: tuple[str, ...], background_count: int, pooling: TokenPooling, context_dim: int
) -> Concepts:
    """Encode each concept alone, as the paper does, to one vector of width `context_dim`.

    Raises ValueError for the CLIP of another model family, and for a concept that T5 cannot read.
    """
    vectors = [_encode(clip, name, pooling) for name in names]
    width = vectors[0].shape[-1]
    if width != context_dim:
        raise ValueError(
            f"This CLIP encodes text to {width} channels and the model reads {context_dim}: they do not belong "
            "together. Connect the CLIP that encodes the model's prompt (DualCLIPLoader with type 'flux')."
        )
    return Concepts(names, background_count, torch.stack(vectors)[None])


def _encode(clip: Any, name: str, pooling: TokenPooling) -> Tensor:
    """``(context_dim,)`` float32 on the CPU."""
    # Round brackets are prompt weights to ComfyUI; in a concept's name they are just brackets.
    tokens = clip.tokenize(name.replace("(", "\\(").replace(")", "\\)"))
    if not {"t5xxl"} <= set(tokens) <= {"t5xxl", "l"}:
        raise ValueError(
            "This CLIP is not a Flux text encoder. Connect the CLIP that encodes the model's prompt "
            "(DualCLIPLoader with type 'flux', with a T5-XXL and a CLIP-L file)."
        )
    pieces = [piece for piece, *_ in tokens["t5xxl"][0]]
    own = [at for at, piece in enumerate(pieces) if not _is_special(piece)]
    if all(_is_piece(pieces[at], T5_UNKNOWN) for at in own):
        raise ValueError(
            f"T5 knows no character of the concept '{name}', so it would look the same as any other such word. "
            "Flux reads English; name the concept in English (or in another European language)."
        )
    encoded = clip.encode_from_tokens(tokens, return_dict=True)["cond"]
    return pool_tokens(encoded[0].cpu(), own, pooling)


def _is_piece(piece: Any, number: int) -> bool:
    """Whether a token is this T5 piece; textual inversion embeddings are tensors, and no piece."""
    return isinstance(piece, int) and piece == number


def _is_special(piece: Any) -> bool:
    return any(_is_piece(piece, number) for number in (T5_PAD, T5_END, T5_SPACE))
