"""`imagenet-segmentation`: one object in each of 4,276 ImageNet pictures, in the file `gtsegs_ijcv.mat`.

Source: Guillaumin, Küttel, Ferrari, "ImageNet Auto-Annotation with Segmentation Propagation" (IJCV 2014). MATLAB v7.3
is HDF5. `/value/img`, `/value/gt` and `/value/id` are columns of references, one for each picture: to pixels
``(3, W, H)`` uint8, to a cell that refers to the mask ``(W, H)``, and to a text such as "n02084071_1234" in UTF-16,
whose first part is the WordNet number of the object.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from . import Dataset, Lexicon, Sample

WHERE = "http://calvin-vision.net/bigstuff/proj-imagenet/data/gtsegs_ijcv.mat"


def open_imagenet_segmentation(path: Path, names: Path | None) -> Dataset:
    """path: `gtsegs_ijcv.mat`. names: what its WordNet numbers are called, see `read_synsets`.

    Raises ValueError, or FileNotFoundError, that says what to get and where to put it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}. Get gtsegs_ijcv.mat from {WHERE} and give it as --data.")
    if names is None or not names.is_file():
        raise FileNotFoundError(
            f"There is no file of class names{f' {names}' if names else ''}. Get data.noun of WordNet 3.0 (in "
            "wordnet.princeton.edu's WNdb-3.0.tar.gz), or ImageNet's words.txt, and give it as --names."
        )
    try:
        import h5py
    except ImportError as error:
        raise ValueError("gtsegs_ijcv.mat is an HDF5 file, and h5py is not installed: pip install h5py") from error
    try:
        file: Any = h5py.File(path, "r")
        columns = {column: file["value"][column] for column in ("img", "gt", "id")}
    except (OSError, KeyError) as error:
        raise ValueError(f"{path} is not a whole gtsegs_ijcv.mat ({error}). Get it again from {WHERE}") from error
    synsets = read_synsets(names)

    def entry(column: str, index: int) -> Any:
        return file[columns[column][index, 0]]

    def number_of(index: int) -> str:
        return np.asarray(entry("id", index)).astype("<u2").tobytes().decode("utf-16-le").strip().split("_")[0]

    def words() -> Lexicon:
        numbers = sorted({number_of(index) for index in range(len(columns["img"]))})
        return Lexicon(tuple(dict.fromkeys(synsets[number] for number in numbers if number in synsets)))

    def load(key: str) -> Sample:
        index = int(key)
        number = number_of(index)
        if number not in synsets:
            raise ValueError(f"{names} has no name for {number}")
        image = np.asarray(entry("img", index)).transpose(2, 1, 0)
        mask = np.asarray(file[entry("gt", index)[0, 0]]).transpose(1, 0)
        return Sample(np.ascontiguousarray(image), (mask > 0).astype(np.int16), (synsets[number],))

    return Dataset("imagenet-segmentation", tuple(str(index) for index in range(len(columns["img"]))), load, words)


def read_synsets(path: Path) -> dict[str, str]:
    """WordNet number ("n02084071") -> its first name ("dog").

    Reads ImageNet's own lists ("n02084071 dog, domestic dog", with a blank or a tab) and WordNet's data.noun
    ("02084071 05 n 03 dog 0 ..."). Raises ValueError where no line is of either kind.
    """
    found = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if match := re.match(r"(n\d{8})\s+([^,]+)", line):
            found[match[1]] = match[2].strip()
        elif match := re.match(r"(\d{8}) \d\d n [0-9a-f]{2} (\S+) ", line):
            found["n" + match[1]] = match[2].replace("_", " ")
    if not found:
        raise ValueError(f'{path} holds no class names: lines such as "n02084071 dog, domestic dog", or data.noun.')
    return found
