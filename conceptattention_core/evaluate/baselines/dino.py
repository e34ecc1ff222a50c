"""DINO: where a model that was never told of names looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModel

from .attention import patches
from .vision import digest, load_weights, normalization, to_pixels


class Dino:
    """A DINO of any version, as a vision transformer. side, grid: of the square that it sees, in pixels and patches."""

    def __init__(self, name: str, device: str) -> None:
        """name: folder or hub name. Raises OSError or ValueError where there are no such weights."""
        self._model: Any = load_weights(AutoModel, name, device)
        self._mean_std = normalization(name)
        self._device = device
        config = self._model.config
        self.side: int = config.image_size
        self.grid: int = config.image_size // config.patch_size
        self.weights = digest(self._model)

    @torch.no_grad()
    def attention(self, image: np.ndarray, names: Sequence[str]) -> Tensor:
        """What the class token attends to in the last layer, mean over heads (Caron et al., ICCV 2021, section 4.2.2).

        It knows no names: one map ``(grid, grid)`` float32, repeated for each of C.
        """
        pixels = to_pixels(image, self.side, *self._mean_std).to(self._device)
        last = self._model(pixels, output_attentions=True).attentions[-1]
        return patches(last[0].mean(dim=0).cpu(), self.grid).expand(len(names), -1, -1)
