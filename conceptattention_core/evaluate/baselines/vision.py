"""What the baselines' models have in common: pictures as pixels, and weights known by a digest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor, nn
from transformers import ImageProcessingMixin

POOLER = "pooler."
"""Weights that no map depends on. DINO's files have none, so transformers makes them up anew each time."""


def load_weights(kind: Any, name: str, device: str) -> Any:
    """A model of transformers in float32, with the attention that hands out its weights, and their gradient.

    kind: its class. name: folder or hub name. Raises OSError where there is none, ValueError where its file lacks a
    weight, which transformers would make up.
    """
    model, told = kind.from_pretrained(name, attn_implementation="eager", dtype=torch.float32, output_loading_info=True)
    missing = sorted(one for one in told["missing_keys"] if not one.startswith(POOLER))
    if missing:
        raise ValueError(f"its file has no {missing[0]}")
    return model.eval().requires_grad_(False).to(device)


def normalization(name: str) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation of a channel, 0..1, as the model's preprocessor_config.json has them.

    Its own preprocessing is not used: it crops pictures to a square, and the maps have to cover all of them.
    """
    settings: dict[str, Any] = ImageProcessingMixin.get_image_processor_dict(name)[0]
    return settings["image_mean"], settings["image_std"]


def to_pixels(image: np.ndarray, side: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """``(H, W, 3)`` uint8, squeezed to a square -> ``(1, 3, side, side)`` float32."""
    square = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
    values = torch.from_numpy(np.array(square)).float() / 255
    return rearrange((values - torch.tensor(mean)) / torch.tensor(std), "h w c -> 1 c h w")


def digest(model: nn.Module) -> str:
    """A short digest of all weights that count."""
    found = hashlib.sha256()
    for name, weight in model.state_dict().items():
        if not name.startswith(POOLER):
            found.update(weight.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:12]
