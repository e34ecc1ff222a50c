"""Which charts a run has: two for each question that it asks, accuracy and true mIoU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from .charts import Line, bar_plot, line_plot
from .report import MEASURES, chart_names, distinguish

AXES = {
    "blocks": ("first_block", "double block"),
    "noise": ("noise_level", "noise level (0: clean, 1: noise only)"),
    "temperature": ("temperature", "temperature, as a multiple of the family's own"),
}
"""Questions along an axis; the others are bars."""


def write_plots(folder: Path, settings: dict[str, Any], rows: Sequence[dict[str, Any]]) -> list[Path]:
    """``QUESTION-accuracy.png`` and ``QUESTION-true-miou.png`` for each question of the run. Returns the files."""
    written = []
    title = f"{settings['dataset']}, {Path(settings['model']).name}"
    for question, indices in settings["ablate"].items():
        chosen = [rows[index] for index in indices]
        if question == "blocks":
            chosen = [row for row in chosen if row["method"]["first_block"] == row["method"]["last_block"]]
        for (measure, label), name in zip(MEASURES.items(), chart_names(question), strict=True):
            path = folder / name
            _draw(question, chosen, measure, title, label).save(path)
            written.append(path)
    return written


def _draw(question: str, rows: Sequence[dict[str, Any]], measure: str, title: str, label: str) -> Image.Image:
    if question not in AXES:
        return bar_plot([(name, row[measure]) for name, row in zip(distinguish(rows), rows, strict=True)], title, label)
    axis, x_label = AXES[question]
    lines = [
        Line(name, tuple((row["method"][axis], row[measure]) for row in rows if row["name"] == name))
        for name in dict.fromkeys(row["name"] for row in rows)
    ]
    return line_plot(lines, title, x_label, label, log=question == "temperature")
