"""What the explorer's page asks the server for: small pictures of maps that a run has left, by their key.

Read only, no file is touched, every number is checked. The maps are those that the store of runs holds anyway; the
shelf keeps references to the last few, and as many bytes as it may.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from aiohttp import web
from PIL import Image
from torch import Tensor

from ...concepts import parse_concepts
from ...explore import MESSAGE_BYTES, reading, series, stack, weights
from ...letters import printable
from ...maps import READINGS, ConceptAttentionMaps, covered_size
from ...masks.presence import presence
from ...masks.select import select
from ...pictures.colormaps import color_map
from ...pictures.colors import concept_colors
from ...points import read_clicks
from ...state import View

SHELF_BYTES = 512 * 2**20
SHELF_RUNS = 8
CLIENTS = 256


@dataclass(frozen=True)
class Shown:
    """Maps that an explorer shows, at ``(H, W)`` pixels.

    colors: of the pictures whose edges the maps can follow (see `explore.colors_of`); None: there are no pictures.
    picture: the pictures themselves, ``(B, H, W, 3)`` 0..1.
    """

    maps: ConceptAttentionMaps
    size: tuple[int, int]
    colors: Tensor | None = None
    picture: Tensor | None = None

    @property
    def covered(self) -> tuple[int, int]:
        return covered_size(self.maps.grid, self.maps.image_size, self.size, self.maps.token_pixels)

    def grid(self, edges: bool) -> tuple[int, int]:
        """``(h, w)`` of its maps in bytes."""
        if self.colors is None or not edges:
            return self.maps.grid
        return self.colors.shape[-2], self.colors.shape[-1]

    def bytes(self) -> int:
        """What it keeps in memory."""
        kept = (self.maps.scores, self.maps.features, self.colors, self.picture)
        return sum(tensor.numel() * tensor.element_size() for tensor in kept if tensor is not None)


class Shelf:
    """The maps that explorers may ask for, the newest last; bounded by number and by bytes."""

    def __init__(self) -> None:
        self._shown: dict[str, Shown] = {}
        self._quiet: dict[str, None] = {}

    def set_live(self, client: str, on: bool) -> None:
        """Whether a page wants maps while its samplers run: a setting of its own. The last few answers are kept."""
        self._quiet.pop(client, None)
        if not on:
            self._quiet[client] = None
            while len(self._quiet) > CLIENTS:
                del self._quiet[next(iter(self._quiet))]

    def live(self, client: str) -> bool:
        return client not in self._quiet

    def put(self, key: str, shown: Shown) -> None:
        self._shown.pop(key, None)
        self._shown[key] = shown
        while len(self._shown) > 1 and (len(self._shown) > SHELF_RUNS or self.bytes() > SHELF_BYTES):
            del self._shown[next(iter(self._shown))]

    def get(self, key: str) -> Shown | None:
        return self._shown.get(key)

    def bytes(self) -> int:
        return sum(shown.bytes() for shown in self._shown.values())


SHELF = web.AppKey("concept_attention_shelf", Shelf)


def add_routes(app: web.Application, routes: web.RouteTableDef) -> None:
    """Give a server its shelf, and the routes that read it."""
    shelf = app[SHELF] = Shelf()

    def found(request: web.Request) -> Shown:
        shown = shelf.get(request.match_info["key"])
        if shown is None:
            raise web.HTTPNotFound(text="These maps are gone. Run the workflow again.")
        return shown

    async def answer(work: Callable[[], bytes], content: str = "application/octet-stream") -> web.Response:
        try:  # beside the event loop: it also brings every other page its previews
            body = await asyncio.get_running_loop().run_in_executor(None, work)
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        return web.Response(body=body, content_type=content)

    @routes.post("/concept_attention/live")
    async def live(request: web.Request) -> web.Response:
        """The page's setting: live maps on or off."""
        shelf.set_live(request.query.get("client", "")[:64], request.query.get("on") == "true")
        return web.Response()

    @routes.post("/concept_attention/names")
    async def names(request: web.Request) -> web.Response:
        """The names in what is typed in a node, as the node itself would read it."""
        if (request.content_length or MESSAGE_BYTES) >= MESSAGE_BYTES:
            raise web.HTTPBadRequest(text="That is more than a node's two fields hold.")
        try:
            typed = await request.json()
            found, _ = parse_concepts(str(typed["concepts"]), str(typed["background"]))
        except (ValueError, TypeError, KeyError) as error:
            raise web.HTTPBadRequest(text=printable(str(error))) from None
        return web.json_response(found)

    @routes.get("/concept_attention/{key:[0-9a-f]{32}}/about")
    async def about(request: web.Request) -> web.Response:
        shown = found(request)
        return await answer(lambda: json.dumps(describe(shown)).encode(), "application/json")

    @routes.get("/concept_attention/{key:[0-9a-f]{32}}/shares")
    async def shares(request: web.Request) -> web.Response:
        """``(count, h, w)`` bytes of some concepts' shares in a picture, as a view reads them."""
        shown, asked = found(request), request.query
        view, picture = view_of(asked), number(asked, "picture", 0, shown.maps.pictures - 1)
        first = number(asked, "from", 0, len(shown.maps.concepts) - 1)
        colors, at_once = shown.colors if view.edges else None, concepts_at_once(shown.grid(view.edges))
        chosen = slice(first, first + at_once)
        return await answer(lambda: stack(reading(shown.maps, view), picture, colors)[chosen].tobytes())

    @routes.get("/concept_attention/{key:[0-9a-f]{32}}/series")
    async def by_block_or_step(request: web.Request) -> web.Response:
        """``(n, h, w)`` bytes of a concept, one map a block or a step."""
        shown, asked = found(request), request.query
        concept = number(asked, "concept", 0, len(shown.maps.concepts) - 1)
        picture = number(asked, "picture", 0, shown.maps.pictures - 1)
        view, by = view_of(asked), asked.get("by", "block")
        return await answer(lambda: series(reading(shown.maps, view), picture, concept, by, MESSAGE_BYTES).tobytes())

    @routes.get("/concept_attention/{key:[0-9a-f]{32}}/weights")
    async def trusted(request: web.Request) -> web.Response:
        """``(steps, blocks)`` float32, how much the reading auto trusts each, in a view of a picture."""
        shown, asked = found(request), request.query
        view, picture = view_of(asked), number(asked, "picture", 0, shown.maps.pictures - 1)
        return await answer(lambda: weights(reading(shown.maps, view), picture).astype("<f4").tobytes())

    @routes.get("/concept_attention/{key:[0-9a-f]{32}}/select")
    async def selected(request: web.Request) -> web.Response:
        """What Concept Select, as it is when new, makes of clicks on a picture: its mask as a PNG, 0 and 255."""
        shown, asked = found(request), request.query
        picture = number(asked, "picture", 0, shown.maps.pictures - 1)
        points, negative = asked.get("points", ""), asked.get("negative_points", "")
        return await answer(lambda: selection(shown, picture, points, negative), "image/png")


def has_server() -> bool:
    """Whether this process is a server, so that somebody may look."""
    from server import PromptServer  # ComfyUI's; late, since a script that uses ComfyUI as a library has none

    return getattr(PromptServer, "instance", None) is not None


def shelf_of_server() -> Shelf:
    """The shelf of the server that this process is, or one that nobody reads where there is none."""
    from server import PromptServer  # ComfyUI's; late, since a script that uses ComfyUI as a library has none

    server = getattr(PromptServer, "instance", None)
    return server.app.get(SHELF) or Shelf() if server is not None else Shelf()


def concepts_at_once(grid: tuple[int, int]) -> int:
    """How many concepts' maps, ``(h, w)`` bytes each, go into one message."""
    return max(1, MESSAGE_BYTES // (grid[0] * grid[1]))


def selection(shown: Shown, picture: int, points: str, negative: str) -> bytes:
    """A PNG of the mask of what was clicked on. points, negative: as `points.read_clicks` reads them, in its errors."""
    on, off = read_clicks(points, negative, shown.size)
    seen = None if shown.picture is None else shown.picture[picture][None]
    mask = select(shown.maps.picture(picture), on, off, seen, shown.size).mask[0] > 0
    Image.fromarray(mask.numpy()).save(png := BytesIO(), "PNG")
    return png.getvalue()


def describe(shown: Shown) -> dict[str, Any]:
    """What a page has to know before it asks for maps. Plain data."""
    maps, colors = shown.maps, concept_colors(len(shown.maps.concepts), shown.maps.background_count)
    return {
        "names": maps.concepts,
        "background": maps.background_count,
        "colors": (colors * 255).round().int().tolist(),
        "heat": (color_map("heat") * 255).round().int().flatten().tolist(),
        "tokens": shown.grid(edges=False),
        "cells": shown.grid(edges=True) if shown.colors is not None else None,
        "size": shown.size,
        "covered": shown.covered,
        "pictures": maps.pictures,
        "blocks": maps.blocks,
        "default_blocks": maps.default_blocks,
        "trusted_blocks": maps.trusted_blocks,
        "reading": maps.reading,
        "steps": len(maps.sigmas),
        "message": MESSAGE_BYTES,
        "presence": presence(maps).tolist(),
        "family": maps.family,
        "selects": maps.features is not None,
    }


def view_of(asked: Any) -> View:
    """The view that a query asks for. Raises HTTPBadRequest on numbers out of range."""
    blocks = [number(asked, name, -4096, 4096) if name in asked else None for name in ("first_block", "last_block")]
    start, end = decimal(asked, "start", 0.0, 0, 1), decimal(asked, "end", 1.0, 0, 1)
    temperature = decimal(asked, "temperature", 1.0, 0.01, 1000)
    edges, reading = asked.get("edges", "true") == "true", asked.get("reading", "")
    if reading not in ("", *READINGS):
        raise web.HTTPBadRequest(text="reading is paper or auto.")
    return View(
        first_block=blocks[0],
        last_block=blocks[1],
        start=start,
        end=end,
        temperature=temperature,
        edges=edges,
        reading=reading,
    )


def number(asked: Any, name: str, low: int, high: int) -> int:
    value = decimal(asked, name, low, low, high)
    if value != int(value):
        raise web.HTTPBadRequest(text=f"{name} is a whole number.")
    return int(value)


def decimal(asked: Any, name: str, default: float, low: float, high: float) -> float:
    try:
        value = float(asked.get(name, default))
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise web.HTTPBadRequest(text=f"{name} lies between {low} and {high}.")
    return value
