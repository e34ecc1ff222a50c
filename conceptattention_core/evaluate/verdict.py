"""What a run says about a model family's defaults: the lines to change in its file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

FIELDS = {
    "projection": ("projection", "softmax"),
    "blocks": ("first_block", "last_block"),
    "noise": ("noise_level",),
    "keys": ("keys",),
    "pooling": ("pooling",),
    "temperature": ("temperature",),
    "reading": ("reading", "opinion", "first_block", "last_block"),
}
"""What the rows of a question may differ in from the run's own method."""
POSITIONS = (
    "Concepts stand where the family's own text would: no family has a second place for them, so there is no sweep of "
    "positions."
)


def verdict(settings: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: `default_blocks`, `temperature` and `measured` as the best rows have them, for what was asked.

    Best is the highest true mIoU among rows that differ from the run's own method in nothing but the question. What is
    no field of a family's file (noise level, keys, pooling, projection) is told in a sentence. Empty where nothing was
    asked. Source of the questions: the paper's section 5 and its appendix choose them by measurement.
    """
    family = settings["family"]
    best = {question: max(alike, key=_miou) for question in FIELDS if (alike := _alike(settings, rows, question))}
    lines = []
    if "blocks" in best:
        method = best["blocks"]["method"]
        found = _range(method["first_block"], method["last_block"], family["depth"])
        lines.append(f"default_blocks = {found}")
    if "temperature" in best:
        lines.append(f"temperature = {best['temperature']['method']['temperature'] * family['temperature']:.4g}")
    if "reading" in best:
        lines.append(_measured([rows[0], *best.values()], _alike(settings, rows, "reading")))
    parts = ["## The family's defaults"] if best else []
    if lines:
        told = f"Best by true mIoU, for {family['name']} in `{family['file']}`:"
        parts += [told, "```python\n" + "\n".join(lines) + "\n```"]
    others = [_other(question, best[question]) for question in FIELDS if question in best and not _is_field(question)]
    if others:
        parts.append(f"Best by true mIoU, no fields of that file: {'; '.join(others)}.")
    if set(FIELDS) - {"keys"} <= set(settings["ablate"]):
        parts.append(POSITIONS)
    return "\n\n".join(parts)


def _alike(settings: dict[str, Any], rows: Sequence[dict[str, Any]], question: str) -> list[dict[str, Any]]:
    """The rows of a question that are the run's own method in everything else."""
    base, fields = rows[0]["method"], FIELDS[question]
    chosen = [rows[index] for index in settings["ablate"].get(question, ())]
    return [row for row in chosen if all(row["method"][key] == base[key] for key in base if key not in fields)]


def _measured(best: Sequence[dict[str, Any]], readings: Sequence[dict[str, Any]]) -> str:
    """`measured` makes ``paper`` the reading of the family's maps: so where its best row beats the best of ``auto``.

    Rows that answer a question other than the two of the file count for nothing here: nobody's maps are read so.
    """
    own = {"paper": 0.0, "auto": 0.0}
    base = best[0]["method"]
    file = {"first_block", "last_block", "temperature", "reading", "opinion"}
    for row in [*best, *readings]:
        if all(row["method"][key] == base[key] for key in base if key not in file):
            own[row["method"]["reading"]] = max(own[row["method"]["reading"]], _miou(row))
    told = f"reading paper {100 * own['paper']:.2f}, auto {100 * own['auto']:.2f}"
    return f"measured = {own['paper'] >= own['auto']}  # {told}"


def _other(question: str, row: dict[str, Any]) -> str:
    method = row["method"]
    words = {
        "projection": f"projection {method['projection']}{'' if method['softmax'] else ' without softmax'}",
        "noise": f"noise level {method['noise_level']}",
        "keys": f"keys {method['keys']}",
        "pooling": f"pooling {method['pooling']}",
    }
    return f"{words[question]} ({100 * _miou(row):.2f})"


def _is_field(question: str) -> bool:
    return question in ("blocks", "temperature", "reading")


def _miou(row: dict[str, Any]) -> float:
    return row["true_miou"]


def _range(first: int, last: int, depth: int) -> tuple[int, int]:
    """A range that ends with the model is counted from its end, so that it suits sizes of another depth."""
    return (first - depth, -1) if last == depth - 1 else (first, last)
