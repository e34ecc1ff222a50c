"""What a workflow consists of, before the front end has made it: nodes, wires, places."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Item:
    """A node to make. inputs: values of its widgets, and for sockets `(name, output index)` of another item."""

    name: str
    type: str
    inputs: dict[str, Any] = field(default_factory=dict)
    title: str = ""
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Plan:
    """A workflow: its nodes in the order of their numbers, and their places.

    rows: in each, groups from left to right by their titles; a group is columns of nodes' names.
    """

    items: list[Item]
    rows: list[dict[str, list[list[str]]]]


def shown(name: str, source: tuple[str, int], title: str) -> Item:
    """A picture for a person to see."""
    return Item(name, "PreviewImage", {"images": source}, title, (300, 340))


def saved(name: str, source: tuple[str, int], title: str) -> Item:
    """A picture for `dev.py demo` to find by its prefix."""
    return Item(name, "SaveImage", {"images": source, "filename_prefix": f"demo/{name.split()[0]}"}, title)
