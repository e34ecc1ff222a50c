"""What a node has to say beside its outputs: in ComfyUI's log, and in the run's result."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..conceptattention_core.letters import quoted


def said(node: str, *lines: str) -> dict[str, Any] | None:
    """A node's `ui` with these lines, which are logged, too; empty ones are left out. None where nothing is to say."""
    lines = tuple(line for line in lines if line)
    for line in lines:
        logging.warning("%s: %s", node, line)
    return {"text": lines} if lines else None


def unknown(words: Sequence[str]) -> str:
    """That the demo model does not know these words."""
    return f"The demo model does not know: {', '.join(dict.fromkeys(words))}." if words else ""


def absent(concept: str, presence: Tensor, min_presence: float) -> str:
    """That the concept was not found in pictures of the batch. presence: ``(B,)``."""
    numbers = [number for number, sure in enumerate(presence.tolist(), start=1) if sure < min_presence or sure == 0]
    pictures = ", ".join(runs(numbers))
    name = quoted(concept) if concept.strip() else "The first concept"
    sure = "its presence is 0" if min_presence == 0 else f"its presence is below {min_presence:g}"
    return f"{name} is not in picture {pictures} ({sure}), so nothing is masked there." if pictures else ""


def runs(numbers: Sequence[int]) -> list[str]:
    """Rising numbers in words as short as a video needs: ``1``, ``3 to 7``."""
    ends = [at for at, number in enumerate(numbers) if at + 1 == len(numbers) or numbers[at + 1] != number + 1]
    starts = [0, *(end + 1 for end in ends[:-1])] if ends else []
    pairs = [(numbers[start], numbers[end]) for start, end in zip(starts, ends, strict=True)]
    return [str(first) if first == last else f"{first} to {last}" for first, last in pairs]
