"""What the explorer's page may ask the server for: exact answers, bounded ones, and nothing for odd questions."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from importlib import import_module
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from PIL import Image

SCORES = 3 * torch.randn(4, 5, 2, 3, 6, 8, generator=torch.Generator().manual_seed(0))
KEY = "0123456789abcdef" * 2


@pytest.fixture(scope="module")
def core(pack: dict[str, Any]) -> Any:
    package = pack["ConceptAttention"].__module__.rsplit(".", 2)[0] + ".conceptattention_core"
    return lambda name: import_module(f"{package}.{name}")


def shown(core: Any, scores: torch.Tensor = SCORES, names: int = 3) -> Any:
    concepts = tuple(f"thing {at}" for at in range(names))
    blocks, steps = tuple(range(scores.shape[1])), tuple(1 - at / 10 for at in range(len(scores)))
    size = (16 * scores.shape[-2] - 6, 16 * scores.shape[-1])
    maps = core("maps").ConceptAttentionMaps(scores, concepts, 1, blocks, steps, size)
    return core("adapters.comfy.routes").Shown(maps, size)


def ask(core: Any, what: Any, *paths: str) -> list[tuple[int, bytes]]:
    """Status and body of each answer of a server with these maps on its shelf."""
    module = core("adapters.comfy.routes")

    async def talk() -> list[tuple[int, bytes]]:
        app, routes = web.Application(), web.RouteTableDef()
        module.add_routes(app, routes)
        app[module.SHELF].put(KEY, what)
        app.add_routes(routes)
        answers = []
        async with TestClient(TestServer(app)) as client:
            for path in paths:
                async with client.get(path) as answer:
                    answers.append((answer.status, await answer.read()))
        return answers

    return asyncio.run(talk())


def test_shares_and_series(core: Any) -> None:
    what, explore = shown(core), core("explore")
    root = f"/concept_attention/{KEY}"
    view = "first_block=-3&last_block=-2&start=0.5&end=1&temperature=2"
    (_, whole), (_, part), (_, blocks), (_, trusted), (status, about) = ask(
        core,
        what,
        f"{root}/shares?picture=1",
        f"{root}/shares?picture=0&from=1&{view}",
        f"{root}/series?picture=1&concept=2&by=block",
        f"{root}/weights?picture=1&{view}",
        f"{root}/about",
    )
    assert whole == explore.stack(what.maps, 1).tobytes()
    read = explore.reading(what.maps, core("state").View("", 0.5, -3, -2, 0.5, 1.0, 2.0))
    assert part == explore.stack(read, 0)[1:].tobytes() != explore.stack(what.maps, 0)[1:].tobytes()
    assert blocks == explore.series(what.maps, 1, 2, "block", 10**6).tobytes() and len(blocks) == 5 * 48
    assert np.array_equal(np.frombuffer(trusted, "<f4").reshape(2, 5), explore.weights(read, 1))
    assert status == 200 and b'"thing 2"' in about


@pytest.mark.parametrize("picture", [False, True])
def test_no_message_is_larger_than_it_may_be(core: Any, picture: bool) -> None:
    scores = torch.randn(2, 19, 1, 40, 64, 64, generator=torch.Generator().manual_seed(0))
    what, root = shown(core, scores, 40), f"/concept_attention/{KEY}"
    if picture:  # three cells a token's side are what fits
        colors = core("explore").colors_of(what.maps, torch.rand(1, *what.size, 3))
        assert colors.shape == (1, 3, 192, 192)
        what = replace(what, colors=colors)
    at_once = core("adapters.comfy.routes").concepts_at_once(what.grid(edges=True))
    paths = [f"{root}/shares?from={first}" for first in range(0, 40, at_once)]
    answers = ask(core, what, *paths, f"{root}/series?by=block", f"{root}/about")
    assert all(status == 200 and len(body) < 64 * 1024 for status, body in answers)
    wanted = core("explore").stack(what.maps, 0, what.colors)
    assert b"".join(body for _, body in answers[: len(paths)]) == wanted.tobytes()
    (_, plain), (_, about) = ask(core, what, f"{root}/shares?edges=false&from=3", f"{root}/about")
    tokens = core("adapters.comfy.routes").concepts_at_once((64, 64))
    assert plain == core("explore").stack(what.maps, 0)[3 : 3 + tokens].tobytes()
    assert json.loads(about)["tokens"] == [64, 64] and json.loads(about)["cells"] == ([192, 192] if picture else None)


def test_a_click_selects_what_concept_select_gives(core: Any, pack: dict[str, Any]) -> None:
    """What the page shows, and what the node behind makes of the explorer's points: of the picture clicked on last.

    The first picture has a thing on its left, the second one on its top.
    """
    there = torch.full((2, 6, 8), -1.0)
    there[0, :, :4] = there[1, :3] = 1
    vector = torch.randn(5, 1, 16, 1, 1, generator=torch.Generator().manual_seed(1))
    made = shown(core)
    maps = replace(made.maps, features=(vector * there[:, None]).half())
    picture = (there > 0).float().repeat_interleave(16, 1).repeat_interleave(16, 2)[:, : made.size[0], :, None]
    picture = picture.expand(-1, -1, -1, 3).contiguous()
    key = core("explore").maps_key(maps, made.size, core("explore").colors_of(maps, picture))
    clicks = [
        {"key": key, "picture": 1, "add": add, "radius": 0, "points": [point], "select": True}
        for add, point in ((True, [0.3, 0.4]), (False, [0.9, 0.9]))
    ]
    explorer, select = pack["ConceptAttentionExplorer"], pack["ConceptAttentionSelect"]
    *_, on, off, index = explorer.execute(maps, None, picture, json.dumps({"strokes": clicks})).result
    assert (on, off, index) == ('[{"x": 38, "y": 36}]', '[{"x": 115, "y": 81}]', 1)
    wanted = select.execute(maps, on, off, 0.5, index, picture).result[0][0]
    what, root = replace(made, maps=maps, picture=picture), f"/concept_attention/{KEY}"
    path = f"{root}/select?picture=1&points=[[38,36]]&negative_points=[[115,81]]"
    (status, png), (_, other), (_, about) = ask(core, what, path, path.replace("=1", "=0", 1), f"{root}/about")
    with Image.open(BytesIO(png)) as seen:
        assert status == 200 and np.array_equal(np.asarray(seen), wanted.numpy() > 0)
    assert wanted[:46].all() and not wanted[50:].any()
    assert other != png and json.loads(about)["selects"] is True
    # Before the first click nodes that take points wait, and what else the explorer gives goes on.
    blocked, nothing, _ = explorer.execute(maps, None, picture, "").result[-3:]
    assert type(blocked).__name__ == "ExecutionBlocker" and blocked.message is None and nothing == "[]"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{'f' * 32}/about", 404),
        ("../../etc/passwd/about", 404),
        (f"{KEY}/shares?picture=2", 400),
        (f"{KEY}/shares?picture=-1", 400),
        (f"{KEY}/shares?picture=0.5", 400),
        (f"{KEY}/shares?picture=x", 400),
        (f"{KEY}/shares?from=3", 400),
        (f"{KEY}/shares?start=nan", 400),
        (f"{KEY}/shares?temperature=0", 400),
        (f"{KEY}/shares?first_block=1e9", 400),
        (f"{KEY}/shares?first_block=9&last_block=9", 400),
        (f"{KEY}/series?by=head", 400),
        (f"{KEY}/series?concept=7", 400),
        (f"{KEY}/select?picture=2&points=[[1,1]]", 400),
        (f"{KEY}/select?points=[[1,1]]", 400),  # no features
    ],
)
def test_odd_questions(core: Any, path: str, status: int) -> None:
    assert ask(core, shown(core), f"/concept_attention/{path}")[0][0] == status


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ({"concepts": "boat、sea；Sky\n- oak tree", "background": "fog"}, ["boat", "sea", "Sky", "oak tree", "fog"]),
        ({"concepts": "salt\\, pepper, boat", "background": ""}, ["salt, pepper", "boat"]),
        ({"concepts": "(boat:1.3)", "background": ""}, None),
        ({"concepts": "", "background": ""}, None),
        ({"concepts": 5}, None),
        ("boat", None),
        ({"concepts": "boat, " * 20_000, "background": ""}, None),
    ],
)
def test_names_are_read_as_the_node_reads_them(core: Any, typed: Any, wanted: list[str] | None) -> None:
    module = core("adapters.comfy.routes")

    async def talk() -> tuple[int, bytes]:
        app, routes = web.Application(), web.RouteTableDef()
        module.add_routes(app, routes)
        app.add_routes(routes)
        async with (
            TestClient(TestServer(app)) as client,
            client.post("/concept_attention/names", json=typed) as answer,
        ):
            return answer.status, await answer.read()

    status, body = asyncio.run(talk())
    assert (status, wanted) == (400, None) if wanted is None else json.loads(body) == wanted


def test_the_shelf_is_bounded(core: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = core("adapters.comfy.routes")
    shelf, one = module.Shelf(), shown(core)
    for number in range(20):
        shelf.put(f"{number:032x}", one)
    assert shelf.get(f"{19:032x}") is one and shelf.get(f"{11:032x}") is None and shelf.get(f"{12:032x}") is one
    monkeypatch.setattr(module, "SHELF_BYTES", 2.5 * SCORES.numel() * 4)
    shelf.put("a" * 32, one)
    assert shelf.bytes() <= module.SHELF_BYTES and shelf.get("a" * 32) is one
    monkeypatch.setattr(module, "SHELF_BYTES", 1)
    shelf.put("b" * 32, one)
    assert shelf.get("b" * 32) is one, "the newest stays"


def test_the_node_gives_what_the_explorer_shows(core: Any, pack: dict[str, Any]) -> None:
    node, explore, what = pack["ConceptAttentionExplorer"], core("explore"), shown(core)
    view = '{"concept": "Thing 1", "threshold": 0.4, "first_block": -2, "last_block": -1, "start": 0.5, "end": 1}'
    mask, masks, names, overlay, read, *_ = node.execute(what.maps, None, None, view).result
    grid = explore.stack(explore.reading(what.maps, core("state").parse_state(view)), 1)[1]
    assert np.array_equal(mask[1].numpy() > 0, explore.cut(grid, 0.4, what.covered, what.size))
    assert names == ["thing 0", "thing 1"] and len(masks) == 2 and torch.equal(masks[1], mask)
    assert overlay.shape[0] == 2 and read.sigmas == what.maps.sigmas[2:] and read.default_blocks == (-2, -1)
    key = explore.maps_key(what.maps, what.size)
    stroke = {"key": key, "picture": 1, "add": True, "radius": 0.1, "points": [[0.5, 0.5]]}
    view = json.dumps({"concept": "thing 1", "threshold": 1, "strokes": [stroke]})
    painted = node.execute(what.maps, None, None, view)
    assert painted.result[0][1].sum() > 0 and not painted.result[1][1].any(), "strokes are in `mask` alone"
    # Concepts that were renamed: the explorer opens all the same, with what was painted, and says so.
    renamed = node.execute(what.maps, None, None, json.dumps({"concept": "thong", "strokes": [stroke]}))
    assert torch.equal(renamed.result[0], painted.result[0]) and renamed.ui["explorer"] == [key]
    assert "no concept 'thong'" in renamed.ui["text"][0]
    # With a picture the masks follow its edges, unless that is switched off; either way they are what is shown.
    picture = torch.rand(2, *what.size, 3)
    colors = explore.colors_of(what.maps, picture)
    for edges in (True, False):
        view = json.dumps({"concept": "thing 1", "threshold": 0.4, "edges": edges})
        mask = node.execute(what.maps, None, picture, view).result[0]
        grid = explore.stack(what.maps, 1, colors if edges else None)[1]
        assert grid.shape == ((24, 32) if edges else (6, 8))
        assert np.array_equal(mask[1].numpy() > 0, explore.cut(grid, 0.4, what.covered, what.size))
    with pytest.raises(ValueError, match="`samples` is not connected"):
        node.execute(core("record").RunStore())
    with pytest.raises(ValueError, match="takes the maps of another node"):
        node.execute(torch.zeros(1))
