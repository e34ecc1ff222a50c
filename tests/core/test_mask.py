"""The mask's ramp: an exact floor and an exact core, whatever the threshold."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from conceptattention_core.masks.methods import concept_mask, ramp_mask

SHARE = torch.linspace(0, 1, 101)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("softness", [0.02, 0.1, 1.0])
def test_ramp(threshold: float, softness: float) -> None:
    mask = ramp_mask(SHARE, threshold, softness)
    assert (mask[threshold - softness / 2 - 1e-6 >= SHARE] == 0).all()
    assert (mask[threshold + softness / 2 + 1e-6 <= SHARE] == 1).all()
    inside = (threshold - SHARE).abs() < softness / 2
    assert_close(mask[inside], (SHARE[inside] - threshold) / softness + 0.5)
    assert (mask.diff() >= 0).all() and mask.dtype == torch.float32


def test_a_hard_cut_includes_the_threshold() -> None:
    assert ramp_mask(torch.tensor([0.0, 0.49, 0.5, 0.51, 1.0]), 0.5, 0.0).tolist() == [0, 0, 1, 1, 1]


def test_a_sure_concept_reaches_one_and_an_absent_one_zero() -> None:
    """Differential Diffusion never touches a mask whose peak is 0.97, and crop nodes take any trace as inside."""
    share = torch.stack([torch.full((8, 8), 0.9), torch.full((8, 8), 0.1)])
    mask = ramp_mask(share.transpose(1, 2), 0.5, 0.1)
    assert mask.unique().tolist() == [0, 1] and mask.is_contiguous()


@pytest.mark.parametrize("softness", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("peak", [0.05, 0.3, 0.52, 0.72, 0.98])
def test_a_mask_has_a_core_or_is_empty(peak: float, threshold: float, softness: float) -> None:
    """Also where the ramp ends above what the map reaches, or begins below it; each picture for itself."""
    share = torch.stack([SHARE * peak, SHARE * 0]).view(2, 1, -1)
    mask = concept_mask(share, threshold, softness)
    assert mask.shape == share.shape and mask.dtype == torch.float32 and mask.is_contiguous()
    assert mask[0].max() == (peak >= threshold) and mask[0].min() == 0 and not mask[1].any()
    assert (mask[0].diff() >= 0).all()
    assert (mask[0][share[0] <= threshold - softness / 2 - 1e-6] == 0).all()
    if threshold + softness / 2 <= peak and softness / 2 <= threshold:  # the whole ramp is there: nothing changes
        assert_close(mask[0], ramp_mask(share[0], threshold, softness), atol=1e-5, rtol=0)


def test_a_concept_that_is_everywhere_is_masked_everywhere() -> None:
    assert (concept_mask(torch.full((1, 4, 4), 0.9), 0.5, 0.1) == 1).all()
    for share in (0.5, 0.50000001):
        assert concept_mask(torch.full((1, 4, 4), share), 0.5, 0.1).max() == 1
