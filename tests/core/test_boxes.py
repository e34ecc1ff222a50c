"""Boxes hold the objects, points lie on them: measured on maps made by hand, where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from conceptattention_core.expression import Expression
from conceptattention_core.masks.boxes import Region, concept_prompt, find_regions, padded_region, surest_points

H, W = 120, 200
BOAT = Expression((0,))


def disc(y: int, x: int, radius: int) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def scene(*objects: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Shares ``(1, 1 + background, H, W)`` of one concept that is these objects, with noise and soft edges."""
    inside = torch.stack(objects).any(dim=0).float()
    noise = 0.05 * torch.rand(H, W, generator=torch.Generator().manual_seed(seed))
    share = (0.1 + 0.75 * torch.nn.functional.avg_pool2d(inside[None, None], 5, 1, 2)[0, 0] + noise).clamp(0, 1)
    return torch.stack([share, 1 - share])[None]


@pytest.mark.parametrize(("method", "threshold"), [("argmax", 0.9), ("threshold", 0.5)])
@pytest.mark.parametrize("seed", range(3))
def test_each_object_gets_its_box_and_points(method: str, threshold: float, seed: int) -> None:
    large, small = disc(60, 60, 30), disc(40, 150, 15)
    prompt = concept_prompt(scene(large, small, seed=seed), BOAT, method, threshold, point_counts=(4, 4))  # type: ignore[arg-type]
    (regions,) = prompt.regions
    for region, (y, x, radius) in zip(regions, [(60, 60, 30), (40, 150, 15)], strict=True):
        corners = np.array([region.x, region.y, region.x + region.width, region.y + region.height])
        assert np.abs(corners - [x - radius, y - radius, x + radius + 1, y + radius + 1]).max() <= 2
        assert 0.75 < region.score < 0.95
    assert prompt.positive[0] == pytest.approx((60, 60), abs=6), "the middle of the large one comes first"
    assert all((large | small)[y, x] for x, y in prompt.positive)
    assert any(small[y, x] for x, y in prompt.positive), "points are spread over the regions"
    assert not any((large | small)[y, x] for x, y in prompt.negative) and len(prompt.negative) == 4


def test_points_keep_their_distance() -> None:
    inside = torch.zeros(H, W, dtype=torch.bool)
    inside[20:100, 20:180] = True
    points = np.array(surest_points(torch.ones(H, W), inside, 6))
    distances = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1)) + 1e9 * np.eye(6)
    assert distances.min() >= 15
    assert ((points[:, 0] >= 30) & (points[:, 0] < 170) & (points[:, 1] >= 30) & (points[:, 1] < 90)).all()


def test_a_point_lies_where_the_share_is_high() -> None:
    share = torch.full((H, W), 0.5)
    share[50:70, 140:160] = 1
    assert surest_points(share, torch.ones(H, W, dtype=torch.bool), 1)[0] == pytest.approx((145, 60), abs=10)


def test_regions_are_sorted_filtered_and_limited() -> None:
    mask = torch.zeros(H, W)
    mask[0:10, 0:10], mask[10:20, 10:20] = 1, 1  # touch at a corner: one region
    mask[50:90, 100:150] = 1
    mask[119, 199] = 1
    share = torch.full((H, W), 0.6)
    regions, kept = find_regions(mask, share, min_area=0, max_regions=10)
    boxes = [(region.x, region.y, region.width, region.height) for region in regions]
    assert boxes == [(100, 50, 50, 40), (0, 0, 20, 20), (199, 119, 1, 1)] and torch.equal(kept, mask > 0)
    assert regions[0].score == pytest.approx(0.6)
    assert len(find_regions(mask, share, 201 / (H * W), 10)[0]) == 1
    assert find_regions(mask, share, 200 / (H * W), 10)[0] == regions[:2]
    assert find_regions(mask, share, 0, 1)[0] == regions[:1]
    assert find_regions(mask, share, 0, 1)[1].sum() == 2000


def test_an_absent_concept_gives_nothing_at_all() -> None:
    """Negative points alone would ask SAM for everything else."""
    shares = torch.stack([torch.full((H, W), 0.2), torch.full((H, W), 0.8)])[None]
    prompt = concept_prompt(shares, BOAT)
    assert (prompt.regions, prompt.positive, prompt.negative) == ([[]], [], [])


def test_a_concept_that_is_everywhere() -> None:
    shares = torch.stack([torch.full((H, W), 0.8), torch.full((H, W), 0.2)])[None]
    prompt = concept_prompt(shares, BOAT)
    assert prompt.regions == [[Region(0, 0, W, H, pytest.approx(0.8))]] and prompt.negative == []
    assert prompt.positive[0] == pytest.approx((100, 60), abs=41)


def test_points_of_one_picture_and_boxes_of_all() -> None:
    shares = torch.cat([scene(disc(60, 40, 20)), scene(disc(60, 150, 20))])
    prompt = concept_prompt(shares, BOAT, picture=1, point_counts=(1, 0))
    assert [len(regions) for regions in prompt.regions] == [1, 1]
    assert prompt.positive[0] == pytest.approx((150, 60), abs=5) and prompt.negative == []
    with pytest.raises(ValueError, match="no picture 2: `maps` holds 2"):
        concept_prompt(shares, BOAT, picture=2)


@pytest.mark.parametrize(
    ("boxes", "padding", "expected"),
    [
        ([(100, 60, 30, 40)], 8, (91, 48, 48, 64)),  # 46 x 56 with padding, up to whole patches
        ([(0, 0, 20, 20), (180, 100, 20, 20)], 8, (0, 0, 200, 120)),  # no further than the picture
        ([], 8, (0, 0, 200, 120)),
    ],
)
def test_the_region_holds_every_box_with_padding(
    boxes: list[tuple[int, int, int, int]], padding: int, expected: tuple[int, int, int, int]
) -> None:
    regions = [Region(*box, score=1.0) for box in boxes]
    assert padded_region(regions, padding, (120, 200)) == expected
