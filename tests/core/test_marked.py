"""Boxes and points where they belong, on any picture."""

from __future__ import annotations

import pytest
import torch

from conceptattention_core.pictures.marked import BOX, OFF, ON, marked_picture


@pytest.mark.parametrize("size", [(96, 128), (512, 300)])
def test_boxes_and_points_are_where_they_are_said_to_be(size: tuple[int, int]) -> None:
    drawn = marked_picture(None, size, [(40, 30, 50, 40, 0.87)], [(65, 50)], [(10, 80)], "château 夕焼け")
    assert drawn.shape == (*size, 3)
    box, on, off = (torch.tensor(color) / 255 for color in (BOX, ON, OFF))
    middle = max(1, size[1] // 200)
    assert torch.allclose(drawn[50, 40 + middle], box, atol=0.01) and torch.allclose(drawn[50, 65], on, atol=0.01)
    assert torch.allclose(drawn[80, 10], off, atol=0.01)
    assert torch.allclose(drawn[90, 100], torch.full((3,), 0.5), atol=0.01), "nothing elsewhere"


def test_a_box_of_one_pixel_and_one_at_the_edge() -> None:
    picture = torch.rand(20, 30, 3, generator=torch.Generator().manual_seed(0))
    drawn = marked_picture(picture, (20, 30), [(29, 19, 1, 1, 1.0), (0, 0, 30, 20, 0.5)], [], [], "x" * 300)
    assert drawn.shape == (20, 30, 3) and drawn.isfinite().all()
    assert torch.allclose(marked_picture(picture, (20, 30), [], [], [], "x"), picture, atol=0.5 / 255 + 1e-6)
