"""Pictures in and out: what users and hosts hand over, as tensors, and tensors as what they ask for."""

from __future__ import annotations

import warnings
from os import PathLike
from typing import Literal, TypeGuard

import numpy as np
import torch
from einops import rearrange, repeat
from PIL import Image, ImageOps
from torch import Tensor

from .letters import printable

Output = Literal["torch", "numpy", "pil"]
OVERSHOOT = 0.5
"""How far floats may lie outside 0..1: resampling and sharpening overshoot, and decoders are not clamped everywhere."""

Picture = Image.Image | np.ndarray | Tensor


def image_batch(picture: Tensor, batch: int, size: tuple[int, int]) -> Tensor:
    """A picture for each map: ``(1 or B, H, W, 1, 3 or 4)`` -> ``(batch, *size, 3)``, one picture repeated if need be.

    Raises ValueError where the number of pictures fits neither, and as `picture_batch` does.
    """
    picture = picture_batch(picture)
    if len(picture) not in (1, batch):
        raise ValueError(
            f"`image` holds {len(picture)} pictures and the maps {batch}. Connect the pictures that the maps were made "
            "for, or a single one."
        )
    if picture.shape[1:3] != size:
        channels_first = rearrange(picture, "b h w c -> b c h w")
        resized = torch.nn.functional.interpolate(channels_first, size, mode="bilinear", antialias=True)
        picture = rearrange(resized, "b c h w -> b h w c").clamp(0, 1)
    return picture.expand(batch, -1, -1, -1)


def picture_batch(image: Tensor, field: str = "image") -> Tensor:
    """A batch of pictures as a host hands it over, ``(B, H, W, 1, 3 or 4)`` -> ``(B, H, W, 3)`` float32 0..1.

    Grey gets three channels, alpha is left out, as ComfyUI's own nodes do; values as in `picture_values`.
    Raises ValueError, naming the field, on any other shape, kind or range.
    """
    if not isinstance(image, Tensor) or image.ndim != 4 or image.shape[-1] not in (1, 3, 4) or 0 in image.shape:
        given = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(
            f"`{field}` is a batch of pictures (number, height, width, 1, 3 or 4 channels), not {given}."
        )
    try:
        values = picture_values(image[..., :3], f"`{field}`")
    except ValueError:
        for at, one in enumerate(image if len(image) > 1 else ()):
            picture_values(one[..., :3], f"Picture {at} of `{field}`")
        raise
    return values if values.shape[-1] == 3 else repeat(values, "b h w 1 -> b h w c", c=3)


def picture_tensor(image: Picture) -> Tensor:
    """A picture as ``(1, H, W, 3)`` float32 0..1.

    image: PIL of any mode, turned upright as its EXIF orientation says; or an array or tensor ``(H, W)`` or
    ``(H, W, 1, 3 or 4)``, of the values that `picture_values` takes. Alpha is left out.
    Raises ValueError on another shape, kind or range of values.
    """
    try:
        pixels = _numbers(image)
    except (TypeError, ValueError) as error:
        raise ValueError(f"A picture is (height, width, 3) numbers, not {type(image).__name__}: {error}") from error
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or pixels.shape[-1] not in (1, 3, 4) or 0 in pixels.shape:
        raise ValueError(f"A picture is (height, width, 3), not {tuple(pixels.shape)}: one, with channels last.")
    return picture_batch(pixels[None], "picture")


def read_picture(path: str | PathLike[str]) -> Image.Image:
    """A picture file, upright, as RGB with 8 bits a channel. Raises ValueError, with its name, where it is none."""
    name = printable(str(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                return to_pil(picture_tensor(file)[0])
    except FileNotFoundError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{name} has more pixels than a picture has: {error}") from error
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises SyntaxError on damaged PNG files
        raise ValueError(f"{name} cannot be read as a picture: {printable(str(error))[:200]}") from error


def picture_values(pixels: Tensor, what: str) -> Tensor:
    """Values of any kind of picture as float32 0..1; what: whose they are, for errors.

    uint8 by 255, uint16 by 65535, other whole numbers as if they were uint8; floats are 0..1 already, give or take what
    sharpening and resampling add. Raises ValueError on what is neither: values that are no numbers, -1..1, 0..255 as
    floats, larger whole numbers, truth values, complex numbers.
    """
    if pixels.dtype in (torch.bool, torch.complex64, torch.complex128):
        raise ValueError(f"{what} holds {pixels.dtype} values; a picture's are uint8, or floats from 0 to 1.")
    if not pixels.is_floating_point():
        wide = pixels.to(torch.int64)
        most = 65535 if pixels.dtype == torch.uint16 else 255
        low, high = int(wide.min()), int(wide.max())
        if low < 0 or high > most:
            raise ValueError(f"{what} holds whole numbers from {low} to {high}; a picture's go up to {most}.")
        return wide.to(torch.float32) / most
    pixels = pixels.to(torch.float32)
    if not pixels.isfinite().all():
        raise ValueError(
            f"{what} holds values that are not numbers (NaN or infinite): what made it failed. A picture decoded from "
            "a broken latent is a common cause."
        )
    low, high = float(pixels.min()), float(pixels.max())
    if low < -OVERSHOOT or high > 1 + OVERSHOOT:
        raise ValueError(
            f"{what} holds values from {low:.4g} to {high:.4g}; a picture's floats lie between 0 and 1. Divide by 255 "
            "what is 0 to 255; halve what is -1 to 1 and add 0.5; clamp what is brighter than white."
        )
    return pixels if low >= 0 and high <= 1 else pixels.clamp(0, 1)  # no copy of what is right as it is


def _numbers(image: Picture) -> Tensor:
    """What a picture holds, on the CPU. Raises TypeError or ValueError where it holds no numbers."""
    if isinstance(image, Tensor):
        return image.detach().cpu()
    values = np.ascontiguousarray(_pil_values(image) if _is_pil(image) else image)
    return torch.as_tensor(values.astype(values.dtype.newbyteorder("="), copy=False))


def _pil_values(image: Image.Image) -> np.ndarray:
    """``(H, W)`` or ``(H, W, 3)`` values of a picture of any mode, upright."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        return np.array(upright).astype(np.uint16)
    if upright.mode == "I":  # files of 16 bits, as older versions of Pillow open them
        values = np.array(upright)
        return values.astype(np.uint16) if values.min() >= 0 and values.max() <= 65535 else values
    return np.array(upright) if upright.mode == "F" else np.array(upright.convert("RGB"))


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
