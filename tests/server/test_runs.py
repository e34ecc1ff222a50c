"""Nothing is lost or mixed up: whatever a user queues, the maps are those of the picture they stand beside.

Every test runs on three servers, one for each way in which ComfyUI caches what nodes made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tools.server.comfy_server import Server

pytestmark = pytest.mark.server

Maps = tuple[np.ndarray, ...]
Expected = Callable[..., Maps]


def same(made: Maps, wanted: Maps) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(made, wanted, strict=True))


def check(result: Any, graph: Any, *wanted: Maps) -> None:
    """Each reader of the graph shows exactly the maps that are wanted, or ComfyUI let the record go and says so."""
    if not result.ok:
        # Only a small cache may drop a record that its LATENT outlives, and then the message says what to do.
        assert "--cache-lru" in result.server.command, result.error
        assert result.failed_node == "ConceptAttention" and "change its seed" in result.error
        return
    for reader, maps in enumerate(wanted):
        assert same(graph.maps(result, reader), maps), f"reader {reader} shows other maps"


def simple(workflow: Any, concepts: str = "house, grass, sky", seed: int = 1, **settings: Any) -> Any:
    graph = workflow()
    apply = graph.apply(concepts)
    graph.read(apply[1], graph.sample(apply[0], seed)[0], **settings)
    return graph


def test_queued_again_and_changed(any_server: Server, workflow: Any, expected: Expected) -> None:
    """Again as it was, then with another seed, threshold, concept and concepts, then back to the beginning."""
    queue = [
        {},
        {},
        {"seed": 2},
        {"seed": 2, "threshold": 0.3},
        {"seed": 2, "concept": "sky"},
        {"seed": 2, "concepts": "sky, house"},
        {},
    ]
    for change in queue:
        graph = simple(workflow, **change)
        check(any_server.run(graph), graph, expected(**change))
    assert not same(expected(), expected(seed=2))
    assert not same(expected(seed=2), expected(seed=2, concepts="sky, house"))


def test_two_samplers_on_one_patched_model(any_server: Server, workflow: Any, expected: Expected) -> None:
    graph = workflow()
    apply = graph.apply()
    for seed in (3, 4):
        graph.read(apply[1], graph.sample(apply[0], seed)[0])
    check(any_server.run(graph), graph, expected(seed=3), expected(seed=4))


def test_two_patched_models_in_one_graph(any_server: Server, workflow: Any, expected: Expected) -> None:
    graph = workflow()
    for concepts, seed in (("house, grass", 5), ("sky, tree", 6)):
        apply = graph.apply(concepts)
        graph.read(apply[1], graph.sample(apply[0], seed)[0])
    check(any_server.run(graph), graph, expected("house, grass", seed=5), expected("sky, tree", seed=6))


def test_a_second_apply_on_a_patched_model(any_server: Server, workflow: Any, expected: Expected) -> None:
    graph = workflow()
    first = graph.apply("house, grass")
    second = graph.apply("sky, tree", first[0])
    sampler = graph.sample(second[0], 7)
    graph.read(first[1], sampler[0])
    graph.read(second[1], sampler[0])
    check(any_server.run(graph), graph, expected("house, grass", seed=7), expected("sky, tree", seed=7))


def test_both_outputs_of_the_advanced_sampler(any_server: Server, workflow: Any, expected: Expected) -> None:
    graph = workflow()
    apply = graph.apply()
    sampler = graph.sample_advanced(apply[0], 8)
    for output in range(2):
        graph.read(apply[1], sampler[output])
    check(any_server.run(graph), graph, expected(seed=8), expected(seed=8))


def test_cancelled_and_queued_again(any_server: Server, workflow: Any, expected: Expected) -> None:
    graph = simple(workflow, seed=9)
    assert any_server.run(graph).ok
    long = workflow()
    apply = long.apply()
    long.read(apply[1], long.sample(apply[0], seed=10, steps=3000)[0])
    prompt = any_server.queue(long)
    # Progress bars end in a carriage return; the second step of the long run is the sign that it is under way.
    any_server.wait_for_log("/3000 [")
    any_server.interrupt()
    cancelled = any_server.wait(prompt)
    assert cancelled.message("execution_interrupted") and cancelled.failed_node == "KSampler"
    check(any_server.run(graph), graph, expected(seed=9))
    graph = simple(workflow, seed=10)
    check(any_server.run(graph), graph, expected(seed=10))


@pytest.mark.parametrize("where", ["while sampling", "between"])
def test_an_exception_and_queued_again(any_server: Server, workflow: Any, expected: Expected, where: str) -> None:
    def graph_that(fails: bool) -> Any:
        graph = workflow()
        checked = graph.add("TestModelCheckpoint", model=graph.loader[0], fail_at=2 * (fails and where != "between"))
        apply = graph.apply(model=checked[0])
        sampler = graph.sample(apply[0], 11)
        latent = graph.add("TestLatentCheckpoint", samples=sampler[0], fail=fails and where == "between")
        graph.read(apply[1], latent[0])
        return graph

    failed = any_server.run(graph_that(fails=True))
    assert failed.error == ("failed on demand" if where == "between" else "failed while sampling")
    graph = graph_that(fails=False)
    check(any_server.run(graph), graph, expected(seed=11))
