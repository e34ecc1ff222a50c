"""The demo model's text encoders: Flux's own tokenizers, a tiny T5 and a tiny CLIP over a small vocabulary.

Only the tokens that captions use get an embedding row of their own; every other token shares row 0. The export
spreads the rows over the full vocabularies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5TokenizerFast

from ...conceptattention_core.evaluate.datasets.scenes.scenes import NOUNS

T5_LENGTH = 32
T5_PAD, T5_END = 0, 1
CLIP_START, CLIP_END = 49406, 49407
T5_SIZES = {"d_model": 128, "d_kv": 64, "num_heads": 2, "d_ff": 256, "num_layers": 1}
CLIP_SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 1}
UNKNOWN = 0
NAMED = (*NOUNS, "background")
FUNCTION_WORDS = "a, the and in on by at under. A. The."


@dataclass(frozen=True)
class Vocabulary:
    """Tokenizer ids that have a row of their own: id `ids[k]` uses row k + 1."""

    t5: tuple[int, ...]
    clip: tuple[int, ...]


@dataclass(frozen=True)
class Tokens:
    """Embedding rows of T5 (B, 32) and of CLIP (B, L), and the place of CLIP's end token (B,).

    t5_read: which T5 tokens (last axis) each of them may attend to, (B, 32, 32); flux_seen: those that the Flux gets to
    see, (B, 32).
    nouns: which noun a T5 token is a piece of, (B, 32): k for `NAMED[k - 1]`, 0 for none.
    """

    t5: Tensor
    t5_read: Tensor
    flux_seen: Tensor
    clip: Tensor
    clip_end: Tensor
    nouns: Tensor

    def to(self, device: torch.device) -> Tokens:
        parts = (self.t5, self.t5_read, self.flux_seen, self.clip, self.clip_end, self.nouns)
        return Tokens(*(part.to(device) for part in parts))


class Tokenizers:
    """The T5 and CLIP tokenizers of a ComfyUI tree, T5's padded to the length of a training batch."""

    def __init__(self, comfyui: Path) -> None:
        self._t5 = T5TokenizerFast.from_pretrained(str(comfyui / "comfy" / "text_encoders" / "t5_tokenizer"))
        self._clip = CLIPTokenizer.from_pretrained(str(comfyui / "comfy" / "sd1_tokenizer"))

    def t5(self, text: str) -> list[int]:
        ids = self._t5(text)["input_ids"]
        return ids + [T5_PAD] * (T5_LENGTH - len(ids))

    def clip(self, text: str) -> list[int]:
        return self._clip(text)["input_ids"]

    def vocabulary(self, texts: Iterable[str]) -> Vocabulary:
        """Every token of the texts."""
        t5, clip = {T5_PAD, T5_END}, {CLIP_START, CLIP_END}
        for text in texts:
            t5.update(self.t5(text))
            clip.update(self.clip(text))
        return Vocabulary(tuple(sorted(t5)), tuple(sorted(clip)))


class Batcher:
    """Captions -> `Tokens`.

    For training, a word now and then is made unknown, so that row 0 learns to mean little, and often the Flux does not
    get to see the end token, commas and articles: a model that may keep what it knows of the picture in such tokens,
    which every caption has, has no use for the nouns as places to look at. T5 then reads every noun by itself, as it
    reads a concept.
    """

    def __init__(self, tokenizers: Tokenizers, vocabulary: Vocabulary) -> None:
        self._tokenizers = tokenizers
        self._t5_row = {token: row + 1 for row, token in enumerate(vocabulary.t5)}
        self._clip_row = {token: row + 1 for row, token in enumerate(vocabulary.clip)}
        function_tokens = {*tokenizers.t5(FUNCTION_WORDS), T5_END, T5_PAD}
        self._function_rows = [row for token, row in self._t5_row.items() if token in function_tokens]
        pieces = [tokenizers.t5(name) for name in NAMED]
        self._pieces = {tuple(ids[: ids.index(T5_END)]): number for number, ids in enumerate(pieces, start=1)}
        self._cache: dict[str, tuple[list[int], list[int], list[int]]] = {}

    def rows(self, text: str) -> tuple[list[int], list[int], list[int]]:
        if text not in self._cache:
            ids = self._tokenizers.t5(text)
            t5 = [self._t5_row.get(token, UNKNOWN) for token in ids]
            clip = [self._clip_row.get(token, UNKNOWN) for token in self._tokenizers.clip(text)]
            self._cache[text] = t5, clip, self._nouns(ids)
        return self._cache[text]

    def _nouns(self, ids: list[int]) -> list[int]:
        """The noun that each token is a piece of; of several that begin at one place the longest."""
        nouns, place = [0] * len(ids), 0
        while place < len(ids):
            found = [piece for piece in self._pieces if tuple(ids[place : place + len(piece)]) == piece]
            length = max(map(len, found), default=1)
            if found:
                nouns[place : place + length] = [self._pieces[max(found, key=len)]] * length
            place += length
        return nouns

    def __call__(
        self,
        texts: Sequence[str],
        rng: np.random.Generator | None = None,
        unknown: float = 0.0,
        nouns_only: float = 0.0,
    ) -> Tokens:
        t5_rows, clip_rows, noun_rows = zip(*(self.rows(text) for text in texts), strict=True)
        t5, nouns = np.array(t5_rows), np.array(noun_rows)
        ends = np.array([len(row) - 1 for row in clip_rows])
        clip = np.full((len(texts), T5_LENGTH + 8), self._clip_row[CLIP_END])
        for index, row in enumerate(clip_rows):
            clip[index, : len(row)] = row
        if rng is not None:
            for index in np.flatnonzero(rng.random(len(texts)) < unknown):
                words = int((t5[index] == self._t5_row[T5_END]).argmax())
                if words:
                    t5[index, rng.integers(words)] = UNKNOWN
                if ends[index] > 1:
                    clip[index, rng.integers(1, ends[index])] = UNKNOWN
        words = t5 != self._t5_row[T5_PAD]
        read, seen = words[:, None].repeat(t5.shape[1], axis=1), words.copy()
        if rng is not None:
            content = ~np.isin(t5, self._function_rows)
            bare = (rng.random() < nouns_only) & content.any(axis=1)
            seen[bare] = content[bare]
            same_noun = nouns[:, :, None] == nouns[:, None]
            read[bare] &= (same_noun | (t5 == self._t5_row[T5_END])[:, None])[bare]
        nouns[~seen | (t5 == UNKNOWN)] = 0
        return Tokens(*(torch.from_numpy(part) for part in (t5, read, seen, clip, ends, nouns)))


class TextEncoders(nn.Module):
    """`Tokens` -> context (B, 32, 128) from T5, padding not attended to, and pooled (B, 64) from CLIP."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.t5 = T5EncoderModel(
            T5Config(vocab_size=len(vocabulary.t5) + 1, feed_forward_proj="gated-gelu", dropout_rate=0.0, **T5_SIZES)
        )
        clip = CLIPTextConfig(vocab_size=len(vocabulary.clip) + 1, bos_token_id=1, eos_token_id=2, **CLIP_SIZES)
        self.clip = CLIPTextModel(clip)

    def forward(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        context = self.t5(input_ids=tokens.t5, attention_mask=tokens.t5_read[:, None]).last_hidden_state
        hidden = self.clip(input_ids=tokens.clip).last_hidden_state
        return context, hidden[torch.arange(len(hidden), device=hidden.device), tokens.clip_end]
