"""Select by clicking, on a made-up picture whose things are known: what is clicked, all of it, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from conceptattention_core.features import unit_tokens
from conceptattention_core.maps import ConceptAttentionMaps
from conceptattention_core.masks.select import prototypes, select, token_shares
from conceptattention_core.views import ConceptMaps

GRID, PIXELS = (12, 18), 16
SIZE = (GRID[0] * PIXELS, GRID[1] * PIXELS)
SKY, FLOOR, HULL, SAIL, BALL, TWIN = range(6)
GREEN = [0.1, 0.6, 0.2]
COLORS = torch.tensor([[0.5, 0.7, 1.0], [0.5, 0.4, 0.3], [0.6, 0.1, 0.1], [0.95, 0.95, 0.9], GREEN, GREEN])


def truth() -> Tensor:
    """What stands where, ``(h, w)``: a boat of two parts between sky and floor, and two balls of one look."""
    kinds = torch.full(GRID, SKY)
    kinds[7:] = FLOOR
    kinds[3:6, 4:7], kinds[6:9, 3:8] = SAIL, HULL
    kinds[9:11, 10:12], kinds[9:11, 14:16] = BALL, TWIN
    return kinds


def scene() -> tuple[ConceptAttentionMaps, Tensor]:
    """Maps whose features say what stands where, noisily; the parts of the boat are somewhat alike. And the picture."""
    generator = torch.Generator().manual_seed(0)
    looks = torch.randn(6, 3, 16, generator=generator)
    looks[SAIL] += looks[HULL]
    looks[TWIN] = looks[BALL]
    kinds = truth()
    features = torch.einsum("h w b f -> b f h w", looks[kinds])
    features = features + 0.5 * torch.randn(3, 16, *GRID, generator=generator)
    picture = COLORS[kinds].repeat_interleave(PIXELS, 0).repeat_interleave(PIXELS, 1)[None]
    scores = torch.zeros(1, 3, 1, 2, *GRID)
    maps = ConceptAttentionMaps(
        scores, ("boat", "sky"), 0, (0, 1, 2), (1.0,), SIZE, features=features[:, None].half()
    )
    return maps, picture


def overlap(mask: Tensor, *kinds: int) -> float:
    wanted = torch.isin(truth(), torch.tensor(kinds)).repeat_interleave(PIXELS, 0).repeat_interleave(PIXELS, 1)
    found = mask[0] > 0
    return float((found & wanted).sum() / (found | wanted).sum())


def at(row: float, column: float) -> tuple[float, float]:
    """The point in the middle of a token, or beside it."""
    return (column + 0.5) * PIXELS, (row + 0.5) * PIXELS


@pytest.mark.parametrize(
    ("points", "negative", "wanted"),
    [
        ([at(9, 10)], [], [BALL]),  # not its twin, which no path of the same joins to it
        ([at(9, 10), at(10, 15)], [], [BALL, TWIN]),
        ([at(1, 1)], [], [SKY]),  # what reaches the border is what it is, where it is clicked
        ([at(11, 17)], [], [FLOOR]),
        ([at(7, 5), at(4, 5)], [], [HULL, SAIL]),
        ([at(7, 5)], [at(4, 5)], [HULL]),
    ],
)
def test_what_is_clicked(points: list, negative: list, wanted: list[int]) -> None:
    maps, picture = scene()
    made = select(maps, points, negative, picture)
    assert overlap(made.mask, *wanted) > 0.9
    assert made.mask.shape == made.share.shape == (1, *SIZE) and set(made.mask.unique().tolist()) == {0.0, 1.0}


def test_without_the_picture() -> None:
    """As coarse as the tokens, and a thing that reaches the border takes more clicks."""
    maps = scene()[0]
    assert overlap(select(maps, [at(9, 10)]).mask, BALL) > 0.5
    assert overlap(select(maps, [at(7, 5)], [at(4, 5)]).mask, HULL) > 0.7


def test_a_click_on_an_edge_is_for_what_has_its_colour() -> None:
    """The token beside the ball holds some of it, and its features are the floor's."""
    maps, picture = scene()
    x, y = at(9, 9)
    picture[:, 144:160, int(x) + 2 : 160] = COLORS[BALL]
    assert overlap(select(maps, [(x + 6, y)], [], picture).mask, BALL) > 0.8
    assert overlap(select(maps, [(x + 6, y)]).mask, FLOOR) > 0.5


def test_tolerance() -> None:
    maps, picture = scene()
    parts = (0.01, 0.3, 0.5, 0.8, 0.99)  # from no more than the token below the click
    areas = [float(select(maps, [at(7, 5)], [], picture, None, part).mask.mean()) for part in parts]
    assert areas == sorted(areas) and 0 < areas[0] < areas[-1]


def test_a_hole_is_filled_unless_it_is_refused() -> None:
    maps, picture = scene()
    maps.features[:, :, :, 10, 4] = -maps.features[:, :, :, 11, 4]
    picture[:, 160:176, 64:80] = torch.tensor([0.9, 0.9, 0.0])
    hole = (slice(162, 174), slice(66, 78))
    assert select(maps, [at(11, 17)], [], picture).mask[0][hole].min() == 1
    assert select(maps, [at(11, 17)], [at(10, 4)], picture).mask[0][hole].max() == 0


def test_another_size_than_the_grid_covers() -> None:
    """A picture of 180 x 280, twice as large on the screen: tokens hang over its edge, and points count its pixels."""
    maps, picture = scene()
    maps = ConceptAttentionMaps(**{**vars(maps), "image_size": (180, 280)})
    large = torch.nn.functional.interpolate(picture[:, :180, :280].permute(0, 3, 1, 2), (360, 560)).permute(0, 2, 3, 1)
    x, y = at(9, 10)
    mask = select(maps, [(2 * x, 2 * y)], [], large).mask
    assert mask.shape == (1, 360, 560)
    wanted = (truth() == BALL).repeat_interleave(32, 0).repeat_interleave(32, 1)[:360, :560]
    assert ((mask[0] > 0) & wanted).sum() / ((mask[0] > 0) | wanted).sum() > 0.9


def test_no_block_counts_for_its_size_alone() -> None:
    features = torch.randn(3, 16, 4, 5, generator=torch.Generator().manual_seed(3))
    scaled = features * torch.tensor([1.0, 300.0, 1e-4])[:, None, None, None] + 7
    assert torch.allclose(unit_tokens(features), unit_tokens(scaled), atol=5e-3)
    assert torch.equal(unit_tokens(torch.zeros(3, 16, 2, 2)), torch.zeros(4, 48))


def test_kinds_are_found_however_many_of_each_there_are() -> None:
    looks = torch.nn.functional.normalize(torch.randn(4, 32, generator=torch.Generator().manual_seed(5)), dim=1)
    which = torch.tensor([0] * 60 + [1] * 30 + [2] * 3 + [3])
    noise = 0.05 * torch.randn(len(which), 32, generator=torch.Generator().manual_seed(6))
    found = prototypes(torch.nn.functional.normalize(looks[which] + noise, dim=1), 5)
    assert ((looks @ found.T).amax(dim=1) > 0.9).all()
    assert prototypes(looks[:0]).shape == (0, 32) and prototypes(looks[:1]).shape == (1, 32)


def test_one_token_for_both() -> None:
    """A point and a negative one on one token: the point is right, and nothing fails."""
    share = token_shares(scene()[0].features[:, 0], [9 * 18 + 10], [9 * 18 + 10])
    assert share[9, 10] >= 0.9 and share.isfinite().all()


def test_from_python() -> None:
    maps, picture = scene()
    front = ConceptMaps(maps)
    photo = (picture[0] * 255).round().byte().numpy()
    array = front.select([at(9, 10)], image=photo, output="numpy")
    assert isinstance(array, np.ndarray) and overlap(torch.from_numpy(array)[None], BALL) > 0.9
    text = front.select("168, 152", '[{"x": 8, "y": 8}]', image=photo)
    assert overlap(text[None], BALL) > 0.9  # type: ignore[index]


@pytest.mark.parametrize(
    ("change", "points", "message"),
    [
        ({"features": None, "family": "SDXL"}, [(1, 1)], "hold no features.*SDXL has none.*concept's name"),
        ({"scores": torch.zeros(1, 3, 2, 2, *GRID)}, [(1, 1)], "maps of 2 pictures, and points are for one"),
        ({}, [], "No point says what to select"),
    ],
)
def test_clear_errors(change: dict, points: list, message: str) -> None:
    maps = ConceptAttentionMaps(**{**vars(scene()[0]), **change})
    with pytest.raises(ValueError, match=message):
        select(maps, points)


@pytest.mark.parametrize("part", [0.0, 1.0, float("nan")])
def test_a_tolerance_that_is_none(part: float) -> None:
    with pytest.raises(ValueError, match=r"tolerance \(.*\) must lie between 0 and 1"):
        select(scene()[0], [(1, 1)], tolerance=part)
