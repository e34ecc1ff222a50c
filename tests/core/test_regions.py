"""Regions of masks, drawn by hand: what belongs together, what is a hole, what is too small."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from conceptattention_core.masks.regions import (
    each_region,
    fill_holes,
    fill_label_holes,
    keep_largest,
    merge_small,
    remove_small,
)


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


def labelled(*rows: str) -> Tensor:
    return torch.tensor([[[int(mark) for mark in row] for row in rows]])


def test_a_small_region_goes_to_the_strongest_concept_beside_it() -> None:
    """The 3 touches 0 and 1; its second best share is 2, which is not beside it, its third 1."""
    labels = labelled("00011", "00311", "00011", "00011", "22222")
    shares = torch.full((1, 4, 5, 5), 0.1)
    shares[0, :, 1, 2] = torch.tensor([0.05, 0.2, 0.35, 0.4])
    expected = labelled("00011", "00111", "00011", "00011", "22222")
    assert torch.equal(merge_small(labels, shares, 2), expected)
    assert torch.equal(merge_small(labels, shares, 1), labels)
    batch = merge_small(torch.cat([expected, labels]), shares.expand(2, -1, -1, -1), 2)
    assert torch.equal(batch, torch.cat([expected, expected]))


@pytest.mark.parametrize("minimum_area", [2, 5, 20, 10_000])
def test_no_small_region_is_left(minimum_area: int) -> None:
    """Noise is the worst case: specks inside specks. Above the picture's size the largest region takes it all."""
    shares = torch.rand(2, 4, 40, 50, generator=torch.Generator().manual_seed(3))
    shares[1, 2, 5:30, 5:30] += 2
    labels = merge_small(shares.argmax(dim=1), shares, minimum_area)
    for picture in labels:
        for index in range(4):
            mask = (picture == index)[None]
            large = remove_small(mask, min(minimum_area, 2000))
            assert torch.equal(large, mask)
    assert (labels[1, 5:30, 5:30] == 2).all()


def test_holes_of_a_label_map() -> None:
    """Background (2) inside the house (0) is filled; the sun (1) in the house stays, and so does background between
    two concepts, at the picture's edge, or around the sun where it touches both."""
    labels = labelled(
        "0000000002",
        "0220011002",
        "0020011000",
        "0000000001",
        "0002100021",
        "0000000001",
    )
    assert torch.equal(
        fill_label_holes(labels, named=2),
        labelled(
            "0000000002",
            "0000011002",
            "0000011000",
            "0000000001",
            "0002100021",
            "0000000001",
        ),
    )
    assert torch.equal(fill_label_holes(labels, named=3), labels)


def test_each_region_by_itself() -> None:
    """The largest first, diagonal neighbours together, soft values kept; all of them make the mask again."""
    mask = torch.zeros(2, 8, 10)
    mask[0, 1, 1] = 0.5
    mask[0, 4:7, 4:8] = 1.0
    mask[0, 3, 3] = 0.25  # touches the large one at a corner
    mask[1, 0, 0:3] = 1.0
    found = each_region(mask)
    assert [int((one > 0).sum()) for one in found] == [13, 1, 3] and all(one.shape == (1, 8, 10) for one in found)
    assert torch.equal(found[0][0] + found[1][0], mask[0]) and torch.equal(found[2], mask[1:])
    (empty,) = each_region(torch.zeros(1, 8, 10))
    assert empty.shape == (1, 8, 10) and not empty.any()
