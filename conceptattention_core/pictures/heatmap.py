"""Pictures for people: a concept's heat map, and all concepts over the picture with a legend."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .colormaps import color_map
from .colors import concept_colors
from .legend import legend_pictures


def heatmap_picture(share: Tensor, colors: str = "heat") -> Tensor:
    """Colour a concept's share. share: ``(..., H, W)`` 0..1; returns ``(..., H, W, 3)`` float32 0..1.

    The scale is absolute, 0 to 1 for every concept: stretching each map to its own range would make an absent concept
    look as sure as a present one. colors: a name of `colormaps.COLOR_MAPS`.
    """
    return color_map(colors)[(share * 255).round().long().clamp(0, 255)]


def overlay_picture(
    shares: Tensor, names: Sequence[str], background_count: int, picture: Tensor | None, alpha: float = 0.6
) -> Tensor:
    """Colour every pixel by its strongest concept, over the picture, with a legend below.

    shares: ``(B, C, H, W)``; picture: ``(B, H, W, 3)`` 0..1, or None for plain colours, which make a label map.
    alpha: how opaque the colours are; where a background concept wins the picture shows through.
    Returns ``(B, H + legend, W, 3)`` float32 0..1. The legend gives each concept's part of the area.
    """
    colors = concept_colors(len(names), background_count)
    labels = shares.argmax(dim=1)
    painted = colors[labels]
    if picture is not None:
        wanted = (labels < len(names) - background_count)[..., None]
        painted = torch.where(wanted, alpha * painted + (1 - alpha) * picture, picture)
    area = torch.stack([(labels == index).flatten(1).float().mean(dim=1) for index in range(len(names))], dim=1)
    return torch.cat([painted, legend_pictures(names, colors, area, shares.shape[-1])], dim=1)
