"""What is measured on the map: the paper's mean, Otsu's cut, a percentile, levels; and the strongest concept."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from conceptattention_core.masks.methods import (
    argmax_mask,
    levels_mask,
    mean_threshold,
    otsu_threshold,
    percentile_threshold,
    ramp_mask,
    threshold_mask,
)


def brute_force_otsu(values: torch.Tensor) -> float:
    """The least variance within the two groups, tried at every gap between two values."""
    ordered = values.flatten().double().sort().values
    cuts = (ordered[1:] + ordered[:-1]) / 2

    def within(cut: torch.Tensor) -> float:
        groups = [ordered[ordered <= cut], ordered[ordered > cut]]
        return sum(float(((group - group.mean()) ** 2).sum()) for group in groups if len(group))

    return float(min(cuts, key=within))


@pytest.mark.parametrize("seed", range(4))
def test_otsu_is_the_best_cut(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    low, high = torch.rand(2, 60, generator=draw) * torch.tensor([[0.3], [0.2]]) + torch.tensor([[0.1], [0.5]])
    share = torch.cat([low, high[: 10 + 10 * seed]]).view(1, 1, -1)
    bin_width = (share.max() - share.min()) / 256
    assert otsu_threshold(share).item() == pytest.approx(brute_force_otsu(share), abs=2 * float(bin_width) + 0.06)
    mask = threshold_mask(share, otsu_threshold(share))
    assert mask.sum() == 10 + 10 * seed


def test_otsu_of_each_map_alone_and_of_a_constant_one() -> None:
    two = torch.stack([torch.tensor([[0.1, 0.1], [0.9, 0.9]]), torch.tensor([[0.3, 0.4], [0.3, 0.3]])])
    cuts = otsu_threshold(two)
    assert cuts.shape == (2, 1, 1) and 0.1 < cuts[0] < 0.9 and 0.3 < cuts[1] < 0.4
    assert torch.equal(threshold_mask(two, cuts), torch.tensor([[[0.0, 0], [1, 1]], [[0, 1], [0, 0]]]))
    assert otsu_threshold(torch.full((1, 3, 3), 0.25)).item() == pytest.approx(0.25)
    assert otsu_threshold(two.half()).dtype == torch.float16


def test_mean_and_ramp_broadcast_over_the_batch() -> None:
    share = torch.tensor([[[0.0, 0.2], [0.4, 1.0]], [[0.5, 0.5], [0.5, 0.7]]])
    assert_close(mean_threshold(share).flatten(), torch.tensor([0.4, 0.55]))
    assert threshold_mask(share, mean_threshold(share)).sum() == 2
    assert_close(ramp_mask(share, mean_threshold(share), 0.4)[0, 0], torch.tensor([0.0, 0.0]))


def test_argmax_masks_cover_the_picture_once() -> None:
    shares = torch.rand(2, 4, 5, 6, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    assert torch.equal(sum(argmax_mask(shares, index) for index in range(4)), torch.ones(2, 5, 6))


@pytest.mark.parametrize("percentile", [0.0, 37.5, 80.0, 99.0, 100.0])
def test_percentile_leaves_the_strongest_part(percentile: float) -> None:
    share = torch.rand(2, 20, 40, generator=torch.Generator().manual_seed(0))
    cut = percentile_threshold(share, percentile)
    wanted = min(1 - percentile / 100, 1 - 1 / 800)
    assert cut.shape == (2, 1, 1)
    assert_close(threshold_mask(share, cut).mean(dim=(1, 2)), torch.full((2,), wanted), atol=1e-6, rtol=0)


def test_levels_on_each_maps_own_range() -> None:
    weak = torch.tensor([[0.10, 0.12], [0.16, 0.20]])
    masks = levels_mask(torch.stack([weak, 4 * weak + 0.1]), 0.2, 0.6)
    assert_close(masks[0], masks[1])
    assert_close(masks[0], torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    assert_close(levels_mask(weak[None], 0.0, 1.0)[0], torch.tensor([[0.0, 0.2], [0.6, 1.0]]))
    assert_close(levels_mask(weak[None], 0.0, 1.0, gamma=2.0)[0], torch.tensor([[0.0, 0.2], [0.6, 1.0]]).sqrt())
    assert levels_mask(weak[None], 0.5, 0.5)[0].tolist() == [[0, 0], [1, 1]]
    assert levels_mask(weak[None], 0.0, 0.0)[0].tolist() == [[0, 1], [1, 1]]
    assert not levels_mask(torch.full((1, 3, 3), 0.4) + 1e-8 * torch.rand(3, 3), 0.3, 0.7).any()
    with pytest.raises(ValueError, match=r"low is 0.7 and high 0.3.*Swap"):
        levels_mask(weak[None], 0.7, 0.3)
