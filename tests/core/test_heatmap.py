"""What people see: colours that do not lie, a legend that always fits."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from conceptattention_core.images import image_batch
from conceptattention_core.pictures.colormaps import color_map
from conceptattention_core.pictures.colors import concept_colors
from conceptattention_core.pictures.heatmap import heatmap_picture, overlay_picture
from conceptattention_core.pictures.legend import legend_picture

LUMINANCE = torch.tensor([0.2126, 0.7152, 0.0722])


def lightness(rgb: torch.Tensor) -> torch.Tensor:
    """CIE L*, 0..100, of sRGB colours."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    y = linear @ LUMINANCE
    return torch.where(y > 0.008856, 116 * y ** (1 / 3) - 16, 903.3 * y)


def test_the_heat_map_gets_steadily_lighter() -> None:
    steps = lightness(color_map("heat")).diff()
    assert (steps > 0).all() and steps.max() < 4 * steps.mean()
    ends = lightness(color_map("heat")[[0, -1]])
    assert ends[0] < 10 and ends[1] > 90


def test_the_heat_map_is_absolute() -> None:
    """An absent concept's map stays dark: nothing is stretched to its own range."""
    faint = heatmap_picture(torch.linspace(0, 0.1, 64).view(1, 8, 8))
    assert lightness(faint).max() < 25
    assert torch.equal(heatmap_picture(torch.tensor([[[0.0, 1.0]]]))[0, 0], color_map("heat")[[0, 255]])
    assert heatmap_picture(torch.tensor([[[-0.1, 1.1]]])).isfinite().all()


def test_concepts_are_told_apart() -> None:
    colors = concept_colors(14, 2)
    distances = torch.cdist(colors, colors) + torch.eye(14)
    assert colors.shape == (14, 3) and distances.min() > 0.08
    assert (colors[12:].std(dim=1) < 1e-3).all()  # background is grey
    assert concept_colors(64, 0).isfinite().all() and concept_colors(3, 3).shape == (3, 3)


def test_overlay_shows_the_winner_and_leaves_the_background_alone() -> None:
    shares = torch.zeros(1, 3, 4, 400)
    shares[:, 0, :, :100], shares[:, 1, :, 100:200], shares[:, 2, :, 200:] = 1, 1, 1
    picture = torch.full((1, 4, 400, 3), 0.5)
    overlay = overlay_picture(shares, ["house", "sky", "background"], 1, picture, alpha=0.6)
    colors = concept_colors(3, 1)
    assert_close(overlay[0, 0, 50], 0.6 * colors[0] + 0.2)
    assert_close(overlay[0, 0, 150], 0.6 * colors[1] + 0.2)
    assert torch.equal(overlay[0, :4, 200:], picture[0, :, 200:])
    assert torch.equal(overlay_picture(shares, ["a", "b", "c"], 1, None)[0, 0, 300], colors[2])


@pytest.mark.parametrize("width", [8, 64, 256, 1024])
@pytest.mark.parametrize(
    "names", [["x" * 2000, "sky"], ["word " * 400], [f"concept {i}" for i in range(64)], ["日本 🐉 é", "a\tb", "'\"(["]]
)
def test_the_legend_fits(width: int, names: list[str]) -> None:
    colors = concept_colors(len(names), 0)
    legend = legend_picture(names, colors, [0.5] * len(names), width)
    assert legend.shape[1:] == (width, 3) and legend.dtype == torch.float32
    assert legend.shape[0] <= 24 + len(names) * max(20, width // 20)
    paper = legend[0, 0]
    assert torch.equal(legend[:, -1], paper.expand(len(legend), 3)) or width < 64  # no text runs off the edge
    if width >= 64:
        for color in colors:  # every concept has its chip
            assert ((legend - color).abs().amax(-1) < 0.01).sum() >= 100


def test_a_picture_for_each_map() -> None:
    pictures = torch.rand(2, 20, 30, 4)
    assert torch.equal(image_batch(pictures, 2, (20, 30)), pictures[..., :3])
    assert image_batch(pictures[:1], 5, (8, 12)).shape == (5, 8, 12, 3)
    flat = image_batch(torch.full((1, 20, 30, 3), 1.2), 1, (40, 10))
    assert torch.equal(flat, torch.ones(1, 40, 10, 3))
    with pytest.raises(ValueError, match="`image` holds 2 pictures and the maps 3"):
        image_batch(pictures, 3, (20, 30))
