"""Names in any script: drawn by a font that has their characters, or said another way, and never as empty boxes."""

from __future__ import annotations

import pytest
import torch
from PIL import ImageFont

from conceptattention_core.pictures.fonts import SYSTEM_FONTS, Label, make_labels, missing_characters
from conceptattention_core.pictures.legend import color_bar, legend_picture, legend_pictures

NAMES = [
    "house",
    "château",
    "夕焼け",
    "房子",
    "한국어",
    "дерево",
    "شجرة",
    "บ้าน",
    "घर",
    "dragon 🐉",
    "日本 é",
    "🐉",
    "\ue000",
]


def available(file: str) -> bool:
    try:
        return bool(ImageFont.truetype(file, 12))
    except OSError:
        return False


@pytest.mark.parametrize("files", [SYSTEM_FONTS, ()], ids=["system", "no"])
@pytest.mark.parametrize("size", [11, 40])
def test_nothing_is_drawn_as_boxes(files: tuple[str, ...], size: int) -> None:
    labels = make_labels(NAMES, size, files)
    assert not [label.text for label in labels if missing_characters(label.font, label.text)]
    assert all(any(character.isalnum() for character in label.text) for label in labels)
    assert labels[0].text == "house"
    assert len({label.text for label in labels}) == len(NAMES), "two concepts must not share a name"


def test_without_any_font() -> None:
    texts = [label.text for label in make_labels(NAMES, 20, ())]
    assert texts[:3] == ["house", "chateau", "concept 3"]
    assert texts[9:] == ["dragon …", "… e", "concept 12", "concept 13"]


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("дерево", ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "segoeui.ttf", "Arial Unicode.ttf")),
        ("شجرة", ("DejaVuSans.ttf", "NotoSansArabic-Regular.ttf", "segoeui.ttf", "Arial Unicode.ttf")),
        ("夕焼け", ("NotoSansCJK-Regular.ttc", "DroidSansFallbackFull.ttf", "YuGothM.ttc", "Arial Unicode.ttf")),
        ("한국어", ("NotoSansCJK-Regular.ttc", "NanumGothic.ttf", "malgun.ttf", "AppleSDGothicNeo.ttc")),
    ],
)
def test_a_font_of_this_machine_is_found(name: str, files: tuple[str, ...]) -> None:
    if not any(map(available, files)):
        pytest.skip(f"no font here has {name}")
    label = make_labels(["house", name], 20)[1]
    assert label.text == name and label.font.getmask(name).getbbox()


def test_labels_are_cut_to_their_room() -> None:
    font = ImageFont.load_default(20)
    label = Label("a lighthouse on a rock", font)
    assert label.shortened(1000) is label
    short = label.shortened(100)
    assert short.text.endswith("…") and 60 < font.getlength(short.text) <= 100
    assert label.shortened(1).text == "…"
    assert len(Label("x" * 5000, font).shortened(1e9).text) == 201


@pytest.mark.parametrize("width", [64, 700])
def test_a_legend_names_every_concept(width: int) -> None:
    colors = torch.rand(len(NAMES), 3, generator=torch.Generator().manual_seed(0))
    legend = legend_picture(NAMES, colors, [0.5] * len(NAMES), width)
    for color in colors:
        assert ((legend - color).abs().amax(-1) < 0.01).sum() >= 100
    assert torch.equal(legend[:, -1], legend[0, 0].expand(len(legend), 3)), "text runs off the edge"


def test_the_colour_bar_runs_from_low_to_high() -> None:
    colors = torch.tensor([[1.0, 0, 0], [0, 0, 1.0]])
    bar = color_bar(colors, "0", "0.97", 400, 16)
    row = bar[len(bar) // 2]
    reds, blues = ((row - color).abs().amax(-1) < 0.02 for color in colors)
    assert reds.any() and blues.any() and reds.nonzero().max() < blues.nonzero().min()
    assert color_bar(colors, "lowest", "highest", 40, 16).shape[1:] == (40, 3), "too narrow for a bar: the words alone"


@pytest.mark.parametrize("width", range(120, 200, 8))
def test_legends_of_a_batch_are_equally_high(width: int) -> None:
    """Percentages of one picture may wrap where those of another do not: nothing may be cut off, or not fit."""
    names, area = ["cloud", "sky", "grass"], torch.tensor([[0.05, 0.05, 0.9], [1.0, 0.0, 0.0], [0.34, 0.33, 0.33]])
    colors = torch.rand(3, 3, generator=torch.Generator().manual_seed(0))
    legends = legend_pictures(names, colors, area, width)
    alone = [legend_picture(names, colors, parts, width) for parts in area.tolist()]
    for legend, one in zip(legends, alone, strict=True):
        assert torch.equal(legend[: len(one)], one) and (legend[len(one) :] == one[0, -1]).all()
    assert len(legends[0]) == max(map(len, alone))
