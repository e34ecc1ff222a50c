"""The workflows that people build on masks, run on the server as the front end exported them, and what they make."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tools.server.comfy_server import Graph, Node, Server

pytestmark = pytest.mark.server

API = Path(__file__).resolve().parents[2] / "workflows" / "api"


@dataclass(frozen=True)
class Made:
    """What a workflow made: pictures by the title of the node that shows them, and the mask, ``(H, W)`` 0..255."""

    pictures: dict[str, np.ndarray]
    mask: np.ndarray

    @property
    def outside(self) -> np.ndarray:
        return self.mask == 0

    @property
    def inside(self) -> np.ndarray:
        return self.mask == 255


def run(server: Server, name: str) -> Made:
    graph = Graph(json.loads((API / f"{name}.json").read_text(encoding="utf-8")))
    (mask,) = (node for node, spec in graph.items() if spec["class_type"] == "ConceptAttentionMask")
    spec = {"class_type": "MaskToImage", "inputs": {"mask": [mask, 0]}, "_meta": {"title": "mask as image"}}
    graph["mask as image"] = spec
    inputs = {"images": ["mask as image", 0]}
    graph["mask"] = {"class_type": "PreviewImage", "inputs": inputs, "_meta": {"title": "mask"}}
    graph.show_decoded()
    result = server.run(graph, timeout=300)
    assert result.ok, result.error
    shown = {
        spec["_meta"]["title"]: result.pictures(Node(node))[0]
        for node, spec in graph.items()
        if spec["class_type"] == "PreviewImage"
    }
    return Made(shown, shown.pop("mask")[..., 0])


def change(made: Made, before: np.ndarray, where: np.ndarray) -> float:
    """Mean difference of the result from a picture, 0..255, in some places."""
    return float(np.abs(made.pictures["Result"].astype(int) - before).mean(axis=-1)[where].mean())


def largest_change(made: Made, before: np.ndarray, where: np.ndarray) -> int:
    return int(np.abs(made.pictures["Result"].astype(int) - before)[where].max())


def first(made: Made) -> np.ndarray:
    (picture,) = (picture for title, picture in made.pictures.items() if title.startswith("Picture"))
    return picture


@pytest.mark.parametrize(
    "name",
    [
        "Replace a thing",
        "Replace a thing, soft edge",
        "Replace a thing with an inpainting model",
        "Find a thing in your picture",
        "Redo a thing in detail",
    ],
)
def test_inpainting_changes_the_inside_and_not_one_pixel_outside(server: Server, name: str) -> None:
    made = run(server, name)
    assert 0.01 < made.inside.mean() < 0.5 and made.outside.mean() > 0.4
    assert largest_change(made, first(made), made.outside) <= 1  # below 1/255 a soft mask's edge is 0 in this picture
    assert change(made, first(made), made.inside) > (4 if "Redo" in name else 12)


def test_the_cut_out_thing_stands_in_the_other_picture(server: Server) -> None:
    made = run(server, "Cut out a thing")
    assert 0.01 < made.inside.mean() < 0.5
    assert largest_change(made, first(made), made.inside) == 0
    assert largest_change(made, made.pictures["Another picture"], made.outside) == 0
    assert change(made, made.pictures["Another picture"], made.inside) > 12


def test_the_region_follows_its_own_prompt(server: Server) -> None:
    """A sunset's sky is redder than a day's; the ground below keeps its colour."""
    made = run(server, "A prompt for one region")
    before, after = first(made).astype(int), made.pictures["Result"].astype(int)
    redder = (after - before)[..., 0] - (after - before)[..., 2]
    assert redder[made.inside].mean() > 40
    assert abs(redder[made.outside].mean()) < redder[made.inside].mean() / 3
