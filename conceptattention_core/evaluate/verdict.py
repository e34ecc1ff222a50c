"""What a run says about a model family's defaults: the lines to change in its file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def verdict(settings: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """Markdown with `default_blocks` and `temperature` as the best rows have them, for the questions that were asked.

    Best is the highest true mIoU among rows that differ from the run's own method in nothing but the question. Empty
    where neither was asked. Source of the questions: the paper's section 5 chooses blocks by measurement.
    """
    base, family = rows[0]["method"], settings["family"]
    lines = []
    for question, fields in (("blocks", ("first_block", "last_block")), ("temperature", ("temperature",))):
        chosen = [rows[index] for index in settings["ablate"].get(question, ())]
        alike = [row for row in chosen if all(row["method"][key] == base[key] for key in base if key not in fields)]
        if not alike:
            continue
        best = max(alike, key=lambda row: row["true_miou"])["method"]
        if question == "blocks":
            lines.append(f"default_blocks = {_range(best['first_block'], best['last_block'], family['depth'])}")
        else:
            lines.append(f"temperature = {best['temperature'] * family['temperature']:.4g}")
    if not lines:
        return ""
    told = f"Best by true mIoU, for {family['name']} in `{family['file']}`:"
    return "\n\n".join(["## The family's defaults", told, "```python\n" + "\n".join(lines) + "\n```"])


def _range(first: int, last: int, depth: int) -> tuple[int, int]:
    """A range that ends with the model is counted from its end, so that it suits sizes of another depth."""
    return (first - depth, -1) if last == depth - 1 else (first, last)
