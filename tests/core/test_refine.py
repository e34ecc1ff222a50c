"""Maps that follow the picture's edges, judged by scenes whose truth is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from conceptattention_core.evaluate.datasets.scenes.scenes import HELD_OUT, scene
from conceptattention_core.maps import resize_maps
from conceptattention_core.masks.edges import refine_maps
from tools.benchmarks.edges import guides, noisy_truth
from tools.benchmarks.quality import Agreement

SIZES = [((4, 6), (64, 96)), ((4, 6), (50, 90)), ((3, 2), (33, 32)), ((1, 1), (1, 1)), ((2, 3), (32, 48))]


def test_scenes_gain_what_the_token_grid_has_lost() -> None:
    """On clean pictures and on grainy JPEGs; the bar is half of what `tools/benchmarks/edges.py` finds."""
    enlarge: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "bilinear": lambda maps, _: resize_maps(maps, (256, 256), (256, 256)),
        "refined": lambda maps, picture: refine_maps(maps, picture, (256, 256)),
    }
    found: dict[tuple[str, str], Agreement] = {}
    for seed in range(HELD_OUT + 3000, HELD_OUT + 3008):
        one = scene(seed)
        for kind, picture in guides(one).items():
            for name, method in enlarge.items():
                labels = method(noisy_truth(one), picture)[0].argmax(dim=0).numpy() + 1
                found.setdefault((name, kind), Agreement()).add(labels, one.labels, one.names)
    for kind in ("clean", "grain + JPEG"):
        before, after = found["bilinear", kind], found["refined", kind]
        assert after.mean_iou > before.mean_iou + 0.08 and after.accuracy > before.accuracy + 0.02


@pytest.mark.parametrize(("grid", "image_size"), SIZES)
def test_shares_stay_shares(grid: tuple[int, int], image_size: tuple[int, int]) -> None:
    draw = torch.Generator().manual_seed(1)
    maps = (4 * torch.randn(2, 3, *grid, generator=draw)).softmax(dim=1)
    for scale in (1, 3):
        picture = torch.rand(2, scale * image_size[0], scale * image_size[1], 3, generator=draw)
        shares = refine_maps(maps, picture, image_size)
        assert shares.shape == (2, 3, *picture.shape[1:3]) and shares.dtype == torch.float32
        assert shares.min() >= 0
        assert_close(shares.sum(dim=1), torch.ones(2, *picture.shape[1:3]))
        for index in range(2):  # a batch is its pictures, one by one
            alone = refine_maps(maps[index : index + 1], picture[index : index + 1], image_size)
            assert torch.equal(alone[0], shares[index])
        constant = torch.tensor([0.5, 0.3, 0.2])[None, :, None, None]
        same = refine_maps(constant.expand(2, 3, *grid), picture, image_size)
        assert_close(same, constant.expand_as(same), atol=1e-4, rtol=0)


@pytest.mark.parametrize("shift", [-6, 0, 5])
def test_a_border_moves_to_the_edge(shift: int) -> None:
    """The maps say only that the border is somewhere in the fourth token's column; the picture has 11 rows less than
    the grid covers."""
    edge = 56 + shift
    inside = torch.arange(128) < edge
    picture = torch.where(inside, 0.35, 0.55)[None, None, :, None].expand(1, 53, 128, 3)
    share = torch.tensor([1, 1, 1, (shift + 8) / 16, 0, 0, 0, 0]).clamp(0.02, 0.98).expand(1, 1, 4, 8)
    shares = refine_maps(torch.cat([share, 1 - share], dim=1), picture, (53, 128))
    wrong = (shares[0, 0] > 0.5) != inside
    assert not wrong.any(), f"{wrong.sum()} pixels on the wrong side"


def test_a_flat_picture_is_a_smooth_enlargement() -> None:
    """No edges to follow: only a little smoother than bilinear, and nothing invented."""
    ramp = torch.linspace(0.1, 0.9, 12).expand(1, 1, 8, 12)
    maps = torch.cat([ramp, 1 - ramp], dim=1)
    shares = refine_maps(maps, torch.full((1, 128, 192, 3), 0.5), (128, 192))
    assert_close(shares, resize_maps(maps, (128, 192), (128, 192)), atol=0.06, rtol=0)


def test_what_cannot_be_followed() -> None:
    picture = torch.from_numpy(np.full((1, 16, 16, 3), np.nan, np.float32))
    with pytest.raises(ValueError, match=r"`image` holds NaN.*Decode it again"):
        refine_maps(torch.ones(1, 1, 1, 1), picture, (16, 16))
