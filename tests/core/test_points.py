"""Points as people and other packs write them: the same places, or one error that says what a point is."""

from __future__ import annotations

from typing import Any

import pytest

from conceptattention_core.points import read_clicks, read_points

SIZE = (100, 200)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("", []),
        (" \n", []),
        ("[]", []),
        ("96, 40", [(96.5, 40.5)]),
        ("96,40\n\n 3.25 7 ;199, 99", [(96.5, 40.5), (3.25, 7.5), (199.5, 99.5)]),
        ('[{"x": 96, "y": 40}, {"x": 0, "y": 0, "label": 1}]', [(96.5, 40.5), (0.5, 0.5)]),
        ('{"x": 96.75, "y": 40}', [(96.75, 40.5)]),
        ("[[96, 40], [1, 1]]", [(96.5, 40.5), (1.5, 1.5)]),
        ("0.25, 0.5\n1, 1", [(50.0, 50.0), (199.5, 99.5)]),  # parts of the sides
        ("1, 1", [(1.5, 1.5)]),
        ("0.5, 0.5\n30, 0.5", [(0.5, 0.5), (30.5, 0.5)]),  # one of them shows that they are pixels
        ([(96, 40), [3.5, 2]], [(96.5, 40.5), (3.5, 2.5)]),
    ],
)
def test_what_is_a_point(given: Any, wanted: list[tuple[float, float]]) -> None:
    assert list(read_points(given, SIZE)) == wanted


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("here", r"`off` reads '\[.here.\]', which is no point"),
        ("1, 2, 3", "which is no point"),
        ("1e5, 2", "which is no point"),
        ("[1, 2]", "reads '1', which is no point"),
        ("[{", r"reads '\[\{', which is no point"),
        ("[" * 100_000, "which is no point"),
        ('[{"x": 96}]', "which is no point"),
        ('[{"x": NaN, "y": 2}]', "which is no point"),
        ('[{"x": true, "y": 2}]', "which is no point"),
        ("[[1" + "0" * 400 + ", 2]]", "which is no point"),
        ("200, 40", r"`off` holds \(200, 40\), outside of a picture of 200 x 100 pixels"),
        ("-1, 40", r"holds \(-1, 40\), outside"),
        ("0.5, 40\n0.5, 100", r"holds \(0.5, 100\), outside"),
        ("1, 1\n" * 1001, "holds 1001 points; at most 1000"),
    ],
)
def test_what_is_none(given: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        read_points(given, SIZE, "off")
    assert len(str(raised.value)) < 300


def test_labels_say_what_is_off_the_thing() -> None:
    labelled = '[{"x": 9, "y": 8, "label": 0}, {"x": 7, "y": 6}, {"x": 5, "y": 4, "label": 1}]'
    assert read_clicks(labelled, "3, 2", SIZE) == (((7.5, 6.5), (5.5, 4.5)), ((9.5, 8.5), (3.5, 2.5)))
    with pytest.raises(ValueError, match="a label is 1 on the thing and 0 on what is not"):
        read_clicks([{"x": 9, "y": 8, "label": 2}], "", SIZE)
