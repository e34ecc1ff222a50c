"""Protocols: what a data set asks of a model, and how a map becomes a label map that can be compared with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..concepts import TokenPooling
from .datasets import BACKGROUND, Sample
from .metrics import UNLABELLED, Counts, count_pixels, leakage_of, two_channel_average_precision

MaskRule = Literal["mean", "argmax"]
PromptRule = Literal["classes", "caption", "none"]
Upsampling = Literal["bilinear", "nearest"]
MASK_RULES, PROMPT_RULES, UPSAMPLINGS = get_args(MaskRule), get_args(PromptRule), get_args(Upsampling)


@dataclass(frozen=True)
class Protocol:
    """binary: one object a picture against the rest, classes "foreground" and "background"; else one class a name.

    mask: how a binary mask is made: ``mean``, above the map's own mean (the paper's), or ``argmax``, stronger than
    every background concept. Several classes are always told apart by argmax.
    background: concepts that compete and stand for "background". prompt: what the model is told of the picture.
    square: pictures are squeezed to a square of the model's size, else their longest side is brought to it.
    label_size: truth and prediction are compared on a square of that side, or on the truth's own pixels (None).
    upsampling: of maps from the token grid to that size.
    """

    binary: bool = False
    mask: MaskRule = "mean"
    background: tuple[str, ...] = ("background",)
    prompt: PromptRule = "classes"
    pooling: TokenPooling = "mean"
    square: bool = False
    label_size: int | None = None
    upsampling: Upsampling = "bilinear"


PAPER = Protocol(
    background=("background", "floor", "grass", "tree", "sky"),
    pooling="first",
    square=True,
    label_size=224,
    upsampling="nearest",
)
"""The paper's way, as far as paper and authors' code say it."""


def prompt_of(sample: Sample, rule: PromptRule) -> str:
    """What the model is told: "a dog, a sofa", the data set's own sentence, or nothing."""
    if rule == "classes":
        return ", ".join(f"a {name}" for name in sample.names)
    return sample.caption if rule == "caption" else ""


def picture_size(size: tuple[int, int], side: int, square: bool) -> tuple[int, int]:
    """``(H, W)`` at which the model sees a picture of that size: a square, or with `side` as its longest side."""
    if square:
        return side, side
    scale = side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def count_sample(coarse: Tensor, sample: Sample, protocol: Protocol, is_share: bool) -> Counts:
    """Compare one map with the truth.

    coarse: ``(C, h, w)`` on the token grid, the sample's own names first. is_share: whether it is a softmax's share,
    0..1; without that scale there is no average precision and no leakage. Of several names theirs are averaged.
    """
    labels = resize_labels(sample.labels, protocol.label_size)
    height, width = labels.shape
    mode = "nearest-exact" if protocol.upsampling == "nearest" else "bilinear"
    maps = interpolate(coarse[None], (height, width), mode=mode)[0]
    wanted = len(sample.names)
    if protocol.binary and protocol.mask == "mean":
        predicted = (maps[0] > coarse[0].mean()).long()
    else:
        strongest = maps.argmax(dim=0) + 1
        predicted = torch.where(strongest > (1 if protocol.binary else wanted), BACKGROUND, strongest)
    known = labels != UNLABELLED
    precisions = [
        two_channel_average_precision(maps[index].numpy()[known], labels[known] == index + 1)
        for index in range(wanted if is_share else 0)
    ]
    return count_pixels(
        predicted.numpy(),
        labels,
        class_names(sample.names, protocol),
        float(np.mean(precisions)) if precisions else None,
        leakage_of(maps[:wanted].numpy(), labels) if is_share else None,
    )


def class_names(names: Sequence[str], protocol: Protocol) -> tuple[str, ...]:
    """What label 0, 1 ... are called in the table."""
    return ("background", "foreground") if protocol.binary else ("background", *names)


def resize_labels(labels: np.ndarray, side: int | None) -> np.ndarray:
    """``(H, W)`` -> ``(side, side)`` by the nearest pixel's centre; as it is for None."""
    if side is None:
        return labels
    rows, columns = (((np.arange(side) + 0.5) * length / side).astype(int) for length in labels.shape)
    return labels[np.ix_(rows, columns)]
