"""Features in the likeness of `refine_maps`: should cells agree only where they are alike to the model, too?"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import interpolate

from conceptattention_core.features import unit_tokens
from conceptattention_core.masks.edges import CELLS, COLOR_SIGMA, RADIUS, cell_colors, guided_upsampling, walk
from tools.benchmarks.beyond.base import BASES, Question
from tools.benchmarks.beyond.cases import Case
from tools.benchmarks.beyond.judge import Candidate
from tools.benchmarks.beyond.opinion import opined
from tools.benchmarks.beyond.recordings import first_blocks


def alike(case: Case, shares: Tensor, reach: float, color: float) -> Tensor:
    """`refine_maps`, cells being alike by colour and features: ``(1, C, h, w)`` to ``(1, C, H, W)``.

    reach: distance of unit feature vectors at which they stop being alike, 0 to 2; color: `COLOR_SIGMA`'s stand-in.
    """
    maps = first_blocks(case)
    assert maps.features is not None
    h, w = maps.grid
    colors = cell_colors(case.picture, (h, w), maps.image_size, CELLS)
    tokens = unit_tokens(maps.features[:, 0], maps.block_weights()[0].sum(dim=0))
    planes = rearrange(tokens, "(h w) d -> 1 d h w", h=h)
    planes, wide = (
        interpolate(one, colors.shape[-2:], mode="bilinear", align_corners=False) for one in (planes, shares)
    )
    # A product of two likenesses is the likeness of both kinds of planes side by side, each in units of its own reach.
    both = torch.cat([colors * (COLOR_SIGMA / color), planes * (COLOR_SIGMA / reach)], dim=1)
    walked = walk(wide, both, RADIUS * CELLS)
    return guided_upsampling(walked, colors, rearrange(case.picture, "1 h w c -> 1 c h w"))


def candidate(reach: float, color: float = COLOR_SIGMA, opinion: float | None = None) -> Candidate:
    shares = BASES["auto"].shares if opinion is None else lambda case: opined(case, opinion)
    return Candidate(shares, lambda case, shares: alike(case, shares, reach, color))


QUESTION = Question(
    BASES
    | {f"features alike within {reach}": candidate(reach) for reach in (0.3, 0.5, 0.8, 1.2)}
    | {f"features alike within {reach}, colours within 0.1": candidate(reach, 0.1) for reach in (0.3, 0.5, 0.8)}
)
