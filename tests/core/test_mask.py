"""The mask's ramp: an exact floor and an exact core, whatever the threshold."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from conceptattention_core.masks.methods import ramp_mask

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
