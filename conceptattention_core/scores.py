"""Scores: how strongly each image patch answers to each concept, in one of three spaces."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from .features import directions, project
from .stream import ConceptKeys, TextBlock, concept_block, merge_heads

Projection = Literal["output", "cross_attention", "value", "gram"]
PROJECTIONS: tuple[Projection, ...] = ("output", "cross_attention", "value")
"""The spaces that a model with a text stream has. `cross.py` says what models without one have."""

AT_ONCE = 2**14
"""Image tokens whose float32 copy is held at once: a video has more of them than a picture."""


def dot_scores(concepts: Tensor, image: Tensor) -> Tensor:
    """``S[b, c, n] = concepts[b, c] . image[b, n]`` in float32 (the paper's eq. 8; bf16 has a spacing of 2 at 500).

    concepts: ``(B, C, D)``; image: ``(B, N, D)``; returns ``(B, C, N)``.
    """
    concepts = concepts.float()
    parts = [torch.einsum("b c d, b n d -> b c n", concepts, part.float()) for part in image.split(AT_ONCE, dim=1)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


class ConceptPass:
    """One evaluation of the model: carries the concepts from block to block and collects their scores.

    An adapter calls, for every block in order, `attend` when the block's keys and values are known and `score` when its
    attention output is. Everything stays on the model's device until `stacked_scores`.
    """

    def __init__(self, tokens: Tensor, projection: Projection, attend_to: ConceptKeys = "both"):
        """tokens: ``(B, C, D)`` behind the model's text path; attend_to: see `stream.py`."""
        self._tokens = tokens
        self._projection = projection
        self._attend_to: ConceptKeys = attend_to
        self._output: dict[int, Tensor] = {}
        self._scores: dict[int, Tensor] = {}
        self._features: dict[int, Tensor] = {}
        self._directions = torch.empty(0, 0)

    @property
    def blocks(self) -> tuple[int, ...]:
        """Absolute indices of the blocks that have been scored."""
        return tuple(sorted(self._scores))

    def attend(self, block: int, text: TextBlock, image_keys: Tensor, image_values: Tensor) -> None:
        """Run the concepts through one block; keys (rotary embedding applied) and values ``(B, H, N, d)``."""
        vectors = concept_block(text, self._tokens, image_keys, image_values, self._attend_to)
        self._tokens = vectors.tokens
        if self._projection == "output":
            self._output[block] = vectors.output
        elif self._projection == "value":
            self._scores[block] = dot_scores(vectors.value, merge_heads(image_values))
        else:
            # The mean over heads of q.k / sqrt(d) is one dot product over all heads' channels.
            heads, head_dim = image_keys.shape[1], image_keys.shape[3]
            scores = dot_scores(vectors.query, merge_heads(image_keys))
            self._scores[block] = scores / (heads * head_dim**0.5)

    def score(self, block: int, image_output: Tensor) -> None:
        """Take the image part of the block's ordinary attention output, ``(B, N, H*d)`` before its projection."""
        if len(self._directions) != image_output.shape[2]:
            self._directions = directions(image_output.shape[2]).to(image_output)
        self._features[block] = project(image_output, self._directions)
        output = self._output.pop(block, None)
        if output is not None:
            self._scores[block] = dot_scores(output, image_output)

    def release_tokens(self) -> None:
        """Let the concepts go when their last block is done: from there on only scores are held."""
        self._tokens = torch.empty(0)

    def stacked_scores(self) -> Tensor:
        """``(blocks, B, C, N)`` float32 on the CPU, in the order of `blocks`."""
        return torch.stack([self._scores[block] for block in self.blocks]).cpu()

    def stacked_features(self) -> Tensor:
        """``(blocks, B, N, features.CHANNELS)`` float32 on the CPU, in the order of `blocks`."""
        return torch.stack([self._features[block] for block in self.blocks]).cpu().float()
