"""Presence: what it must not depend on, and what it must see."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from conceptattention_core.maps import ConceptAttentionMaps
from conceptattention_core.masks.presence import calibrated, evidence, evidence_of_few, presence

FEW, MANY = 4, 6
"""Numbers of concepts that are read by different rules."""
either = pytest.mark.parametrize("concepts", [FEW, MANY])


def scores_of(seed: int = 0, concepts: int = FEW) -> torch.Tensor:
    """Steps, blocks, one picture, sky and house and absent boats and the background, on 16 x 16 patches.

    The sky wins the upper half, the house a twentieth of the picture, the background the rest, the boats nothing.
    """
    draw = torch.Generator().manual_seed(seed)
    truth = torch.zeros(concepts, 16, 16)
    truth[0, :8] = 1
    truth[-1, 8:] = 1
    truth[:, 9:13, 4:8] = 0
    truth[1, 9:13, 4:8] = 1
    return 12 * truth[None, None, None] + 4 * torch.randn(3, 5, 1, concepts, 16, 16, generator=draw)


def maps_of(scores: torch.Tensor) -> ConceptAttentionMaps:
    steps = tuple(1 - index / 10 for index in range(scores.shape[0]))
    names = ("sky", "house", *(f"boat {number}" for number in range(scores.shape[3] - 3)), "background")
    return ConceptAttentionMaps(scores, names, 1, tuple(range(scores.shape[1])), steps, (256, 256))


@either
def test_present_and_absent_differ(concepts: int) -> None:
    sky, house, *boats, background = presence(maps_of(scores_of(concepts=concepts)))[0].tolist()
    assert min(sky, house, background) > 0.7 and max(boats) < 0.3


@either
@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_scale_and_common_offset_do_not_matter(scale: float, concepts: int) -> None:
    scores = scores_of(concepts=concepts)
    common = torch.randn(1, 1, 1, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    assert_close(presence(maps_of(scale * (scores + 20 * common))), presence(maps_of(scores)), atol=1e-3, rtol=0)


@either
def test_a_block_that_shouts_nonsense_hides_nothing(concepts: int) -> None:
    scores = scores_of(concepts=concepts)
    scores[:, 2] = 300 * torch.randn(scores[:, 2].shape, generator=torch.Generator().manual_seed(2))
    sky, house, *boats, background = presence(maps_of(scores))[0].tolist()
    assert min(sky, house, background) > 0.5 > max(boats)
    assert evidence(scores.mean(dim=(0, 1)))[0, 2] > 0.9  # what the mean of all blocks makes of the boat


def test_each_picture_is_judged_alone() -> None:
    first, second = scores_of(0), scores_of(1)[:, :, :, [2, 0, 1, 3]]
    both = presence(maps_of(torch.cat([first, second], dim=2)))
    assert_close(both, torch.cat([presence(maps_of(first)), presence(maps_of(second))]))


@either
def test_steps_and_blocks_that_disagree_are_no_evidence(concepts: int) -> None:
    """The boat is as loud in every block, but at another place each time."""
    scores = scores_of(concepts=concepts)
    moving = scores.clone()
    for step in range(3):
        for block in range(5):
            scores[step, block, 0, 2, 2, 3:8] += 30
            at = 17 * (5 * step + block)
            moving[step, block, 0, 2].view(-1)[at : at + 5] += 30
    still, moved = presence(maps_of(scores))[0, 2], presence(maps_of(moving))[0, 2]
    assert still > 0.7 and moved < 0.5


def test_chosen_blocks_only() -> None:
    scores = scores_of()
    scores[:, 0] = 0
    assert_close(presence(maps_of(scores), 1, 2), presence(maps_of(scores[:, 1:3])))


def test_scores_that_say_nothing_find_nothing() -> None:
    assert not evidence(torch.full((2, 3, 4, 4), 7.0)).any()
    assert not evidence(torch.zeros(1, 2, 1, 1)).any()
    assert not evidence_of_few(torch.zeros(1, 2, 1, 3, 4, 4)).any()


def test_calibration_keeps_the_order_and_the_ends() -> None:
    sure = calibrated(torch.linspace(0, 1, 101), slope=0.7, offset=-1.0)
    assert sure[0] == 0 and sure[-1] == torch.tensor(0.999) and (sure.diff() > 0).all()
    assert_close(sure[50].logit(), torch.tensor(-1.0))
