"""The lines that a run ends in: the best row's blocks and temperature, in the form of a family's file."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from conceptattention_core.evaluate.ablate import all_methods, grid
from conceptattention_core.evaluate.method import Method
from conceptattention_core.evaluate.verdict import verdict

DEPTH = 8
BASE = Method(first_block=-3, last_block=-1)
FAMILY = {"name": "FLUX.2", "file": "families/flux2.py", "depth": DEPTH, "temperature": 1000.0, "blocks": (-3, -1)}


def report(best: Method, asked: tuple[str, ...]) -> str:
    methods = all_methods(BASE, asked, DEPTH)  # type: ignore[arg-type]
    rows: list[dict[str, Any]] = [
        {"method": asdict(one), "true_miou": 0.9 if one == best else 0.95 if one.projection != "output" else 0.5}
        for one in methods
    ]
    ablate = {ask: [methods.index(one) for one in grid(ask, BASE, DEPTH)] for ask in asked}  # type: ignore[arg-type]
    return verdict({"family": FAMILY, "ablate": ablate}, rows)


@pytest.mark.parametrize(
    ("best", "asked", "lines"),
    [
        (replace(BASE, first_block=2, last_block=2), ("blocks",), ["default_blocks = (2, 2)"]),
        (replace(BASE, first_block=4, last_block=7), ("blocks",), ["default_blocks = (-4, -1)"]),
        (replace(BASE, temperature=0.1), ("temperature",), ["temperature = 100"]),
    ],
)
def test_the_lines_are_those_of_the_best_row(best: Method, asked: tuple[str, ...], lines: list[str]) -> None:
    text = report(best, asked)
    assert "FLUX.2 in `families/flux2.py`" in text
    assert text.split("```python\n")[1].removesuffix("\n```").splitlines() == lines


def test_nothing_is_said_of_what_was_not_asked() -> None:
    assert report(BASE, ("noise",)) == ""
