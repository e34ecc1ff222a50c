"""Features: what the model makes of each image token, in a few channels, for telling which tokens belong together.

Each block's image attention outputs, the same vectors that concepts are compared with, go through one seeded random
projection (W. Johnson and J. Lindenstrauss, 1984: it keeps angles, on average). It is the same for all blocks, steps
and runs. Own choice of 16 channels: more told things apart no better on the demo model.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import einsum, rearrange
from torch import Tensor
from torch.nn.functional import normalize

CHANNELS = 16

SEED = 0

LARGEST = 65504.0
"""Of what float16 holds."""


def directions(width: int) -> Tensor:
    """The projection, ``(width, CHANNELS)`` float32 on the CPU. Channels are about as large as the outputs' own."""
    generator = torch.Generator().manual_seed(SEED)
    return torch.randn(width, CHANNELS, generator=generator) * width**-0.5


def project(image: Tensor, onto: Tensor) -> Tensor:
    """``(B, N, D)`` and `directions` ``(D, CHANNELS)`` to ``(B, N, CHANNELS)``, in the type that the model computes in.

    Its rounding is far below what tokens of one thing differ by, and a float32 copy of the outputs would cost more.
    """
    return einsum(image, onto.to(image), "b n d, d f -> b n f")


def unit_tokens(features: Tensor, weights: Tensor | None = None) -> Tensor:
    """``(blocks, channels, h, w)`` to ``(h * w, blocks * channels)`` of unit length, blocks having one scale.

    weights: ``(blocks,)``, how much each counts; by default all the same. What all places have in common is taken off.
    """
    relative = features.float() - features.float().mean(dim=(-2, -1), keepdim=True)
    energy = relative.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)
    scale = torch.ones(len(features)) if weights is None else weights.sqrt()
    weighed = relative / energy * rearrange(scale, "b -> b 1 1 1")
    return normalize(rearrange(weighed, "b f h w -> (h w) (b f)"), dim=1)


@dataclass
class FeatureMean:
    """A running mean over the evaluations of a run. total: their sum, ``(blocks, B, CHANNELS, h, w)`` float32."""

    total: Tensor | None = None
    evaluations: int = 0

    def add(self, features: Tensor) -> None:
        """Take one evaluation's, ``(blocks, B, CHANNELS, h, w)``, and the tensor with them."""
        self.total = features if self.total is None else self.total.add_(features)
        self.evaluations += 1

    def mean(self) -> Tensor | None:
        """The same shape in float16; None where nothing was added."""
        return None if self.total is None else (self.total / self.evaluations).clamp(-LARGEST, LARGEST).half()
