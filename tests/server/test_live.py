"""Live maps: frames come while a sampler runs, the picture is the same to the bit, and nobody gets them unasked."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import numpy as np
import pytest

from tools.server.comfy_server import Result, Server

pytestmark = pytest.mark.server
PREVIEWS = ("--preview-method", "latent2rgb")


def watch(server: Server, graph: Any) -> tuple[Result, list[dict[str, Any]]]:
    """Run a workflow as a page does that listens: its end, and the live frames that came."""

    async def talk() -> tuple[str, list[dict[str, Any]]]:
        frames: list[dict[str, Any]] = []
        page = f"{server.url}/ws?clientId=me"
        async with aiohttp.ClientSession() as session, session.ws_connect(page) as socket:
            async with session.post(f"{server.url}/prompt", json={"prompt": graph, "client_id": "me"}) as answer:
                prompt = (await answer.json())["prompt_id"]
            while True:
                message = await socket.receive(timeout=120)
                if message.type != aiohttp.WSMsgType.TEXT:
                    continue  # ComfyUI's own previews
                told = json.loads(message.data)
                if told["type"] == "concept_attention.live":
                    frames.append(told["data"])
                if told["type"] == "executing" and told["data"]["node"] is None:
                    return prompt, frames

    prompt, frames = asyncio.run(talk())
    return server.wait(prompt), frames


def sampled(workflow: Any, steps: int, seed: int, patched: bool = True) -> tuple[Any, Any]:
    graph = workflow()
    model = graph.apply("house, grass, sky")[0] if patched else graph.loader[0]
    decoded = graph.decode(graph.sample(model, seed, steps)[0])
    picture = graph.add("SaveImage", filename_prefix="live", images=decoded[0])
    return graph, picture


def test_frames_come_and_the_picture_is_the_same(start: Callable[..., Server], workflow: Any) -> None:
    server = start(*PREVIEWS)
    graph, picture = sampled(workflow, 30, 5)
    result, frames = watch(server, graph)
    assert result.ok and 1 <= len(frames) <= 30
    plain, other = sampled(workflow, 30, 5, patched=False)
    assert np.array_equal(result.pictures(picture), server.run(plain).pictures(other))
    steps = [frame["step"] for frame in frames]
    assert steps == sorted(set(steps)) and frames[-1]["steps"] == 30
    assert {frame["node"] for frame in frames} == {
        node for node, one in graph.items() if one["class_type"] == "KSampler"
    }
    for frame in frames:
        shares = np.frombuffer(base64.b64decode(frame["maps"]), np.uint8).reshape(4, *frame["grid"])
        assert frame["names"] == ["house", "grass", "sky", "background"] and frame["grid"] == [8, 8]
        assert np.abs(shares.astype(int).sum(axis=0) - 255).max() <= 2  # shares of one competition
        assert len(json.dumps(frame)) < 64 * 1024


def test_nobody_gets_frames_who_does_not_want_them(start: Callable[..., Server], workflow: Any) -> None:
    server = start(*PREVIEWS)
    server.request("/concept_attention/live?on=false&client=another", {})
    assert watch(server, sampled(workflow, 4, 5)[0])[1] != []  # a setting of another page's
    server.request("/concept_attention/live?on=false&client=me", {})
    assert watch(server, sampled(workflow, 4, 6)[0])[1] == []
    server.request("/concept_attention/live?on=true&client=me", {})
    assert watch(server, sampled(workflow, 4, 7)[0])[1] != []
    assert watch(start(), sampled(workflow, 4, 8)[0])[1] == []  # no preview pictures, no maps
