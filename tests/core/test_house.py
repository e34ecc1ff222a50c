"""The house has one direction: what a room may import, drawn from the code itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = "conceptattention_core"

FLOORS = (
    ("letters",),
    ("names", "features"),
    ("concepts", "pieces", "stream", "noise", "images", "described"),
    ("scores", "expression", "points"),
    ("cross", "reading", "times"),
    ("maps", "steps"),
    ("record", "storage"),
    ("masks", "pictures", "state"),
    ("views", "explore"),
    ("adapters",),
    ("evaluate",),
    ("cli",),
    ("__main__",),
)
"""From the ground up. A module imports floors below its own, and its own room; two rooms of a floor are strangers."""

HOSTS = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "folder_paths", "nodes", "server", "diffusers"}


def modules(folder: str) -> Iterator[tuple[str, ast.Module]]:
    """Dotted name and code of every module in a folder; a package is called by its ``__init__``."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield ".".join(path.relative_to(ROOT).with_suffix("").parts), ast.parse(path.read_text(encoding="utf-8"))


def imports(name: str, tree: ast.Module) -> Iterator[str]:
    """Absolute dotted names that a module imports anywhere, inside functions too; a name may be that of a symbol."""
    parts = name.split(".")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parts[: len(parts) - node.level] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def room(name: str) -> str:
    """The first name below the core: a file or a folder."""
    return name.split(".")[1]


def floor(name: str) -> int:
    found = [level for level, rooms in enumerate(FLOORS) if room(name) in rooms]
    assert found, f"{name} has no place in the house: give it one in FLOORS"
    return found[0]


def arrows() -> Iterator[tuple[str, str]]:
    """Who imports whom inside the core."""
    for name, tree in modules(CORE):
        yield from ((name, target) for target in imports(name, tree) if target.startswith(f"{CORE}."))


def test_data_flows_one_way() -> None:
    back = [
        f"{source} -> {target}"
        for source, target in arrows()
        if room(source) not in (room(target), "__init__") and floor(source) <= floor(target)
    ]
    assert not back


def test_hosts_are_met_in_their_adapters_only() -> None:
    strangers = []
    for name, tree in modules(CORE):
        own = {"comfy": HOSTS - {"diffusers"}, "diffusers": {"diffusers"}}
        allowed = next((hosts for host, hosts in own.items() if f".adapters.{host}." in name), set())
        met = [target for target in imports(name, tree) if target.split(".")[0] in HOSTS - allowed]
        strangers += [f"{name} -> {target}" for target in met]
    assert not strangers


@pytest.mark.parametrize("folder", [CORE, "nodes"])
def test_what_is_shipped_knows_no_tools(folder: str) -> None:
    assert not [name for name, tree in modules(folder) for target in imports(name, tree) if target.startswith("tools")]


def test_nodes_are_imported_by_nobody() -> None:
    assert not [source for source, target in arrows() if target.startswith("nodes.")]
