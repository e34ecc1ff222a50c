"""The demo: its workflow as `dev.py demo` queues it, and the model behind it."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.server.comfy_server import Graph, Node, Result, Server

pytestmark = pytest.mark.server

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def demo(server: Server) -> tuple[Graph, Result]:
    graph = Graph(json.loads((ROOT / "workflows" / "api" / "demo.json").read_text(encoding="utf-8")))
    result = server.run(graph, timeout=300)
    assert result.ok, result.error
    return graph, result


def saved(demo: tuple[Graph, Result], kind: str) -> list[np.ndarray]:
    graph, result = demo
    nodes = [node for node, spec in graph.items() if spec["inputs"].get("filename_prefix") == f"demo/{kind}"]
    return [result.pictures(Node(node))[0] for node in nodes]


def test_the_demo_saves_every_kind_of_picture(demo: tuple[Graph, Result]) -> None:
    (picture,), (mask,) = saved(demo, "picture"), saved(demo, "mask")
    (overlay,), (labels,) = saved(demo, "overlay"), saved(demo, "labels")
    heat_maps = saved(demo, "heatmap")
    assert len(heat_maps) == 4
    assert {part.shape for part in (picture, mask, *heat_maps)} == {(256, 256, 3)}
    assert overlay.shape == labels.shape and overlay.shape[0] > 256  # with a legend
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 1000
    for first, second in itertools.pairwise(heat_maps):
        assert np.abs(first.astype(int) - second).mean() > 2  # each concept has a map of its own


def test_maps_are_where_the_things_are(server: Server, workflow: Any) -> None:
    """The words of a landscape, found in the picture that was made of them: the sky above the grass."""
    graph = workflow(size=256, prompt="a house on the grass under the sky")
    apply = graph.apply("sky, grass, house", background="")
    sampler = graph.sample(apply[0], seed=1, steps=12)
    for concept in ("sky", "grass"):
        graph.read(apply[1], sampler[0], concept, threshold=0.4)  # of three, so a third is chance
    result = server.run(graph)
    assert result.ok, result.error
    sky, grass = (graph.maps(result, reader)[0][0, ..., 0] / 255 for reader in range(2))
    rows = np.arange(256)[:, None]
    assert sky.mean() > 0.1 and grass.mean() > 0.1
    assert (sky * rows).sum() / sky.sum() + 40 < (grass * rows).sum() / grass.sum()
    assert sky[:64].mean() > 0.5 > sky[192:].mean() and grass[192:].mean() > 0.5 > grass[:64].mean()


def test_the_stock_loader_reads_the_demo_flux(server: Server, workflow: Any) -> None:
    """Load Diffusion Model on the demo's transformer file samples the same picture, and the same maps."""
    folder = server.base / "models" / "diffusion_models"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "demo_model" / "demo_flux.safetensors", folder)
    seen = []
    for stock in (False, True):
        graph = workflow()
        loader = graph.add("UNETLoader", unet_name="demo_flux.safetensors", weight_dtype="default") if stock else None
        apply = graph.apply(model=loader[0] if loader else None)
        sampler = graph.sample(apply[0], seed=30)
        shown = graph.add("PreviewImage", images=graph.decode(sampler[0])[0])
        graph.read(apply[1], sampler[0])
        result = server.run(graph)
        assert result.ok, result.error
        seen.append((result.pictures(shown), *graph.maps(result)))
    assert all(np.array_equal(own, stock) for own, stock in zip(*seen, strict=True))
