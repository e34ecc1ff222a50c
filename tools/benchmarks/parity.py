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
    """By family: scores, expected scores, saliency, expected saliency, and how far the output moved, of each case."""
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
        patched, runs = apply_concept_attention(plain, case.concepts(concepts), "output", 0.0, 1.0)
        sigma = case.sigma(base)
        _, without, _ = evaluate(case, plain, sigma)
        latent, denoised, _ = evaluate(case, patched, sigma)
        maps, expected = runs.find(latent), case.tensors
        saliency = maps.saliency(0, -1, 1 / maps.temperature).flatten(2)
        row = (maps.scores[0].flatten(3), expected["scores"], saliency, expected["saliency"].flatten(2))
        found.setdefault(family.name, []).append((*row, float((denoised - without).abs().max())))
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
