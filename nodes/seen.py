"""What a reading node shows inside itself: a small picture, how surely each concept is there, and words."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import ui
from einops import rearrange
from torch import Tensor
from torch.nn.functional import interpolate

from ..conceptattention_core.adapters.comfy.routes import has_server
from ..conceptattention_core.maps import ConceptAttentionMaps
from ..conceptattention_core.masks.presence import presence
from .said import said

SIDE = 512
"""Longer side of what is shown, in pixels: a node is not larger."""

PICTURES = 8
"""Of a batch or of a video: the outputs hold all of them."""


def seen(node: str, maps: ConceptAttentionMaps, picture: Tensor, *lines: str) -> dict[str, Any]:
    """A node's `ui`. node: its display name, for the log; picture: ``(B, H, W, 3)`` 0..1; lines: what it has to say.

    The page (`web/js/names.js`) gets every concept's name and presence, the highest of the batch. Pictures are written
    where somebody can look at them: not where a script uses ComfyUI as a library.
    """
    sure = presence(maps).amax(dim=0)
    told = {"concept_names": list(maps.concepts), "concept_presence": sure.tolist(), **(said(node, *lines) or {})}
    return {**(ui.PreviewImage(small(picture)).as_dict() if has_server() else {}), **told}


def small(picture: Tensor) -> Tensor:
    """The first pictures of a batch, no larger than they are seen: ``(b, h, w, 3)``."""
    shown = picture[:PICTURES]
    height, width = shown.shape[1:3]
    scale = SIDE / max(height, width)
    if scale >= 1:
        return shown
    size = max(1, round(height * scale)), max(1, round(width * scale))
    planes = interpolate(rearrange(shown, "b h w rgb -> b rgb h w"), size, mode="area")
    return rearrange(planes, "b rgb h w -> b h w rgb")
