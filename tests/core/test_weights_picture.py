"""The picture of what reading auto trusts: bars as long as blocks count, cells as bright as their steps do."""

from __future__ import annotations

import torch

from conceptattention_core.pictures.colormaps import color_map
from conceptattention_core.pictures.legend import INK
from conceptattention_core.pictures.weights import BAR, CELL, MOST_ROWS, weights_picture

PART = torch.tensor([0.1, 0.4, 0.2, 0.3])
WEIGHTS = torch.stack([PART[None] * torch.tensor([[0.75], [0.25]]), PART.flip(0)[None] * torch.tensor([[0.5], [0.5]])])


def bars(picture: torch.Tensor) -> list[int]:
    """Lengths of the black bars, left to right, by the picture's own ink above the cells."""
    black = ((picture * 255).round() == torch.tensor(INK)).all(dim=2)
    lengths = black[20:138].sum(dim=0)
    edges = (lengths > 5).int().diff(prepend=torch.zeros(1, dtype=torch.int)).nonzero().flatten().tolist()
    return [int(lengths[(start + end) // 2]) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def test_bars_and_cells() -> None:
    made = weights_picture(WEIGHTS, (3, 4, 5, 6), (0.9, 0.4))
    assert made.shape[0] == 2 and made.shape[3] == 3
    for picture, parts in zip(made, (PART, PART.flip(0)), strict=True):
        lengths = torch.tensor(bars(picture)).float()
        assert len(lengths) == 4 and (lengths / lengths.max() - parts / parts.max()).abs().max() < 0.06
    steps = made[0].flatten(0, 1)
    for value in (0.75 * PART / 0.3, 0.25 * PART / 0.3):  # the highest cell, 0.3, has the last colour
        for part in value.tolist():
            shade = (color_map("heat")[round(part * 255)] * 255).int()
            assert ((steps * 255).round().int() == shade).all(dim=1).sum() > CELL * CELL / 2


def test_a_block_that_counts_for_nothing() -> None:
    made = weights_picture(torch.tensor([[[1.0, 0.0, 0.0]]]), (0, 1, 2), (0.5,))[0]
    assert bars(made)[0] >= BAR - 4 and made.isfinite().all()


def test_a_long_schedule_keeps_its_sum() -> None:
    """More steps than rows: neighbours share one, and bars do not change."""
    weights = torch.rand(1, 100, 4, generator=torch.Generator().manual_seed(0)) * PART
    long = weights_picture(weights / weights.sum(), range(4), [1 - at / 100 for at in range(100)])[0]
    short = weights_picture((weights / weights.sum()).sum(dim=1, keepdim=True), range(4), (1.0,))[0]
    assert bars(long) == bars(short) and max(bars(long)) >= BAR - 4
    assert long.shape[0] - short.shape[0] == (25 - 1) * CELL and MOST_ROWS == 30
