"""Pictures in and out: what users and hosts hand over, as tensors, and tensors as what they ask for."""

from __future__ import annotations

from typing import Literal, TypeGuard

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

Output = Literal["torch", "numpy", "pil"]
Picture = Image.Image | np.ndarray | Tensor


def image_batch(picture: Tensor, batch: int, size: tuple[int, int]) -> Tensor:
    """A picture for each map: ``(1 or B, H, W, 3 or 4)`` -> ``(batch, *size, 3)``, one picture repeated if need be.

    Raises ValueError where the number of pictures fits neither.
    """
    if len(picture) not in (1, batch):
        raise ValueError(
            f"`image` holds {len(picture)} pictures and the maps {batch}. Connect the pictures that the maps were made "
            "for, or a single one."
        )
    channels_first = rearrange(picture[..., :3].float(), "b h w c -> b c h w")
    if picture.shape[1:3] != size:
        channels_first = torch.nn.functional.interpolate(channels_first, size, mode="bilinear", antialias=True)
    return rearrange(channels_first, "b c h w -> b h w c").clamp(0, 1).expand(batch, -1, -1, -1)


def picture_tensor(image: Picture) -> Tensor:
    """A picture as ``(1, H, W, 3)`` float32 0..1.

    image: PIL, or an array or tensor ``(H, W, 3 or 4)``, 0..1 or uint8. Raises ValueError on another shape.
    """
    pixels = torch.from_numpy(np.array(image.convert("RGB"))) if _is_pil(image) else torch.as_tensor(image)
    if pixels.ndim != 3 or pixels.shape[-1] not in (3, 4):
        raise ValueError(f"A picture is (height, width, 3), not {tuple(pixels.shape)}: one, with channels last.")
    scale = 255 if pixels.dtype == torch.uint8 else 1
    return pixels[None, ..., :3].float().cpu() / scale


def _is_pil(image: Picture) -> TypeGuard[Image.Image]:
    return isinstance(image, Image.Image)


def to_pil(pixels: Tensor) -> Image.Image:
    """``(H, W)`` or ``(H, W, 3)`` 0..1 to a PIL picture of mode L or RGB."""
    return Image.fromarray((pixels * 255).round().clamp(0, 255).to(torch.uint8).numpy())


def to_output(pixels: Tensor, output: Output) -> Picture:
    """A map as torch, numpy or PIL. Raises ValueError on any other word."""
    if output == "torch":
        return pixels
    if output == "numpy":
        return pixels.numpy()
    if output == "pil":
        return to_pil(pixels)
    raise ValueError(f"There is no output '{output}': choose torch, numpy or pil.")
