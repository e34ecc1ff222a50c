"""The evaluation's readers, on small files of the formats that the real data sets have."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptattention_core.evaluate.datasets import Sample
from conceptattention_core.evaluate.datasets.folder import open_folder
from conceptattention_core.evaluate.datasets.imagenet_segmentation import open_imagenet_segmentation, read_synsets
from conceptattention_core.evaluate.datasets.scenes import open_scenes
from conceptattention_core.evaluate.datasets.scenes.scenes import HELD_OUT, NOUNS, scene
from conceptattention_core.evaluate.datasets.voc import NAMES, open_voc

RNG = np.random.default_rng(0)


def picture(height: int = 4, width: int = 6) -> np.ndarray:
    return RNG.integers(0, 255, (height, width, 3), dtype=np.uint8)


def write_palette(path: Path, numbers: np.ndarray) -> None:
    """As VOC writes them: palette numbers with colours that have nothing to do with them."""
    image = Image.fromarray(numbers.astype(np.uint8)).convert("P")
    image.putpalette(RNG.integers(0, 255, 768, dtype=np.uint8).tobytes())
    image.save(path)


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """A cat and its void border, a cat on a sofa, nothing but a dog, and one whose label map is damaged."""
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / name).mkdir(parents=True)
    cat, sofa, dog = (NAMES.index(name) for name in ("cat", "sofa", "dog"))
    truths = {
        "2007_000001": [[0, 0, cat], [0, 255, cat]],
        "2007_000002": [[sofa, sofa, cat], [0, 255, cat]],
        "2007_000003": [[dog] * 3] * 2,
    }
    for key, numbers in truths.items():
        Image.fromarray(picture(2, 3)).save(tmp_path / "JPEGImages" / f"{key}.jpg")
        write_palette(tmp_path / "SegmentationClass" / f"{key}.png", np.array(numbers))
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text("\n".join([*truths, "2007_000004"]) + "\n")
    (tmp_path / "SegmentationClass" / "2007_000004.png").write_bytes(b"not a picture")
    return tmp_path


def test_voc(voc: Path) -> None:
    single, multi = open_voc(voc, "single"), open_voc(voc, "multi")
    assert single.keys == ("2007_000001", "2007_000003", "2007_000004") and len(multi.keys) == 4
    cat, both, dog = (multi.load(key) for key in multi.keys[:3])
    assert cat.names == ("cat",) and cat.labels.tolist() == [[0, 0, 1], [0, -1, 1]]
    assert both.names == ("cat", "sofa") and both.labels.tolist() == [[2, 2, 1], [0, -1, 1]]
    assert dog.names == ("dog",) and (dog.labels == 1).all() and dog.image.shape == (2, 3, 3)
    with pytest.raises(OSError):
        single.load("2007_000004")
    assert (single.name, multi.name) == ("voc-single", "voc-multi")


def write_gtsegs(path: Path, pictures: list[np.ndarray], masks: list[np.ndarray], ids: list[str]) -> None:
    """MATLAB v7.3: a struct of cell columns, everything stored with its axes reversed, texts as UTF-16 numbers."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for column in ("img", "gt", "id"):
            file.create_dataset(f"value/{column}", (len(ids), 1), dtype=h5py.ref_dtype)
        for index, (image, mask, name) in enumerate(zip(pictures, masks, ids, strict=True)):
            cell = file.create_dataset(f"#refs#/cell{index}", (1, 1), dtype=h5py.ref_dtype)
            cell[0, 0] = file.create_dataset(f"#refs#/gt{index}", data=mask.T).ref
            letters = np.frombuffer(name.encode("utf-16-le"), dtype=np.uint16)[:, None]
            file["value/gt"][index, 0] = cell.ref
            file["value/img"][index, 0] = file.create_dataset(f"#refs#/img{index}", data=image.transpose(2, 1, 0)).ref
            file["value/id"][index, 0] = file.create_dataset(f"#refs#/id{index}", data=letters).ref


def test_imagenet_segmentation(tmp_path: Path) -> None:
    path, names = tmp_path / "gtsegs_ijcv.mat", tmp_path / "words.txt"
    pictures = [picture(), picture(7, 5)]
    masks = [(RNG.random(one.shape[:2]) > 0.5).astype(np.uint8) for one in pictures]
    write_gtsegs(path, pictures, masks, ["n02084071_1234", "n99999999_1"])
    names.write_text("n02084071\tdog, domestic dog, Canis familiaris\n")
    dataset = open_imagenet_segmentation(path, names)
    assert dataset.keys == ("0", "1")
    sample = dataset.load("0")
    assert sample.names == ("dog",)
    assert np.array_equal(sample.image, pictures[0]) and np.array_equal(sample.labels, masks[0])
    with pytest.raises(ValueError, match="no name for n99999999"):
        dataset.load("1")


@pytest.mark.parametrize(
    "line, name",
    [
        ("n02084071\tdog, domestic dog, Canis familiaris", "dog"),
        ("n02084071 dog, domestic dog", "dog"),
        ("n02121808 domestic cat, house cat", "domestic cat"),
        (
            "02121808 05 n 05 domestic_cat 0 house_cat 0 Felis_domesticus 0 003 @ 02121620 n 0000 | any cat",
            "domestic cat",
        ),
    ],
)
def test_class_names(line: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "names").write_text(f"  1 a licence, as data.noun begins\n{line}\n")
    assert list(read_synsets(tmp_path / "names").values()) == [name]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    (tmp_path / "names.txt").write_text("# mine\n0 background\n1: tabby cat\n\n7 sofa\n")
    Image.fromarray(picture(2, 3)).save(tmp_path / "images" / "b.png")
    Image.fromarray(picture(2, 3)[..., 0]).save(tmp_path / "images" / "a.png")  # grey
    alpha = np.dstack([picture(2, 3), np.full((2, 3), 9, dtype=np.uint8)])
    Image.fromarray(alpha).save(tmp_path / "images" / "c.png")
    for key in "abc":
        Image.fromarray(np.array([[0, 1, 7], [255, 7, 7]], dtype=np.uint8)).save(tmp_path / "labels" / f"{key}.png")
    return tmp_path


def test_folder(folder: Path) -> None:
    dataset = open_folder(folder)
    assert dataset.keys == ("a", "b", "c")
    for key in dataset.keys:
        sample = dataset.load(key)
        assert sample.names == ("tabby cat", "sofa") and sample.labels.tolist() == [[0, 1, 2], [-1, 2, 2]]
        assert sample.image.shape == (2, 3, 3) and sample.image.dtype == np.uint8
    (folder / "names.txt").write_text("1 cat\n7 sofa\n")  # no background: 0 is not labelled
    assert open_folder(folder).load("a").labels.tolist() == [[-1, 1, 2], [-1, 2, 2]]


def spoil_number(folder: Path) -> None:
    (folder / "names.txt").write_text("1 cat\n")


def spoil_size(folder: Path) -> None:
    Image.new("L", (5, 5)).save(folder / "labels" / "a.png")


def spoil_colour(folder: Path) -> None:
    Image.new("RGB", (3, 2)).save(folder / "labels" / "a.png")


@pytest.mark.parametrize(
    "spoil, words", [(spoil_number, "label 7 has no name"), (spoil_size, "has .* pixels"), (spoil_colour, "in colours")]
)
def test_a_bad_label_map_is_told(spoil: object, words: str, folder: Path) -> None:
    spoil(folder)  # type: ignore[operator]
    dataset = open_folder(folder)
    with pytest.raises(ValueError, match=words):
        dataset.load("a")


def test_scenes() -> None:
    dataset = open_scenes(3, 64)
    assert dataset.keys == tuple(str(HELD_OUT + 1000 + index) for index in range(3))
    sample: Sample = dataset.load(dataset.keys[1])
    drawn = scene(HELD_OUT + 1001, 64)
    assert np.array_equal(sample.image, drawn.image) and sample.names == drawn.names and set(drawn.names) <= set(NOUNS)
    assert np.array_equal(sample.labels > 0, drawn.labels > 0) and (sample.labels[drawn.labels == 0] == -1).all()


def test_missing_data_is_one_line_that_says_what_to_do(
    tmp_path: Path, voc: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mat, words = tmp_path / "gtsegs_ijcv.mat", tmp_path / "words.txt"
    with pytest.raises(FileNotFoundError, match=r"Get gtsegs_ijcv\.mat from http.*--data"):
        open_imagenet_segmentation(mat, None)
    mat.write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(FileNotFoundError, match=r"data\.noun.*--names"):
        open_imagenet_segmentation(mat, None)
    words.write_text("n02084071 dog")
    pytest.importorskip("h5py")
    with pytest.raises(ValueError, match="is not a whole gtsegs_ijcv"):
        open_imagenet_segmentation(mat, words)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match=r"pip install h5py$"):
        open_imagenet_segmentation(mat, words)
    with pytest.raises(FileNotFoundError, match=r"val\.txt.*VOCdevkit/VOC2012 as --data"):
        open_voc(tmp_path / "nowhere", "multi")
    for name in ("names.txt", "labels", "images"):
        (folder / name).rename(folder / f"no {name}")
        with pytest.raises(FileNotFoundError, match=rf"{name}.*It has to hold"):
            open_folder(folder)


def test_names_of_a_folder_are_read_as_concepts_are(folder: Path) -> None:
    """Of two numbers that name one thing in other letters, one class is made."""
    (folder / "names.txt").write_text("0 BACKGROUND\n1 Cat\n7 ｃａｔ\n", encoding="utf-8")
    data = open_folder(folder)
    sample = data.load("a")
    assert sample.names == ("Cat",) and sample.labels.tolist()[0] == [0, 1, 1]
    for name, message in (("(cat:1.3)", "prompt's weight"), ("x" * 300, "300 letters"), ("a\x00b", "control")):
        (folder / "names.txt").write_text(f"1 {name}\n2 dog\n3 sofa\n", encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            open_folder(folder)
