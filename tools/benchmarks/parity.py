"""How far every family is from what independent oracles computed. Prints a Markdown table for the README.

    python -m tools.benchmarks.parity --comfyui ~/ComfyUI

Runs the golden cases of `tests/golden/families` (or of CONCEPT_GOLDEN_DIR) as `tests/comfyui/test_family_golden.py`
does, and prints the largest differences of scores and saliency, and of the model's own output with and without the
pack.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .quality import ROOT, start_comfyui


def golden() -> dict[str, list[tuple[Tensor, Tensor, Tensor, Tensor, float]]]:
    """By family, and projection where it is not `output`, of each case: scores, expected scores, saliency, expected
    saliency, and how far the output moved."""
    from comfy.model_patcher import ModelPatcher
    from comfyui.golden_cases import cases
    from comfyui.test_family_golden import evaluate

    from conceptattention_core import concepts
    from conceptattention_core.adapters.comfy.families import find_family
    from conceptattention_core.adapters.comfy.sampling import apply_concept_attention

    found: dict[str, list[Any]] = {}
    for case in cases():
        if not {"class", "unet_config"} & set(case.config) or case.config.get("class") == "flux_single":
            continue
        base = case.model()
        family = find_family(base, base.diffusion_model)
        if family is None:
            continue
        plain = ModelPatcher(base, torch.device("cpu"), torch.device("cpu"))
        sigma = case.sigma(base)
        _, without, _ = evaluate(case, plain, sigma)
        for projection in family.projections:
            wanted = case.tensors.get("scores" if projection == "output" else projection)
            if wanted is None:
                continue
            patched, runs = apply_concept_attention(plain, case.concepts(concepts), projection, 0.0, 1.0)
            latent, denoised, _ = evaluate(case, patched, sigma)
            scores = runs.find(latent).scores[0].flatten(3)
            # The oracle's own saliency, where it says one, is the same mean of softmaxes.
            shares, expected = (one.softmax(dim=2).mean(dim=0) for one in (scores, wanted))
            expected = case.tensors.get("saliency", expected).flatten(2)
            name = family.name if projection == "output" else f"{family.name}, {projection}"
            moved = float((denoised - without).abs().max())
            found.setdefault(name, []).append((scores, wanted, shares, expected, moved))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH"), help="its folder")
    options = parser.parse_args()
    if options.comfyui is None:
        parser.error("say where ComfyUI is: --comfyui PATH, or set COMFYUI_PATH")
    os.environ["COMFYUI_PATH"] = str(options.comfyui)
    start_comfyui(options.comfyui)
    sys.path.append(str(ROOT / "tests"))  # ComfyUI has a `tests` of its own
    torch.set_num_threads(1)
    print("| family | cases | scores (spread) | saliency | output |\n|---|---|---|---|---|")
    for name, rows in golden().items():
        scores = max(float((found - wanted).abs().max()) for found, wanted, *_ in rows)
        spread = max(float(wanted.std()) for _, wanted, *_ in rows)
        saliency = max(float((found - wanted).abs().max()) for _, _, found, wanted, _ in rows)
        moved = max(row[-1] for row in rows)
        print(f"| {name} | {len(rows)} | {scores:.1e} ({spread:.1f}) | {saliency:.1e} | {moved} |")


if __name__ == "__main__":
    main()
