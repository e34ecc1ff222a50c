"""Regions of masks, drawn by hand: what belongs together, what is a hole, what is too small."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from conceptattention_core.regions import fill_holes, keep_largest, remove_small


def drawn(*rows: str) -> Tensor:
    """A mask `(1, H, W)` from rows of digits: tenths, with `#` for 1."""
    return torch.tensor([[[1.0 if mark == "#" else int(mark) / 10 for mark in row] for row in rows]])


ISLANDS = drawn(
    "#00000000",
    "0#0002500",
    "000000000",
    "000###000",
    "000#0#000",
    "000###0#0",
)


RING = ("000###000", "000#0#000")
WITHOUT_SOFT = drawn("#00000000", "0#0000000", "000000000", *RING, "000###000")
RING_ALONE = drawn("000000000", "000000000", "000000000", *RING, "000###000")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda mask: remove_small(mask, 1), ISLANDS),
        (lambda mask: remove_small(mask, 2), drawn("#00000000", "0#0002500", "000000000", *RING, "000###000")),
        (lambda mask: remove_small(mask, 3), RING_ALONE),
        (lambda mask: remove_small(mask, 9), torch.zeros(1, 6, 9)),
        (lambda mask: keep_largest(mask, 9), ISLANDS),
        (lambda mask: keep_largest(mask, 2), WITHOUT_SOFT),
        (lambda mask: keep_largest(mask, 1), RING_ALONE),
        (fill_holes, drawn("#00000000", "0#0002500", "000000000", "000###000", "000###000", "000###0#0")),
    ],
)
def test_islands(change: Callable[[Tensor], Tensor], expected: Tensor) -> None:
    assert_close(change(ISLANDS), expected)
    empty = torch.zeros_like(ISLANDS)
    both = change(torch.cat([empty, ISLANDS]))
    assert_close(both, torch.cat([empty, expected]))
    hard = ISLANDS > 0
    assert torch.equal(change(hard), change(hard.float()).bool())


def test_a_diagonal_wall_has_no_leak() -> None:
    """A ring that hangs together by corners holds water: 8-connected, so its inside is 4-connected."""
    ring = drawn("00#00", "0#0#0", "#000#", "0#0#0", "00#00")
    assert torch.equal(fill_holes(ring), drawn("00#00", "0###0", "#####", "0###0", "00#00"))
    assert torch.equal(remove_small(ring, 8), ring)


def test_soft_rims() -> None:
    """A soft hole leaves no scar, a hole in something soft is filled no higher, an outer rim stays as it is."""
    soft = drawn("0000000", "0555550", "05###50", "05#3#50", "05###50", "0555550", "0000000")
    assert torch.equal(
        fill_holes(soft), drawn("0000000", "0555550", "05###50", "05###50", "05###50", "0555550", "0000000")
    )
    bowl = fill_holes(drawn("8888", "8218", "8888"))
    assert_close(bowl, torch.full((1, 3, 4), 0.8), atol=1 / 16, rtol=0)
    assert (bowl <= 0.8).all() and bowl.dtype == torch.float32
