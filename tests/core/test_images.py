"""Pictures of every kind that people have: read rightly, or refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from conceptattention_core.images import picture_batch, picture_tensor, read_picture, to_pil

UPRIGHT = np.zeros((2, 3, 3), np.uint8)
UPRIGHT[0, 0], UPRIGHT[1, 2], UPRIGHT[0, 2] = (255, 0, 0), (0, 0, 255), (0, 51, 0)
WANTED = torch.from_numpy(UPRIGHT.copy())[None].float() / 255
GREY = np.array([[0, 51, 102], [153, 204, 255]], np.uint8)
WANTED_GREY = (torch.from_numpy(GREY.copy()).float() / 255)[None, ..., None].expand(-1, -1, -1, 3)


def alike(made: torch.Tensor, wanted: torch.Tensor, within: float = 1e-3) -> bool:
    return made.shape == wanted.shape and made.dtype == torch.float32 and bool((made - wanted).abs().max() < within)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "tiff"])
def test_a_photo_is_turned_upright(tmp_path: Path, orientation: int, kind: str) -> None:
    """As cameras write it: the pixels as the sensor lay, and a note how to turn them."""
    back = [None, None, 0, 3, 1, 5, 2, 6, 4][orientation]  # what undoes it, as Pillow counts transpositions
    lying = Image.fromarray(UPRIGHT).resize((48, 32), Image.Resampling.NEAREST)
    lying = lying if back is None else lying.transpose(back)
    exif = Image.Exif()
    exif[0x0112] = orientation
    lying.save(tmp_path / f"photo.{kind}", exif=exif, **({"quality": 95} if kind == "jpg" else {}))
    read = read_picture(tmp_path / f"photo.{kind}")
    assert read.size == (48, 32) and read.mode == "RGB"
    middles = torch.from_numpy(np.array(read)[8::16, 8::16].copy())[None].float() / 255
    assert alike(middles, WANTED, 0.1)
    with Image.open(tmp_path / f"photo.{kind}") as opened:
        assert alike(picture_tensor(opened), torch.from_numpy(np.array(read))[None].float() / 255)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "RGBX", "P", "CMYK", "YCbCr", "HSV"])
def test_colour_modes(mode: str) -> None:
    image = Image.fromarray(UPRIGHT).convert(mode)
    assert alike(picture_tensor(image), WANTED, 0.02)


def test_a_palette_with_transparency_keeps_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(UPRIGHT).quantize(8)
    image.save(tmp_path / "p.png", transparency=0)
    assert alike(torch.from_numpy(np.array(read_picture(tmp_path / "p.png")))[None].float() / 255, WANTED, 0.02)


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("values", [GREY, GREY.astype(np.uint16) * 257, GREY > 100], ids=["8", "16", "1"])
def test_grey_files(tmp_path: Path, kind: str, values: np.ndarray) -> None:
    Image.fromarray(values).save(tmp_path / f"grey.{kind}")
    with Image.open(tmp_path / f"grey.{kind}") as opened:
        wanted = WANTED_GREY if values.dtype != bool else (WANTED_GREY > 0.39).float()
        assert alike(picture_tensor(opened), wanted)
    assert alike(torch.from_numpy(np.array(read_picture(tmp_path / f"grey.{kind}")))[None].float() / 255, wanted)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I", "LA", "F"])
def test_grey_modes(mode: str) -> None:
    if mode == "LA":
        image = Image.fromarray(GREY).convert("LA")
    elif mode == "F":
        image = Image.fromarray(GREY.astype(np.float32) / 255)
    elif mode == "I":
        image = Image.fromarray(GREY.astype(np.int32) * 257)
    else:
        order = ">u2" if mode == "I;16B" else "<u2"
        image = Image.frombytes(mode, (3, 2), (GREY.astype(order) * np.array(257, order)).astype(order).tobytes())
    assert image.mode == mode and alike(picture_tensor(image), WANTED_GREY)


@pytest.mark.parametrize("to", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "int64", "float16", "float32", "float64"])
def test_arrays_of_any_kind_of_number(dtype: str, to: Any) -> None:
    values = UPRIGHT.astype(dtype) if "float" not in dtype else (UPRIGHT / 255).astype(dtype)
    values = values * np.uint16(257) if dtype == "uint16" else values
    assert alike(picture_tensor(to(values)), WANTED)
    alpha = np.concatenate([values, values[..., :1]], axis=-1)
    assert alike(picture_tensor(to(alpha)), WANTED)


@pytest.mark.parametrize(
    "image",
    [
        np.asfortranarray(UPRIGHT),
        UPRIGHT[::-1][::-1],
        UPRIGHT.astype(">u2") * 257,
        (UPRIGHT / 255).astype(">f4"),
        torch.from_numpy(UPRIGHT / 255).bfloat16(),
        torch.from_numpy(UPRIGHT / 255).requires_grad_(),
    ],
    ids=range(6),
)
def test_arrays_however_they_lie(image: Any) -> None:
    assert alike(picture_tensor(image), WANTED, 0.01)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1)])
def test_grey_arrays(shape: tuple[int, ...]) -> None:
    assert alike(picture_tensor(GREY.reshape(shape)), WANTED_GREY)
    assert alike(picture_batch(torch.from_numpy(GREY.copy()).float()[None, ..., None] / 255), WANTED_GREY)


def test_a_little_beyond_white_is_white() -> None:
    assert alike(picture_tensor(UPRIGHT / 255 * 1.4 - 0.1), (WANTED * 1.4 - 0.1).clamp(0, 1))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (UPRIGHT.astype(np.float32), r"values from 0 to 255; a picture's floats lie between 0 and 1. Divide by 255"),
        (UPRIGHT / 127.5 - 1, r"from -1 to 1"),
        (UPRIGHT / 255 * np.nan, "not numbers"),
        (UPRIGHT.astype(np.int64) * 257, r"whole numbers from 0 to 65535; a picture's go up to 255"),
        (UPRIGHT.astype(np.int16) - 1, "whole numbers from -1"),
        (UPRIGHT > 3, "bool"),
        (UPRIGHT.astype(np.complex64), "complex64"),
        (UPRIGHT.astype(object), "not ndarray"),
        (np.zeros((3, 20, 30), np.uint8), r"channels last"),
        (UPRIGHT[None], r"channels last"),
        (UPRIGHT[:0], r"channels last"),
        (UPRIGHT[..., :2], r"channels last"),
        ("boat.png", "not str"),
        (None, "not NoneType"),
        (Image.fromarray(GREY.astype(np.int32) * 70000), r"whole numbers from 0"),
        (Image.fromarray(GREY.astype(np.float32)), r"values from 0 to 255"),
    ],
    ids=range(16),
)
def test_what_is_no_picture(image: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        picture_tensor(image)


@pytest.mark.parametrize("size", [0, 10, 60, 100, 200])
def test_damaged_files_are_named(tmp_path: Path, size: int) -> None:
    whole = tmp_path / "whole.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(whole)
    (tmp_path / "boat.png").write_bytes(whole.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"boat\.png cannot be read as a picture"):
        read_picture(tmp_path / "boat.png")


def test_a_decompression_bomb_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    Image.new("1", (20_000, 20_000)).save(bomb)
    with pytest.raises(ValueError, match=r"bomb\.png has more pixels than"):
        read_picture(bomb)


def test_pictures_come_back_as_they_were() -> None:
    assert np.array_equal(np.array(to_pil(picture_tensor(UPRIGHT)[0])), UPRIGHT)
