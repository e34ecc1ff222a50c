"""Noise for a picture that exists already: the model sees it as it would half way through making it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def seeded_noise(shape: Sequence[int], seed: int) -> Tensor:
    """White noise of a latent's shape ``(channels, H/8, W/8)``, float32 on the CPU, from this seed alone.

    It does not depend on the picture's place in a batch, so a batch gives what its pictures give one by one, nor does
    it touch PyTorch's own random numbers.
    """
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed))


def require_noise_level(noise_level: float) -> None:
    """Raises ValueError where the level is not between 0, the clean picture, and 1, noise only."""
    if not 0 <= noise_level <= 1:
        raise ValueError(f"noise_level ({noise_level}) must lie between 0, the clean picture, and 1, noise only.")
