"""The lines that a run ends in: the best row's blocks and temperature, in the form of a family's file."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from conceptattention_core.evaluate.ablate import all_methods, grid, questions_of, readings
from conceptattention_core.evaluate.method import Method
from conceptattention_core.evaluate.verdict import verdict

DEPTH = 8
BASE = Method(first_block=-3, last_block=-1)
FAMILY = {"name": "FLUX.2", "file": "families/flux2.py", "depth": DEPTH, "temperature": 1000.0, "blocks": (-3, -1)}


def report(best: Method, asked: tuple[str, ...], base: Method = BASE) -> str:
    """The verdict where one method is best, and other spaces, which no default is about, are better still."""
    methods = all_methods(base, asked, DEPTH)  # type: ignore[arg-type]
    rows: list[dict[str, Any]] = [
        {"method": asdict(one), "true_miou": 0.9 if one == best else 0.95 if one.projection != "output" else 0.5}
        for one in methods
    ]
    ablate = {ask: [methods.index(one) for one in grid(ask, base, DEPTH)] for ask in asked}  # type: ignore[arg-type]
    return verdict({"family": FAMILY, "ablate": ablate}, rows)


@pytest.mark.parametrize(
    ("best", "asked", "lines"),
    [
        (replace(BASE, first_block=2, last_block=2), ("blocks",), ["default_blocks = (2, 2)"]),
        (replace(BASE, first_block=4, last_block=7), ("blocks",), ["default_blocks = (-4, -1)"]),
        (replace(BASE, temperature=0.1), ("temperature",), ["temperature = 100"]),
        (readings(BASE)[2], ("reading",), ["measured = False  # reading paper 50.00, auto 90.00"]),
        (
            replace(BASE, temperature=0.1),
            ("temperature", "reading"),
            ["temperature = 100", "measured = True  # reading paper 90.00, auto 50.00"],
        ),
    ],
)
def test_the_lines_are_those_of_the_best_row(best: Method, asked: tuple[str, ...], lines: list[str]) -> None:
    text = report(best, asked)
    assert "FLUX.2 in `families/flux2.py`" in text
    assert text.split("```python\n")[1].removesuffix("\n```").splitlines() == lines


def test_what_is_no_field_is_told_beside() -> None:
    """Noise is the user's, keys the paper's: no line of code, whatever wins; and nothing where nothing was asked."""
    text = report(replace(BASE, keys="image"), ("noise", "keys"))
    assert "no fields of that file: noise level 0.1 (50.00); keys image (90.00)." in text and "```" not in text
    assert report(BASE, ()) == ""


def test_a_family_is_asked_what_it_can_answer() -> None:
    """One without a text stream has no output space, and nothing that its concepts attend to."""
    spaces = ("cross_attention", "value")
    base = replace(BASE, projection="cross_attention")
    questions = questions_of(["all"], spaces)
    methods = all_methods(base, questions, DEPTH, spaces)
    assert "keys" not in questions and {one.projection for one in methods} == set(spaces)
    assert methods[:2] == [base, replace(base, projection="value")] and len(set(methods)) == len(methods)
    with pytest.raises(ValueError, match="take keys out of --ablate"):
        questions_of(["keys"], spaces)
