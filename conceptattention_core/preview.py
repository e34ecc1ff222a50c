"""A mask as people look at it: over the picture, like a sheet of coloured film."""

from __future__ import annotations

from torch import Tensor

from .colors import concept_colors

GREY = 0.5
"""What a mask is shown on without a picture: plain enough for the film and the bare ground to differ clearly."""


def mask_preview(mask: Tensor, picture: Tensor | None, alpha: float = 0.6) -> Tensor:
    """Lay a mask over the picture, or over plain grey without one.

    mask: ``(B, H, W)`` 0..1; picture: ``(B, H, W, 3)`` 0..1; alpha: how opaque the colour is where the mask is 1.
    Returns ``(B, H, W, 3)`` float32 0..1, the picture itself where the mask is 0.
    """
    color = concept_colors(1, 0)[0]
    film = alpha * mask[..., None]
    ground = mask.new_full((1, 1, 1, 3), GREY) if picture is None else picture
    return (ground + film * (color - ground)).clamp(0, 1).contiguous()
