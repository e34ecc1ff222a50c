"""What a live frame holds, how often one is sent, and that none of it can end a run."""

from __future__ import annotations

import base64
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from .graphs import apply, ksampler, prompt, tiny_flux


@pytest.fixture
def live(pack: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, with a server that keeps what it is to send, and a clock that stands still."""
    package = pack["ConceptAttention"].__module__.rsplit(".", 2)[0] + ".conceptattention_core"
    module = import_module(f"{package}.adapters.comfy.live")
    server = SimpleNamespace(client_id="me", sent=[], now=0.0)
    server.send_sync = lambda event, frame, client: server.sent.append((event, frame, client))
    monkeypatch.setattr(module, "listening", lambda: server)
    monkeypatch.setattr(module.time, "monotonic", lambda: server.now)
    return SimpleNamespace(module=module, server=server, core=lambda name: import_module(f"{package}.{name}"))


def recorder(live: Any, grid: tuple[int, int] = (4, 6), count: int = 3) -> Any:
    concepts = live.core("concepts").Concepts(tuple("abcdefghijklmnop"[:count]), 1, torch.zeros(1, count, 2))
    record = live.core("record")
    frame = record.Frame(grid, (16 * grid[0], 16 * grid[1]), default_blocks=(1, 2), temperature=2.0)
    return record.Recorder(concepts, "output", 2, frame, (0.0, 1.0))


def scores(seed: int, count: int = 3, tokens: int = 24) -> torch.Tensor:
    return 3 * torch.randn(4, 2, count, tokens, generator=torch.Generator().manual_seed(seed))


def test_a_frame_is_the_mean_of_the_steps_so_far(live: Any) -> None:
    recording = recorder(live)
    maps, total = live.module.LiveMaps(recording), torch.zeros(3, 24)
    for step in range(3):
        recording.add(1 - step / 10, (0, 1, 2, 3), scores(step))
        total += (scores(step)[1:3, 0] / 2).softmax(dim=1).mean(dim=0)
        live.server.now += 1
        maps.step(step, 3)
        event, frame, client = live.server.sent[-1]
        shown = np.frombuffer(base64.b64decode(frame["maps"]), np.uint8).reshape(3, 24)
        assert np.abs(shown / 255 - total.numpy() / (step + 1)).max() < 0.003
        assert (event, client, frame["step"], frame["grid"]) == ("concept_attention.live", "me", step + 1, [4, 6])


def test_of_a_video_its_first_frame(live: Any) -> None:
    recording = recorder(live)
    recording.frame = live.core("record").Frame(
        (3, 4, 6), (64, 96), default_blocks=(1, 2), temperature=2.0, times=(0.0, 1.0, 2.0)
    )
    maps = live.module.LiveMaps(recording)
    given = scores(0, tokens=72)
    recording.add(1.0, (0, 1, 2, 3), given)
    live.server.now += 1
    maps.step(0, 3)
    frame = live.server.sent[-1][1]
    shown = np.frombuffer(base64.b64decode(frame["maps"]), np.uint8).reshape(3, 24)
    first = (given[1:3, 0, :, :24] / 2).softmax(dim=1).mean(dim=0)
    assert np.abs(shown / 255 - first.numpy()).max() < 0.003 and frame["grid"] == [4, 6]


def test_ten_frames_a_second_at_most_and_small_ones(live: Any) -> None:
    recording = recorder(live, (128, 128), 16)
    maps = live.module.LiveMaps(recording)
    for step in range(50):
        recording.add(1 - step / 50, (0, 1, 2, 3), scores(step, 16, 128 * 128))
        live.server.now += 0.03
        maps.step(step, 50)
    assert 12 <= len(live.server.sent) <= 16
    assert all(len(frame["maps"]) < 64 * 1024 for _, frame, _ in live.server.sent)


@pytest.mark.parametrize("fault", ["send", "nothing recorded", "no such blocks"])
def test_nothing_of_it_ends_a_run(live: Any, pack: dict[str, Any], fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    flux = tiny_flux()
    plain = ksampler(flux, prompt(1), steps=2)
    if fault == "send":
        live.server.send_sync = lambda *_: 1 / 0
    elif fault == "no such blocks":
        monkeypatch.setattr(live.module, "select_blocks", lambda *_: 1 / 0)
    model, attention = apply(pack, flux, **({"end_percent": 0.001} if fault == "nothing recorded" else {}))
    assert torch.equal(ksampler(model, prompt(1), steps=2), plain)
    assert len(attention) == 1
