"""docs/troubleshooting.md has every message that a node can end in, found in the code itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = ("diffusers", "evaluate", "cli.py")  # told on a terminal, one line each
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")


def skeleton(node: ast.AST | None) -> str:
    """A text with … for what is filled in; empty for what is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(skeleton(value) if isinstance(value, ast.Constant) else "…" for value in node.values)
    return ""


def messages() -> Iterator[tuple[str, str]]:
    """Where, and the text: of errors that are raised, of reasons for a reader, and of what returns one."""
    files = [*(ROOT / "nodes").glob("*.py"), *(ROOT / "conceptattention_core").rglob("*.py")]
    for path in sorted(files):
        if any(name in path.parts for name in ELSEWHERE):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            call = node.exc if isinstance(node, ast.Raise) else node
            raised = isinstance(node, ast.Raise) and isinstance(call, ast.Call)
            told = isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "skip"
            if (raised or told) and isinstance(call, ast.Call) and call.args and skeleton(call.args[0]):
                yield where, skeleton(call.args[0])
            if isinstance(node, ast.FunctionDef) and node.name in ("told", "foreign_model", "why_not_for_pictures"):
                yield from ((where, skeleton(one.value)) for one in ast.walk(node) if isinstance(one, ast.Return))
            if isinstance(node, ast.FunctionDef) and node.name == "_wrong_clip":
                yield from ((where, skeleton(one.value)) for one in ast.walk(node) if isinstance(one, ast.Return))


def entries() -> list[re.Pattern[str]]:
    """The page's first column, as what a message may look like from its beginning."""
    rows = [line.replace("\\|", "¦").split("|")[1].strip() for line in PAGE.splitlines() if line.startswith("| ")]
    pieces = ([re.escape(piece.strip()) for piece in row.replace("¦", "|").split("…")] for row in rows)
    return [re.compile(r"\s*" + r".*?".join(one)) for one in pieces]


def test_every_message_is_explained() -> None:
    found = [(where, text) for where, text in messages() if len(text.replace("…", "").strip()) > 3]
    assert len(found) > 80
    missing = [f"{where}: {text}" for where, text in found if not any(one.match(text) for one in entries())]
    assert not missing, "\n".join(missing)


def test_every_entry_says_what_to_do() -> None:
    """Three cells, the last one never empty; and no entry so short that it would explain anything."""
    rows = [line.replace("\\|", "¦").split("|")[1:-1] for line in PAGE.splitlines() if line.startswith("| ")]
    assert all(len(row) == 3 and row[2].strip() and len(row[0].replace("…", "").strip()) >= 5 for row in rows)
    assert not any(one.match("No such thing … anywhere in … of ours") for one in entries())
