"""The heat maps that people compare: scales that say what they show, layouts that hold what was asked for."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from conceptattention_core.expression import Expression
from conceptattention_core.maps import ConceptAttentionMaps
from conceptattention_core.pictures.colormaps import color_map
from conceptattention_core.pictures.colors import concept_colors
from conceptattention_core.pictures.layouts import (
    LAYOUTS,
    SCALES,
    HeatmapStyle,
    choose_concepts,
    draw_heatmaps,
    grid_shape,
    scale_ends,
)

NAMES = ("house", "sky", "unicorn", "background")
H, W = 64, 96
PHOTO = torch.rand(1, H, W, 3, generator=torch.Generator().manual_seed(1))


def quarters() -> tuple[ConceptAttentionMaps, torch.Tensor]:
    """Two pictures of 4 x 6 tokens: house on the left, sky in the middle, background on the right, no unicorn."""
    shares = torch.full((2, 4, 4, 6), 0.1)
    shares[:, 2] = 0.02
    shares[:, 0, :, :2], shares[:, 1, :, 2:4], shares[:, 3, :, 4:] = 0.7, 0.6, 0.6
    shares[:, 2, 0, 0] = 0.04
    shares[1, 0, :, :2] = 0.8
    return ConceptAttentionMaps(torch.zeros(1, 1, 2, 4, 4, 6), NAMES, 1, (0,), (1.0,), (H, W)), shares


def draw(layout: str, text: str = "", image: torch.Tensor | None = None, **style: object) -> torch.Tensor:
    maps, shares = quarters()
    return draw_heatmaps(maps, shares, choose_concepts(text, maps), HeatmapStyle(layout, **style), image)  # type: ignore[arg-type]


def test_a_shared_scale_leaves_an_absent_concept_dark() -> None:
    """Also when it is drawn alone, and in the picture where the others are less sure."""
    _, shares = quarters()
    low, high = scale_ends(shares, shares[:, 2:], "shared")
    assert_close(low, torch.zeros(2)), assert_close(high, torch.full((2,), 0.8))
    colors = color_map("gray")
    unicorn = draw("pictures", "unicorn", colors="gray")
    assert unicorn.shape == (2, H, W, 3) and unicorn.max() <= colors[round(255 * 0.05)].max()
    house = draw("pictures", "house", colors="gray")
    assert_close(house[0, 32, 8], colors[round(255 * 0.7 / 0.8)]) and assert_close(house[1, 32, 8], colors[255])


def test_a_scale_per_concept_shows_its_whole_range() -> None:
    unicorn = draw("pictures", "unicorn", colors="gray", scale="per concept")
    assert torch.equal(unicorn.amin((0, 1, 2)), color_map("gray")[0]) and unicorn.max() == 1
    maps, shares = quarters()
    flat = draw_heatmaps(maps, 0 * shares + 0.25, [Expression((0,))], HeatmapStyle("pictures", "gray", "per concept"))
    assert torch.equal(flat, color_map("gray")[0].expand_as(flat)), "a map without a range has nothing to show"


def test_pictures_come_in_the_order_asked_for() -> None:
    both = draw("pictures", "sky, house")
    assert both.shape == (4, H, W, 3)
    for batch in range(2):
        assert torch.equal(both[2 * batch], draw("pictures", "sky")[batch])
        assert torch.equal(both[2 * batch + 1], draw("pictures", "house")[batch])
    assert len(draw("pictures")) == 8, "empty: all"
    with pytest.raises(ValueError, match="Did you mean 'unicorn'"):
        draw("pictures", "house, unicron")


def test_several_concepts_as_one_map() -> None:
    """A sum of shares, on the scale that all share, and by its own name in the grid."""
    colors = color_map("gray")
    both = draw("pictures", "house + sky, unicorn", colors="gray")
    assert len(both) == 4
    _, shares = quarters()
    top = max(shares.amax(), (shares[:, 0] + shares[:, 1]).amax()).item()
    for x in (8, 40):
        assert_close(both[0, 32, x], colors[round(255 * (shares[0, 0] + shares[0, 1])[2, x // 16].item() / top)])
    assert draw("grid", "house + sky").shape[0] == 2
    assert torch.equal(draw("overlay", "house + sky"), draw("overlay", "house, sky"))


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_alpha_blends_with_the_picture(alpha: float) -> None:
    blended = draw("pictures", "house", PHOTO, alpha=alpha)
    assert_close(blended, alpha * draw("pictures", "house") + (1 - alpha) * PHOTO)


def test_the_overlay_paints_what_wins_by_how_sure_it_is() -> None:
    colors = concept_colors(4, 1)
    overlay = draw("overlay", "", PHOTO, alpha=0.5)
    assert overlay.shape[0] == 2 and overlay.shape[1] > H and overlay.shape[2] == W
    assert_close(overlay[1, 32, 8], 0.5 * colors[0] + 0.5 * PHOTO[0, 32, 8])
    opacity = 0.5 * 0.6 / 0.8
    assert_close(overlay[0, 32, 48], opacity * colors[1] + (1 - opacity) * PHOTO[0, 32, 48])
    assert torch.equal(overlay[0, :H, 72:], PHOTO[0, :, 72:]), "background never covers the picture"
    alone = draw("overlay", "sky", PHOTO, alpha=0.5)
    assert torch.equal(alone[0, :H, :24], PHOTO[0, :, :24]) and torch.equal(alone[0, 32, 48], overlay[0, 32, 48])


def test_the_grid_holds_every_map() -> None:
    _, _, (height, width) = grid_shape(4, (H, W))
    grid = draw("grid")
    for number, picture in enumerate(draw("pictures", "", torch.zeros(1, height, width, 3), alpha=1.0)):
        page = grid[number // 4]
        corners = (page[: 1 - height, : 1 - width] - picture[0, 0]).abs().amax(-1) < 1e-6
        places = corners.nonzero().tolist()
        assert any(torch.equal(page[y : y + height, x : x + width], picture) for y, x in places)


@pytest.mark.parametrize("count", [1, 5, 64])
@pytest.mark.parametrize("size", [(16, 16), (64, 64), (64, 1024), (1024, 64), (2048, 2048), (512, 768)])
def test_grids_are_of_a_size_to_look_at(count: int, size: tuple[int, int]) -> None:
    columns, rows, cell = grid_shape(count, size)
    assert columns * rows >= count > columns * (rows - 1)
    assert max(cell) >= 128 and max(columns * cell[1], rows * cell[0]) <= max(2048, 128 * max(columns, rows)) + 64
    assert 0.4 < (columns * cell[1]) / (rows * cell[0]) < 2.5 or count < 64


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("size", [(16, 16), (40, 300)])
def test_any_size_gives_a_picture(layout: str, scale: str, size: tuple[int, int]) -> None:
    drawn = draw(layout, "", torch.ones(2, *size, 3), scale=scale)
    assert drawn.dtype == torch.float32 and drawn.is_contiguous() and drawn.shape[-1] == 3
    assert drawn.isfinite().all() and drawn.min() >= 0 and drawn.max() <= 1
