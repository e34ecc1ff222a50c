"""From scores to shares, and from tokens to pixels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from conceptattention_core.maps import ConceptAttentionMaps, resize_maps


def maps_of(scores: Tensor, blocks: tuple[int, ...], image_size: tuple[int, int] = (16, 16)) -> ConceptAttentionMaps:
    names = tuple(f"concept {index}" for index in range(scores.shape[3]))
    return ConceptAttentionMaps(scores, names, 1, blocks, (1.0, 0.5)[: len(scores)], image_size)


def test_saliency_is_the_mean_of_softmaxes() -> None:
    """Step one is sure of the first concept, step two has no opinion; a softmax of means would be surer than both."""
    scores = torch.tensor([[math.log(9), 0.0], [0.0, 0.0]]).view(2, 1, 1, 2, 1, 1)
    share = maps_of(scores, (0,)).saliency().flatten()
    assert_close(share, torch.tensor([(0.9 + 0.5) / 2, (0.1 + 0.5) / 2]))
    assert abs(share[0] - scores.mean(0).softmax(2).flatten()[0]) > 0.04
    cooler = maps_of(scores, (0,)).saliency(temperature=2.0).flatten()
    assert_close(cooler, torch.tensor([(0.75 + 0.5) / 2, (0.25 + 0.5) / 2]))


@pytest.mark.parametrize(
    ("first", "last", "chosen"),
    [(-10, -1, [1, 2, 3, 4]), (-2, -1, [4]), (5, 6, [3]), (0, 100, [0, 1, 2, 3, 4]), (-100, 1, [0]), (7, 10, [])],
)
def test_blocks_are_absolute(first: int, last: int, chosen: list[int]) -> None:
    """Blocks 1, 2, 3, 6 and 11 are there, the model's last: an index never means a place in that list."""
    scores = torch.randn(2, 5, 2, 3, 2, 4, generator=torch.Generator().manual_seed(0))
    maps = maps_of(scores, (1, 2, 3, 6, 11))
    if chosen:
        share = maps.saliency(first, last)
        assert_close(share, scores[:, chosen].softmax(3).mean((0, 1)))
        assert_close(share.sum(1), torch.ones(2, 2, 4))
    else:
        with pytest.raises(ValueError, match=r"between first_block 7 and last_block 10.*blocks 0 to 11"):
            maps.saliency(first, last)


@pytest.mark.parametrize("latent", [(5, 3), (17, 23), (4, 32), (1, 1)])
@pytest.mark.parametrize("scale", [1.0, 2.0, 0.5, 1.37])
def test_a_hot_token_lands_on_its_own_pixels(latent: tuple[int, int], scale: float) -> None:
    """A token covers 16 x 16 pixels from the top left, also where the grid hangs over the picture's edge."""
    image = (8 * latent[0], 8 * latent[1])
    size = (round(scale * image[0]), round(scale * image[1]))
    grid = (math.ceil(latent[0] / 2), math.ceil(latent[1] / 2))
    ratio = [wanted / actual for wanted, actual in zip(size, image, strict=True)]
    for row, column in {(0, 0), (grid[0] - 1, grid[1] - 1), (grid[0] // 2, grid[1] // 2), (0, grid[1] - 1)}:
        hot = torch.zeros(1, 1, *grid)
        hot[..., row, column] = 1
        pixels = resize_maps(hot, image, size)[0, 0]
        assert pixels.shape == size and pixels.min() >= 0 and pixels.max() <= 1
        y, x = divmod(int(pixels.argmax()), size[1])
        assert 16 * row * ratio[0] - 1 <= y <= 16 * (row + 1) * ratio[0]
        assert 16 * column * ratio[1] - 1 <= x <= 16 * (column + 1) * ratio[1]
        # Beyond the neighbours nothing is seen of it.
        far = torch.ones(size, dtype=torch.bool)
        top, bottom = ((16 * (row + end)) * ratio[0] for end in (-1, 2))
        left, right = ((16 * (column + end)) * ratio[1] for end in (-1, 2))
        far[
            max(0, math.floor(top) - 1) : math.ceil(bottom) + 1, max(0, math.floor(left) - 1) : math.ceil(right) + 1
        ] = False
        assert not pixels[far].any()


def test_resizing_keeps_shares() -> None:
    shares = torch.randn(2, 3, 5, 9, generator=torch.Generator().manual_seed(0)).softmax(1)
    for size in ((72, 136), (50, 300), (9, 17), (1, 1)):
        pixels = resize_maps(shares, (72, 136), size)
        assert pixels.shape == (2, 3, *size)
        assert_close(pixels.sum(1), torch.ones(2, *size))
        assert pixels.min() >= shares.min() and pixels.max() <= shares.max()
