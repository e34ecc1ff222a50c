"""Parity with independent oracles for families without a text stream: cross-attention maps, through the whole pack."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.testing import assert_close

from .golden_cases import FOLDER, Case, cases, read_case
from .test_family_golden import evaluate

TOLERANCE = 5e-5
PARTS = {"sdxl_unet": (2,) * 7}
"""How many text attentions of a case make up each block of the maps, where it is not one."""


@pytest.fixture
def core(pack: dict[str, Any]) -> Any:
    package = pack["ConceptAttention"].__module__.rsplit(".", 2)[0] + ".conceptattention_core"
    return lambda name: import_module(f"{package}.{name}")


def expected(case: Case, projection: str, grid: tuple[int, ...]) -> Tensor:
    """``(blocks, B, C, *grid)``: the oracle's, coarser grids enlarged, the text attentions of one block averaged."""
    if projection in case.tensors:
        return case.tensors[projection].unflatten(3, grid)
    each = iter([case.tensors[f"{projection}_{at}"] for at in range(case.config["blocks"])])
    parts = PARTS.get(case.name, (1,) * case.config["blocks"])
    blocks = [torch.stack([next(each) for _ in range(count)]).mean(dim=0) for count in parts]
    found = []
    for block in blocks:
        factor = round((torch.tensor(grid).prod().item() / block.shape[2]) ** 0.5)
        if factor == 1:
            found.append(block.unflatten(2, grid))
        else:
            own = block.unflatten(2, [side // factor for side in grid])
            found.append(interpolate(own, scale_factor=factor, mode="bilinear", align_corners=False))
    return torch.stack(found)


SETTINGS = [
    (case.name, projection)
    for case in cases()
    for projection in ("cross_attention", "value", "gram")
    if projection in case.tensors or f"{projection}_0" in case.tensors
]


@pytest.mark.usefixtures("rounded_exp")
@pytest.mark.parametrize(("name", "projection"), SETTINGS)
def test_family(name: str, projection: str, core: Any) -> None:
    from comfy.model_patcher import ModelPatcher
    from comfy.model_sampling import CONST

    case = read_case(FOLDER / f"{name}.safetensors")
    base = case.model()
    if core("adapters.comfy.families").find_family(base, base.diffusion_model) is None:
        pytest.skip("no family of this pack")
    sigma = case.sigma(base)
    if not isinstance(base.model_sampling, CONST):  # the case's input is what the network sees
        scaled = case.x / base.model_sampling.calculate_input(torch.tensor(sigma), torch.ones(1))
        case = replace(case, tensors={**case.tensors, "x": scaled})
    plain = ModelPatcher(base, torch.device("cpu"), torch.device("cpu"))
    without = evaluate(case, plain, sigma)

    apply = core("adapters.comfy.sampling").apply_concept_attention
    model, runs = apply(plain, case.concepts(core("concepts")), projection, 0.0, 1.0)
    latent, denoised, velocity = evaluate(case, model, sigma)
    maps = runs.find(latent)
    assert torch.equal(denoised, without[1]) and torch.equal(velocity, without[2])
    output = case.tensors["velocity" if "velocity" in case.tensors else "model_output"]
    assert_close(velocity, output, atol=TOLERANCE, rtol=0)
    assert maps.projection == projection
    grid = tuple(maps.scores.shape[4:])
    assert_close(maps.scores[0], expected(case, projection, grid), atol=TOLERANCE, rtol=0)
