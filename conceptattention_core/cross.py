"""Cross-attention maps: what models without a text stream say of a concept, exactly, and called what they are.

In these models text is only read: it is a list of keys and values that image tokens ask, the same in all blocks, and
nothing is ever written into it. So no concept travels through the model and there is no attention output of a concept.
What there is, is what image tokens would read of one: a concept's key and value beside the prompt's, unseen by the
picture. It is the quantity of DAAM (arXiv 2210.04885), before its softmax over the prompt's words.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import interpolate

from .scores import Projection, dot_scores

CROSS_PROJECTIONS: tuple[Projection, ...] = ("cross_attention", "value")
VIDEO_PROJECTIONS: tuple[Projection, ...] = (*CROSS_PROJECTIONS, "gram")
"""``gram`` is an analogue of the paper's output space for models without a text stream (see `gram_scores`)."""

Place = tuple[int, int]
"""A text attention of the model: block, and number within the block."""


def require_projection(family: str, projection: Projection, projections: Collection[Projection]) -> None:
    """Raises ValueError, saying why and what to choose, where a family's projections lack this one."""
    if projection in projections:
        return
    why = (
        "gram is for video models whose picture only reads the prompt"
        if projection == "gram"
        else "its picture only reads the prompt, by cross attention, and writes nothing into it. So there is no stream "
        "of text for concepts to travel in, and no attention output of a concept to compare"
    )
    raise ValueError(
        f"{family} has no projection '{projection}': {why}. Choose {' or '.join(projections)} in `projection`."
    )


class CrossPass:
    """One evaluation of the model: what its image tokens would read of the concepts, one text attention after another.

    An adapter calls `ask` when an attention's queries are known, and `score` when its output is. Everything stays on
    the model's device until `stacked_scores`.
    """

    def __init__(self, projection: Projection, frames: int = 1) -> None:
        """frames: of a video, whose image tokens come frame by frame."""
        self._projection = projection
        self._frames = frames
        self._waiting: dict[Place, Tensor] = {}
        self._scores: dict[Place, Tensor] = {}

    @property
    def places(self) -> frozenset[Place]:
        """The text attentions that have been scored."""
        return frozenset(self._scores)

    @property
    def blocks(self) -> tuple[int, ...]:
        """Absolute indices of the blocks that have been scored."""
        return tuple(sorted({block for block, _ in self._scores}))

    def ask(self, place: Place, queries: Tensor, keys: Tensor, values: Tensor, heads: int) -> None:
        """Take the image tokens' queries, and the concepts' keys and values as the attention would read them.

        queries: ``(B, N, H*d)``; keys, values: ``(B, C, H*d)``.
        """
        if self._projection == "cross_attention":
            # The mean over heads of q.k / sqrt(d) is one dot product over all heads' channels.
            width = heads * (queries.shape[2] // heads) ** 0.5
            self._scores[place] = dot_scores(keys, queries) / width
        elif self._projection == "gram":
            self._waiting[place] = strongest(queries, keys, heads, self._frames)
        else:
            self._waiting[place] = values

    def score(self, place: Place, output: Tensor) -> None:
        """Take what the image tokens have read of the prompt, ``(B, N, H*d)`` before the output projection."""
        waiting = self._waiting.pop(place, None)
        if waiting is not None:
            compare = gram_scores if self._projection == "gram" else dot_scores
            self._scores[place] = compare(waiting, output)

    def block_scores(self, block: int) -> Tensor:
        """``(B, C, N)``, the mean over the text attentions of one block."""
        parts = [scores for place, scores in self._scores.items() if place[0] == block]
        return parts[0] if len(parts) == 1 else torch.stack(parts).mean(dim=0)

    def stacked_scores(self) -> Tensor:
        """``(blocks, B, C, N)`` float32 on the CPU, in the order of `blocks`, where all have one grid."""
        return torch.stack([self.block_scores(block) for block in self.blocks]).cpu()


def strongest(queries: Tensor, keys: Tensor, heads: int, frames: int) -> Tensor:
    """For each head and frame the image token that asks for the concept most: ``(B, H, C, T)`` places in the frame.

    queries: ``(B, T*n, H*d)``; keys: ``(B, C, H*d)``.
    """
    asked = rearrange(queries, "b (t n) (h d) -> b t n h d", t=frames, h=heads)
    wanted = rearrange(keys.float(), "b c (h d) -> b c h d", h=heads)
    found = [
        torch.einsum("b n h d, b c h d -> b h c n", asked[:, frame].float(), wanted).argmax(dim=3)
        for frame in range(frames)
    ]
    return torch.stack(found, dim=3)


def gram_scores(chosen: Tensor, output: Tensor) -> Tensor:
    """How like the attention outputs of all image tokens are to that of the token that stands for the concept.

    chosen: ``(B, H, C, T)``, as of `strongest`; output: ``(B, T*n, H*d)``. Dot products within each head and frame,
    their mean over heads: ``(B, C, T*n)``. Source: the Gram matrix maps of IMAP (arXiv 2603.02919), over all heads.
    """
    heads, frames = chosen.shape[1], chosen.shape[3]
    said = rearrange(output, "b (t n) (h d) -> b t h n d", t=frames, h=heads)
    each = []
    for frame in range(frames):
        own = said[:, frame].float()
        stands = own.gather(2, chosen[..., frame, None].expand(-1, -1, -1, own.shape[3]))
        each.append(torch.einsum("b h c d, b h n d -> b c n", stands, own) / heads)
    return torch.cat(each, dim=2)


def to_grid(scores: Tensor, grid: tuple[int, int], factor: int) -> Tensor:
    """Bring a coarse grid's scores ``(B, C, h, w)`` to a finer one ``(B, C, *grid)``, bilinearly.

    factor: how many of the finer grid's tokens one of these is wide; where they hang over the right and lower edge,
    what hangs over is cut off.
    """
    if scores.shape[2:] == grid:
        return scores
    alike = all(count == -(-side // factor) for count, side in zip(scores.shape[2:], grid, strict=True))
    covered = tuple(count * factor for count in scores.shape[2:]) if alike else grid
    return interpolate(scores, covered, mode="bilinear", align_corners=False)[..., : grid[0], : grid[1]]


def grid_of(count: int, like: tuple[int, int]) -> tuple[int, int]:
    """The grid ``(h, w)`` of this many tokens: `like` itself, or the one of the nearest proportions.

    Nodes that let a model work on a smaller picture for some steps (Kohya's Deep Shrink) give a level another grid.
    """
    if like[0] * like[1] == count:
        return like
    sides = [(side, count // side) for side in range(1, count + 1) if count % side == 0]
    return min(sides, key=lambda side: abs(math.log(side[0] / side[1] * like[1] / like[0])))
