"""`folder`: a data set of one's own: `images/`, `labels/` and `names.txt`."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from ...images import read_picture
from ...letters import key, quoted
from ...names import clean_name
from . import Dataset, Lexicon, Sample, relabel

VOID = 255
PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
LAYOUT = (
    "It has to hold images/ (pictures), labels/ (a PNG of the same name and size for each, pixel = label number, "
    "255 = not labelled) and names.txt (a line for each number: '1 cat'; '0 background' for what has no name)."
)


def open_folder(folder: Path) -> Dataset:
    """A picture's label map has its name with the ending .png, grey or with a palette, one number a pixel.

    In names.txt "background" stands for whatever has no name; pixels 0 are unlabelled where 0 has no line.
    Raises FileNotFoundError or ValueError that says what is missing.
    """
    for name in ("images", "labels", "names.txt"):
        if not (folder / name).exists():
            raise FileNotFoundError(f"There is no {folder / name}. {LAYOUT}")
    names = read_names(folder / "names.txt")
    pictures = sorted(path for path in (folder / "images").iterdir() if path.suffix.lower() in PICTURES)
    if not pictures:
        raise FileNotFoundError(f"There is no picture in {folder / 'images'}. {LAYOUT}")
    stems = [path.stem for path in pictures]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise ValueError(f"Two pictures in {folder / 'images'} are called {twice[0]}, and would share one label map.")
    by_key = dict(zip(stems, pictures, strict=True))

    def load(stem: str) -> Sample:
        image = np.array(read_picture(by_key[stem]))
        with Image.open(folder / "labels" / f"{stem}.png") as file:
            numbers = np.array(file)
        if numbers.ndim != 2:
            raise ValueError(f"labels/{stem}.png is in colours; a label map is grey or has a palette")
        if numbers.shape != image.shape[:2]:
            raise ValueError(f"labels/{stem}.png has {numbers.shape} pixels and its picture {image.shape[:2]}")
        return Sample(image, *relabel(numbers, names, VOID))

    named = tuple(name for name in names.values() if key(name) != "background")
    return Dataset("folder", tuple(by_key), load, lambda: Lexicon(named))


def read_names(path: Path) -> dict[int, str]:
    """Lines "1 cat" or "1: cat"; blank lines and those that begin with # are left out. Raises ValueError on others."""
    names = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.fullmatch(r"\s*(\d+)[\s:,]+(\S.*?)\s*", line)
        if match is None:
            raise ValueError(f"Line {number} of {path} is not a number and a name: {quoted(line)}. Write '1 cat'.")
        names[int(match[1])] = clean_name(match[2], path.name)
    if not set(map(key, names.values())) - {"background"}:
        raise ValueError(f"{path} names nothing. {LAYOUT}")
    return names
