"""`voc`: PASCAL VOC 2012, segmentation, by the paper's two protocols."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from ...images import read_picture
from . import Dataset, Lexicon, Sample, relabel

VocProtocol = Literal["single", "multi"]
WHERE = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ (VOCtrainval_11-May-2012.tar)"
VOID = 255
NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv monitor"),
)


def open_voc(folder: Path, protocol: VocProtocol, split: str = "val") -> Dataset:
    """folder: `VOC2012`, with JPEGImages, SegmentationClass and ImageSets in it. protocol: ``single`` takes the
    pictures with one class only; ``multi`` takes all. The void border (255) is unlabelled.

    Raises FileNotFoundError that says what to get and where to put it.
    """
    listing = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
    needed = [listing, folder / "JPEGImages", folder / "SegmentationClass"]
    missing = [path for path in needed if not path.exists()]
    if missing:
        raise FileNotFoundError(
            f"There is no {missing[0]}. Get VOC 2012 from {WHERE}, unpack it, and give VOCdevkit/VOC2012 as --data."
        )
    keys = listing.read_text(encoding="utf-8").split()

    def labels_of(key: str) -> np.ndarray:
        with Image.open(folder / "SegmentationClass" / f"{key}.png") as file:
            return np.array(file)  # palette numbers, not colours

    def load(key: str) -> Sample:
        image = np.array(read_picture(folder / "JPEGImages" / f"{key}.jpg"))
        return Sample(image, *relabel(labels_of(key), dict(enumerate(NAMES)), VOID))

    def has_one_class(key: str) -> bool:
        try:
            return len(set(np.unique(labels_of(key))) - {0, VOID}) == 1
        except (OSError, SyntaxError):
            return True  # it is reported when its turn comes

    if protocol == "single":
        keys = [key for key in keys if has_one_class(key)]
    return Dataset(f"voc-{protocol}", tuple(keys), load, lambda: Lexicon(NAMES[1:]))
