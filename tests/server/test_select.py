"""Concept Select on a server: by the API, and what a user is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tools.server.comfy_server import Server

pytestmark = pytest.mark.server


def selecting(workflow: Any, points: str) -> tuple[Any, Any, Any]:
    """A run and a selection by its record; the nodes that show mask and film."""
    graph = workflow()
    apply = graph.apply("house, sky")
    latent = graph.sample(apply[0])
    picture = graph.decode(latent[0])
    chosen = {"points": points, "negative_points": "", "tolerance": 0.5, "batch_index": 0}
    select = graph.add("ConceptAttentionSelect", maps=apply[1], samples=latent[0], image=picture[0], **chosen)
    return graph, graph.add("MaskPreview", mask=select[0]), graph.add("PreviewImage", images=select[1])


def test_a_click_by_the_api(server: Server, workflow: Any) -> None:
    graph, mask, film = selecting(workflow, '[{"x": 64, "y": 5}]')
    result = server.run(graph)
    assert result.ok, result.error
    shown = result.pictures(mask)[0, ..., 0]
    assert set(np.unique(shown)) <= {0, 255} and shown[5, 64] == 255 and 0 < (shown > 0).mean() < 1
    assert result.pictures(film).shape == (1, 128, 128, 3)


@pytest.mark.parametrize(("points", "message"), [("", "No point says what"), ("900, 2", "outside of a picture of 128")])
def test_what_a_user_is_told(server: Server, workflow: Any, points: str, message: str) -> None:
    result = server.run(selecting(workflow, points)[0])
    assert result.failed_node == "ConceptAttentionSelect" and message in result.error
