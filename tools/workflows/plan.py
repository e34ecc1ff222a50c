"""What a workflow consists of, before the front end has made it: nodes, wires, places."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Item:
    """A node to make.

    inputs: values of its widgets, and for sockets `(name, output index)` of another item. models: files that its
    widgets name, with `name`, `url` and `directory`, for the front end to offer.
    """

    name: str
    type: str
    inputs: dict[str, Any] = field(default_factory=dict)
    title: str = ""
    size: tuple[int, int] | None = None
    models: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True)
class Plan:
    """A workflow: its nodes in the order of their numbers, and their places.

    rows: in each, groups from left to right by their titles; a group is columns of nodes' names. gap: between columns.
    """

    items: list[Item]
    rows: list[dict[str, list[list[str]]]]
    gap: int = 30


def shown(name: str, source: tuple[str, int], title: str, wide: int = 300) -> Item:
    """A picture for a person to see."""
    return Item(name, "PreviewImage", {"images": source}, title, (wide, wide + 40))


def saved(name: str, source: tuple[str, int], title: str) -> Item:
    """A picture for `dev.py demo` to find by its prefix."""
    return Item(name, "SaveImage", {"images": source, "filename_prefix": f"demo/{name.split()[0]}"}, title)


def file_of(address: str) -> str:
    return address.rpartition("/")[2]


def loader(name: str, kind: str, inputs: dict[str, Any], folder: str, addresses: tuple[str, ...]) -> Item:
    """A stock loader that knows where its files come from."""
    known = [one for one in addresses if one.startswith("https:")]
    models = tuple({"name": file_of(one), "url": one, "directory": folder} for one in known)
    return Item(name, kind, inputs, size=(270, 0), models=models)
