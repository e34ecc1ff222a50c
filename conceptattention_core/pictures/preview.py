"""A mask as people look at it: over the picture, like a sheet of coloured film."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .colors import oklch_to_rgb

LIGHTNESS, CHROMA, HUE = 0.66, 0.28, 345.0
"""A pink that pictures seldom hold, in OKLCh: it shows on a red sunset as well as on grass."""

GREY = 0.5
"""What a mask is shown on without a picture: plain enough for the film and the bare ground to differ clearly."""


def mask_preview(mask: Tensor, picture: Tensor | None, alpha: float = 0.6) -> Tensor:
    """Lay a mask over the picture, or over plain grey without one.

    mask: ``(B, H, W)`` 0..1; picture: ``(B, H, W, 3)`` 0..1; alpha: how opaque the colour is where the mask is 1.
    Returns ``(B, H, W, 3)`` float32 0..1, the picture itself where the mask is 0.
    """
    color = torch.from_numpy(oklch_to_rgb(np.array([LIGHTNESS]), np.array([CHROMA]), np.array([HUE]))).float()
    film = alpha * mask[..., None]
    ground = mask.new_full((1, 1, 1, 3), GREY) if picture is None else picture
    return (ground + film * (color - ground)).clamp(0, 1).contiguous()
