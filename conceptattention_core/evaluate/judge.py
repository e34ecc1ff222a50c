"""One method's map of one picture against the truth, and how sure it is of words that are there or are not."""

from __future__ import annotations

from dataclasses import replace

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import interpolate

from ..maps import ConceptAttentionMaps
from ..masks.presence import PLACES, presence
from .method import Method
from .metrics import UNLABELLED, Counts
from .protocol import Protocol, count_sample, resize_labels
from .words import Asked


def judge(
    method: Method, maps: ConceptAttentionMaps, bank: ConceptAttentionMaps | None, asked: Asked, protocol: Protocol
) -> Counts:
    """The counts of a method. maps: of what it asked for; bank: of the words whose weights it takes.

    With absent words there are no average precision and no leakage, but what these words steal, and for each word the
    pack's own presence (of ``auto``: by the family's blocks, as the nodes have it) and its peak, the mean of the
    strongest 2 % of its map.
    """
    coarse = method.read(maps, bank)
    absent = method.words == "absent"
    counts = count_sample(coarse, asked.sample, protocol, method.softmax and not absent)
    if method.reading == "auto" and method.words == "named" and method.opinion == 0:  # prototypes have no say in them
        counts = replace(counts, weights=tuple(round(one, 6) for one in method.trust(maps)[0].sum(dim=0).tolist()))
    if not absent:
        return counts
    blocks = () if method.reading == "auto" else (method.first_block, method.last_block)
    surely, peaks = presence(maps, *blocks)[0].tolist(), peaks_of(coarse).tolist()
    asked_for, there = len(asked.sample.names), len(asked.sample.names) - asked.absent
    sure = tuple((index < there, round(surely[index], 6), round(peaks[index], 6)) for index in range(asked_for))
    return replace(counts, stolen=stolen(coarse, there, asked, protocol), sure=sure)


def peaks_of(shares: Tensor) -> Tensor:
    """The mean of the strongest places of each map: ``(C, h, w)`` to ``(C,)``."""
    flat = rearrange(shares, "c h w -> c (h w)")
    return flat.topk(max(1, round(PLACES * flat.shape[1])), dim=1).values.mean(dim=1)


def stolen(coarse: Tensor, there: int, asked: Asked, protocol: Protocol) -> int:
    """Labelled pixels where a word is strongest that is not in the picture. there: how many of its words are."""
    labels = resize_labels(asked.sample.labels, protocol.label_size)
    mode = "nearest-exact" if protocol.upsampling == "nearest" else "bilinear"
    strongest = interpolate(coarse[None], labels.shape, mode=mode)[0].argmax(dim=0)
    takes = (strongest >= there) & (strongest < len(asked.sample.names))
    return int((takes & torch.from_numpy(labels != UNLABELLED)).sum())
