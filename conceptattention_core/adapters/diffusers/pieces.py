"""A concept's own pieces by transformers' tokenizers, and its caption."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...concepts import Caption
from ...letters import require_t5_words


def t5_pieces(tokenizer: Any, name: str) -> tuple[int, ...]:
    """Positions of a concept's own pieces: no padding, no end token, no bare "▁" that stands before a word.

    Raises ValueError for a concept that T5 cannot read.
    """
    pieces = tokenizer(name).input_ids
    special = {tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("▁")}
    special.discard(tokenizer.unk_token_id)  # what a vocabulary without "▁" answers
    own = tuple(at for at, piece in enumerate(pieces) if piece not in special)
    require_t5_words(name, not all(pieces[at] == tokenizer.unk_token_id for at in own))
    return own


def own_rows(rows: Tensor, own: tuple[int, ...]) -> Caption:
    """A caption that keeps a concept's own rows alone. rows: the whole conditioning, ``(T, width)``."""
    kept = rows[list(own)].float().cpu()
    return Caption(kept, tuple(range(len(own))), position=own[0], length=len(rows))
