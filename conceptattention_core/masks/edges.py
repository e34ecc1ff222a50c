"""Edges: maps from the 16-pixel token grid to pixels, guided by the picture itself.

Two known steps, chosen by measurement (``tools/benchmarks/edges.py``). First, on a grid of 4 x 4 cells a token, each
cell's shares become the mean of those around it, weighted by how alike their colours are, several times over: a random
walk that seldom crosses an edge of the picture. That moves borders to edges and lets a wrong token be outvoted by its
like-coloured neighbours. Then a guided filter carries the result to pixels: within 3 x 3 cells a share is taken to be
a linear function of the colour, so that the pixels' colours put back the detail that the cells have lost.

Both steps are means with weights that sum to 1, so a constant map stays what it is, and shares stay shares.
"""

from __future__ import annotations

import math

import torch
from einops import einsum, rearrange
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from ..maps import TOKEN_PIXELS, covered_size

CELLS = 4
"""Cells of the working grid along a token's side."""
STEPS = 4
RADIUS = 1.5
"""How far one step of the walk reaches, in tokens."""
NEIGHBOURS = 24
COLOR_SIGMA = 0.05
"""Distance in RGB, 0..1, at which colours stop being alike. Cells average 16 pixels and more of a picture of a
megapixel, so film grain and JPEG noise are well below it."""
FLATNESS = 1e-3
"""Variance of the colour, RGB 0..1, below which a window counts as flat and the guided filter only averages."""


def refine_maps(
    maps: Tensor, picture: Tensor, image_size: tuple[int, int], token_pixels: int = TOKEN_PIXELS
) -> Tensor:
    """Bring shares from the token grid to the picture's pixels, along the picture's edges.

    maps: ``(B, C, h, w)``, >= 0, sum over concepts 1; picture: ``(B, H, W, 3)`` 0..1, at any size; image_size:
    ``(H, W)`` of the picture that the grid was made for, of which a token covers `token_pixels` each way. Returns
    ``(B, C, H, W)`` float32, >= 0 with sum 1. Raises ValueError where the picture holds NaN or infinity.

    Sources: random walks on colour affinities, with the bilateral filter's weights (C. Tomasi and R. Manduchi,
    "Bilateral filtering for gray and color images", 1998; G. Petschnigg et al., "Digital photography with flash and
    no-flash image pairs", 2004, for weights from a second picture); the fast guided filter (K. He and J. Sun, 2015).
    """
    size, grid = (picture.shape[1], picture.shape[2]), (maps.shape[-2], maps.shape[-1])
    guides = [_covering(one, grid, image_size, token_pixels) for one in picture]
    refined = []
    for shares, guide in zip(maps.float(), guides, strict=True):  # one at a time: the planes of one are large
        colors = interpolate(guide, (CELLS * grid[0], CELLS * grid[1]), mode="area")
        walked = walked_maps(shares[None], colors)
        refined.append(guided_upsampling(walked, colors, guide)[..., : size[0], : size[1]])
    return torch.cat(refined)


def cell_colors(
    picture: Tensor, grid: tuple[int, int], image_size: tuple[int, int], cells: int, token_pixels: int = TOKEN_PIXELS
) -> Tensor:
    """The mean colour of each cell, ``(B, 3, cells * h, cells * w)`` 0..1, of pictures ``(B, H, W, 3)``.

    grid: ``(h, w)`` tokens; cells: of a token's side; image_size, token_pixels, errors: as in `refine_maps`.
    """
    guides = [_covering(one, grid, image_size, token_pixels) for one in picture]
    return torch.cat([interpolate(guide, (cells * grid[0], cells * grid[1]), mode="area") for guide in guides])


def walked_maps(maps: Tensor, colors: Tensor) -> Tensor:
    """The first step alone: shares on the grid of cells, where like-coloured neighbours have agreed.

    maps: ``(B, C, h, w)`` on the token grid; colors: ``(B, 3, n * h, n * w)``, see `cell_colors`. Returns
    ``(B, C, n * h, n * w)``, sum 1 over concepts where that of the maps is.
    """
    cells = colors.shape[-2] // maps.shape[-2]
    shares = interpolate(maps, colors.shape[-2:], mode="bilinear", align_corners=False)
    pairs = zip(shares.split(1), colors.split(1), strict=True)
    return torch.cat([walk(one, its, RADIUS * cells) for one, its in pairs])


def walk(shares: Tensor, colors: Tensor, radius: float) -> Tensor:
    """Average shares over like-coloured cells nearby, again and again.

    shares: ``(1, C, h, w)``; colors: ``(1, 3, h, w)`` 0..1; radius: of one step, in cells. Returns ``(1, C, h, w)``.
    """
    around = spiral(NEIGHBOURS, radius)
    weights = torch.cat([_likeness(colors, moved) for moved in _shifted(colors, around)], dim=1)
    weights = weights / weights.sum(dim=1, keepdim=True)
    for _ in range(STEPS):
        mean = torch.zeros_like(shares)
        for index, moved in enumerate(_shifted(shares, around)):
            mean.addcmul_(weights[:, index : index + 1], moved)
        shares = mean
    return shares


def spiral(count: int, radius: float) -> list[tuple[int, int]]:
    """Steps ``(dy, dx)`` to cells spread evenly over a disc, and (0, 0): a sunflower's spiral in the golden angle."""
    turn = math.pi * (3 - math.sqrt(5))
    reach = [radius * math.sqrt((index + 0.5) / count) for index in range(count)]
    steps = [(round(r * math.sin(i * turn)), round(r * math.cos(i * turn))) for i, r in enumerate(reach)]
    return list(dict.fromkeys([(0, 0), *steps]))


def guided_upsampling(shares: Tensor, colors: Tensor, guide: Tensor) -> Tensor:
    """Express shares as local linear functions of the colours, and evaluate these at every pixel.

    shares: ``(1, C, h, w)`` and colors: ``(1, 3, h, w)`` on the same grid; guide: ``(1, 3, H, W)``, the picture.
    Returns ``(1, C, H, W)``, >= 0 with sum 1. Source: He and Sun (2015), equations 3 and 4.
    """
    mean = _window_mean(colors)
    products = rearrange(einsum(colors, colors, "b i h w, b j h w -> b i j h w"), "b i j h w -> b (i j) h w")
    spread = rearrange(_window_mean(products), "b (i j) h w -> b h w i j", i=3)
    spread = spread - einsum(mean, mean, "b i h w, b j h w -> b h w i j") + FLATNESS * torch.eye(3)
    inverse = torch.linalg.inv(spread)
    pixels = torch.empty(1, shares.shape[1], *guide.shape[-2:])
    for index, share in enumerate(shares.split(1, dim=1)):  # one at a time: four planes of the picture's size each
        level = _window_mean(share)
        slope = einsum(_window_mean(colors * share) - mean * level, inverse, "b i h w, b h w i j -> b j h w")
        line = _window_mean(torch.cat([slope, level - (slope * mean).sum(dim=1, keepdim=True)], dim=1))
        line = interpolate(line, guide.shape[-2:], mode="bilinear", align_corners=False)
        line[:, :3] *= guide
        pixels[:, index] = line.sum(dim=1)
    pixels.clamp_min_(0)
    return pixels.div_(pixels.sum(dim=1, keepdim=True))


def _covering(
    picture: Tensor, grid: tuple[int, int], image_size: tuple[int, int], token_pixels: int
) -> Tensor:
    """``(H, W, 3)`` to ``(1, 3, H, W)`` float32, its last row and column repeated as far as the grid reaches."""
    if not picture.isfinite().all():
        raise ValueError("`image` holds NaN or infinite values: no edges can be followed in it. Decode it again.")
    size = (picture.shape[0], picture.shape[1])
    height, width = covered_size(grid, image_size, size, token_pixels)
    edge = (0, width - size[1], 0, height - size[0])
    return pad(rearrange(picture.float(), "h w c -> 1 c h w"), edge, mode="replicate")


def _likeness(color: Tensor, other: Tensor) -> Tensor:
    """``(B, 3, h, w)`` twice to ``(B, 1, h, w)``, 1 for equal colours."""
    return (-(color - other).square().sum(dim=1, keepdim=True) / (2 * COLOR_SIGMA**2)).exp()


def _shifted(planes: Tensor, steps: list[tuple[int, int]]) -> list[Tensor]:
    """Views of ``(B, C, h, w)`` from each step away, the border repeated."""
    height, width = planes.shape[-2:]
    reach = max(max(abs(dy), abs(dx)) for dy, dx in steps)
    padded = pad(planes, (reach, reach, reach, reach), mode="replicate")
    return [padded[..., reach + y : reach + y + height, reach + x : reach + x + width] for y, x in steps]


def _window_mean(planes: Tensor) -> Tensor:
    """Mean over 3 x 3 cells, fewer at the border."""
    return avg_pool2d(planes, 3, stride=1, padding=1, count_include_pad=False)
