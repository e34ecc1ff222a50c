"""Save the workflows with ComfyUI's real front end, with thumbnails, and in API form for the tests and `dev.py demo`.

    .venv/bin/python -m tools.workflows.save --comfyui .comfyui/ComfyUI

The workflows are written down in `reading.py` and `recipes.py`; the front end makes their nodes, wires and arranges
them, and exports the files. They are then run, for their thumbnails and for the README's pictures: do that again when
the demo model has changed.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page

from tools.server.comfy_server import Graph, Node, Server
from tools.server.front_end import export, find_browser, fit_view, open_front_end
from tools.workflows.build import build
from tools.workflows.families import FAMILIES, family
from tools.workflows.plan import Plan
from tools.workflows.reading import CONCEPTS, MASKED, demo, flux
from tools.workflows.recipes import RECIPES

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
IMAGES = WORKFLOWS.parent / "docs" / "images"
DEMO, FLUX = "A demo, mask things while you sample", "Mask things on FLUX1"
RECIPE_SHOWS = ("Mask of the", "Result")
DEMO_SHOWS = ("Picture", "Overlay of all concepts", *(f"Heat map: {name}" for name in CONCEPTS), f"Mask: {MASKED}")
IN_README = ("Replace a thing", "Cut out a thing", "Replace a thing, soft edge", "A prompt for one region")


def write(name: str, content: Any) -> None:
    target = WORKFLOWS / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(target)


def run(page: Page) -> None:
    """Press Run, and wait until every preview shows its picture."""
    page.click("[data-testid=queue-button]")
    while not page.evaluate(SHOWN):
        page.wait_for_timeout(500)
    page.wait_for_timeout(1000)


SHOWN = """() => app.graph.nodes.filter((node) => ['PreviewImage', 'MaskPreview'].includes(node.type))
    .every((node) => node.imgs?.[0]?.complete && node.imgs[0].naturalWidth)"""
BOUNDS = """() => {
    const scale = app.canvas.ds.scale, [x, y] = app.canvas.ds.offset;
    const groups = app.graph.groups.map((group) => [...group.pos, ...group.size]);
    const [left, top] = [0, 1].map((axis) => Math.min(...groups.map((group) => group[axis])));
    const [right, bottom] = [0, 1].map((axis) => Math.max(...groups.map((group) => group[axis] + group[axis + 2])));
    const canvas = document.querySelector('#graph-canvas').getBoundingClientRect();
    return {x: canvas.x + (left + x) * scale - 8, y: canvas.y + (top + y) * scale - 8,
            width: (right - left) * scale + 16, height: (bottom - top) * scale + 16};
}"""


def screenshot(page: Page) -> Image.Image:
    """The workflow as it stands in the window."""
    return Image.open(BytesIO(page.screenshot(clip=page.evaluate(BOUNDS)))).convert("RGB")


def pictures(server: Server, api: dict[str, Any], titles: Sequence[str]) -> list[Image.Image]:
    """Run a workflow; what its nodes of these titles show, or begin so. A decoded picture is made to be seen."""
    seen = Graph(api)
    seen.show_decoded()
    result = server.run(seen, timeout=900)
    if not result.ok:
        raise RuntimeError(f"{result.failed_node}: {result.error}")
    made = {node: spec for node, spec in seen.items() if spec["class_type"] not in ("VAEDecode", "LoadImage")}
    drawn = {node: spec["_meta"]["title"] for node, spec in made.items()}
    nodes = [node for title in titles for node, own in drawn.items() if own.startswith(title)]
    return [Image.fromarray(result.pictures(Node(node))[0]) for node in nodes]


def before_and_after(parts: Sequence[Image.Image], side: int = 512) -> Image.Image:
    """Two pictures in a square: the half of each in which most is changed, the first one left."""
    before, after = (part.resize((side, side), Image.Resampling.LANCZOS) for part in parts)
    changed = np.abs(np.asarray(before, int) - np.asarray(after, int)).sum(axis=(0, 2)).cumsum()
    half = side // 2
    left = int(np.argmax(changed[half:] - changed[:-half]))
    square = Image.new("RGB", (side, side), "white")
    square.paste(before.crop((left, 0, left + half - 2, side)), (0, 0))
    square.paste(after.crop((left, 0, left + half - 2, side)), (half + 2, 0))
    return square


def arranged(parts: Sequence[Image.Image], columns: int, gap: int, height: int | None = None) -> Image.Image:
    """Pictures of one width in rows, on white, each cut off at `height` or as high as the highest."""
    width, height = parts[0].width, height or max(part.height for part in parts)
    rows = -(-len(parts) // columns)
    sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for index, part in enumerate(parts):
        row, column = divmod(index, columns)
        sheet.paste(part.crop((0, 0, width, min(part.height, height))), (column * (width + gap), row * (height + gap)))
    return sheet


def save_picture(target: Path, picture: Image.Image) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".png":
        picture = picture.quantize(palette=picture.quantize(256))  # dithered
    picture.save(target, optimize=True, quality=85)
    print(target)


def save(page: Page, name: str, wanted: Plan) -> dict[str, Any]:
    """Make a workflow and write its file; returns what the front end would send to the server."""
    build(page, wanted)
    fit_view(page)
    made = export(page)
    write(f"{name}.json", made["workflow"])
    return {number: made["output"][number] for number in sorted(made["output"], key=int)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH"), help="or set COMFYUI_PATH")
    parser.add_argument("--only", default="", help="a part of the names of those to save")
    options = parser.parse_args()
    if options.comfyui is None:
        parser.error("say where ComfyUI is: --comfyui PATH, or set COMFYUI_PATH")
    browser = find_browser()
    if not browser:
        parser.exit(1, "no Chromium found; set CHROMIUM_PATH\n")
    names = [name for name in (FLUX, DEMO, *FAMILIES, *RECIPES) if options.only in name]
    plans = RECIPES | {FLUX: flux, DEMO: demo} | {name: partial(family, of) for name, of in FAMILIES.items()}
    with tempfile.TemporaryDirectory() as folder, Server(options.comfyui.resolve(), Path(folder)) as server:
        graphs, saved = {}, {}
        for name in names:
            # One for each: it hands a new node what an earlier one of its number had, values and what it has shown.
            with open_front_end(server.url, browser, 2300, 1600) as page:
                graphs[name] = save(page, name, plans[name]())
                if name == FLUX or name in FAMILIES:
                    # The models are not on this machine, which the front end would show in red.
                    page.evaluate("() => app.graph.nodes.forEach((node) => { node.strokeStyles = {} })")
                    page.evaluate("() => app.canvas.setDirty(true, true)")
                    page.wait_for_timeout(1000)
                    picture = screenshot(page)
                    picture.thumbnail((640, 640))
                    save_picture(WORKFLOWS / f"{name}.jpg", picture)
                elif name == DEMO:
                    run(page)
                    page.wait_for_timeout(3000)
                    save_picture(IMAGES / "workflow.png", screenshot(page))
                else:
                    write(f"api/{name}.json", graphs[name])
        if DEMO in names:
            with open_front_end(server.url, browser, 2300, 1600) as page:
                build(page, demo(save=True))
                nodes = export(page)["output"]
                saved = {number: nodes[number] for number in sorted(nodes, key=int)}
                write("api/demo.json", saved)
        strips = {}
        for name in names:
            if name != FLUX and name not in FAMILIES:
                shown = (f"Heat map: {MASKED}", "Overlay of all concepts") if name == DEMO else RECIPE_SHOWS
                graph = saved if name == DEMO else graphs[name]
                parts = pictures(server, graph, ("Picture", *shown))
                strips[name] = arranged(parts, 3, 0, height=256)
                pair = (parts[0], parts[2].crop((0, 0, 256, 256)))
                save_picture(WORKFLOWS / f"{name}.jpg", before_and_after(pair))
        if DEMO in names:
            save_picture(IMAGES / "demo.png", arranged(pictures(server, saved, DEMO_SHOWS), len(DEMO_SHOWS), 8))
        if set(IN_README) <= set(strips):
            parts = [strips[name].resize((576, 192), Image.Resampling.LANCZOS) for name in IN_README]
            save_picture(IMAGES / "recipes.jpg", arranged(parts, 2, 12))


if __name__ == "__main__":
    main()
