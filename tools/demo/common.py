"""What every training stage needs: device, compilation, checkpoints, learning rate."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def compiled(function: Callable) -> Callable:
    """`torch.compile` where a C++ compiler (or a GPU) is at hand, twice as fast here; else the function itself."""
    if torch.cuda.is_available() or shutil.which("g++") or shutil.which("clang++"):
        return torch.compile(function)
    return function


def compile_blocks(model: torch.nn.Module) -> None:
    """Compile a transformer block by block: blocks of one kind share their code, so this takes a tenth of the time."""
    if torch.cuda.is_available() or shutil.which("g++") or shutil.which("clang++"):
        for block in (*model.double_blocks, *model.single_blocks):
            block.compile(dynamic=False)


def cosine(step: int, steps: int, warmup: int) -> float:
    """Learning-rate factor: linear warm-up, then half a cosine down to 2 %."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


def save(path: Path, **state: Any) -> None:
    """Write a checkpoint that is either the old one or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    torch.save(state, partial)
    os.replace(partial, path)


def load(path: Path) -> dict[str, Any] | None:
    return torch.load(path, weights_only=True) if path.exists() else None
