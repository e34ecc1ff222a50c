"""docs/api.md: its reference is what the docstrings say, argument by argument."""

from __future__ import annotations

import pytest

from tools.package.api import MARK, PAGE, described, prose, written


def test_the_reference_is_current() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert written(page) == page, "Run: python -m tools.package.api"
    with pytest.raises(ValueError, match="lost its mark"):
        written(page.replace(MARK, ""))


def test_a_docstring_becomes_a_list() -> None:
    def mask(name: str, size: tuple[int, int] = (1, 2), *, grow: int = 0, **more: float) -> bool:
        """Make a mask.

        name: of what, or
        of whom: a text. size: ``(H, W)``.
        grow, more: pixels.
        Raises ValueError where it fails.
        """
        return bool(name and size and grow and more)

    (text,) = described(mask, "mask", "####")
    assert "mask(name: str, size: tuple[int, int] = (1, 2), *, grow: int = 0, **more: float) -> bool" in text
    told = """Make a mask.

- `name`: of what, or
  of whom: a text.
- `size`: `(H, W)`.
- `grow`, `more`: pixels.

Raises ValueError where it fails.
"""
    assert prose(mask, ["name", "size", "grow", "more"]) == told and text.endswith(told)
