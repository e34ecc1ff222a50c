"""Write the reference in docs/api.md from the docstrings of what a script calls.

    .venv/bin/python -m tools.package.api

What stands above the mark is written by hand and stays. tests/diffusers/test_api_docs.py checks that the rest is
current.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"
MARK = "<!-- From here on made by `python -m tools.package.api`; do not edit. -->\n"


def main() -> None:
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
    print(PAGE)


def written(page: str) -> str:
    """The page with its reference made anew."""
    by_hand, mark, _ = page.partition(MARK)
    if not mark:
        raise ValueError(f"docs/api.md has lost its mark: {MARK.strip()}")
    return by_hand + MARK + reference()


def reference() -> str:
    """Everything public, in the order in which a script meets it."""
    from conceptattention_core import storage, views
    from conceptattention_core.adapters import diffusers
    from conceptattention_core.adapters.diffusers import demo, load
    from conceptattention_core.concepts import Concepts
    from conceptattention_core.maps import ConceptAttentionMaps
    from conceptattention_core.masks import boxes, edges, recipe

    parts = ["\n## Reference\n"]
    for one in (
        diffusers.ConceptAttention,
        views.ConceptMaps,
        ConceptAttentionMaps,
        Concepts,
        diffusers.encode_concepts,
        load.load_pipeline,
        demo.load_demo_pipeline,
        recipe.MaskRecipe,
        recipe.make_mask,
        edges.refine_maps,
        boxes.concept_prompt,
        storage.load_maps,
        storage.save_maps,
    ):
        parts += described_class(one) if inspect.isclass(one) else described(one, one.__name__, "###")
    return "\n".join(parts)


def described_class(one: type) -> Iterator[str]:
    """A class, what it is made with, and its public methods."""
    yield f"### class `{one.__name__}`\n\nIn `{one.__module__}`.\n"
    yield prose(one, vars(one).get("__annotations__", {}))
    made = vars(one).get("__init__")
    if made is not None and made.__doc__:  # a dataclass's fields stand in its own docstring
        yield from described(made, one.__name__, "####")
    for name, member in vars(one).items():
        static = isinstance(member, staticmethod | classmethod)
        called = member.__func__ if static else member
        if name.startswith("_") or not called.__doc__:
            continue
        if isinstance(member, property):
            yield f"#### `{name}`\n\n{prose(member)}"
        elif callable(called):
            yield from described(called, f"{one.__name__}.{name}" if static else name, "####")


def described(function: Callable[..., Any], name: str, level: str) -> Iterator[str]:
    """One function: its signature, and its docstring."""
    given = inspect.signature(function)
    taken = [one for one in given.parameters.values() if one.name not in ("self", "cls")]
    shown: list[str] = []
    for one in taken:
        if one.kind is one.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        stars = "**" if one.kind is one.VAR_KEYWORD else ""
        default = "" if one.default is one.empty else f" = {one.default!r}"
        shown.append(f"{stars}{one.name}: {one.annotation}{default}")
    result = f" -> {given.return_annotation}"
    line = f"{name}({', '.join(shown)}){result}"
    if len(line) > 100:
        line = f"{name}(\n" + "".join(f"    {one},\n" for one in shown) + f"){result}"
    where = f"In `{function.__module__}`.\n\n" if level == "###" else ""
    yield f"{level} `{name}`\n\n{where}```python\n{line}\n```\n\n{prose(function, [one.name for one in taken])}"


def prose(what: Any, names: Collection[str] = ()) -> str:
    """A docstring as Markdown: what it says of these arguments or fields becomes a list."""
    known = "|".join(names) or "(?!)"
    begins = re.compile(rf"^((?:{known})(?:, (?:{known}))*): ")
    text = re.sub(rf"(?<=\.) ((?:{known})): ", r"\n\1: ", inspect.getdoc(what) or "")
    lines: list[str] = []
    listed = False
    for line in text.splitlines():
        field = begins.match(line)
        if field:
            told = ", ".join(f"`{name}`" for name in field[1].split(", "))
            lines += [] if listed or not lines or not lines[-1] else [""]
            lines.append(f"- {told}: {line[field.end() :]}")
            listed = True
        elif listed and line[:1].isupper() and lines[-1].endswith("."):
            lines += ["", line]
            listed = False
        else:
            lines.append(f"  {line}" if listed and line else line)
            listed = listed and bool(line)
    return re.sub(r"``([^`]+)``", r"`\1`", "\n".join(lines)).rstrip() + "\n"


if __name__ == "__main__":
    main()
