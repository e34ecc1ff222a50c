"""Save the workflows with ComfyUI's real front end, with thumbnails, and in API form for the tests and `dev.py demo`.

    python3 dev.py serve
    .venv/bin/python -m tools.save_workflows --url http://127.0.0.1:8188

The workflows are written down in `tools/workflow_plans/`; the front end makes their nodes, wires and arranges them, and
exports the files. They are then run, for their thumbnails and for the README's screenshot; do that again when the demo
model has changed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page

from tools.front_end import export, find_browser, fit_view, open_front_end
from tools.workflow_plans.build import build
from tools.workflow_plans.plan import Plan
from tools.workflow_plans.reading import MASKED, demo, flux
from tools.workflow_plans.recipes import RECIPES

WORKFLOWS = Path(__file__).resolve().parent.parent / "workflows"
SCREENSHOT = WORKFLOWS.parent / "docs" / "images" / "workflow.png"
DEMO, FLUX = "Concept Attention Demo", "Concept Attention Flux"


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
SOURCE = "(title) => app.graph.nodes.find((node) => node.title === title).imgs[0].src"
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


def result_strip(page: Page, titles: Sequence[str]) -> Image.Image:
    """Previews of a workflow that has run, side by side."""
    pictures = [Image.open(BytesIO(page.request.get(page.evaluate(SOURCE, title)).body())) for title in titles]
    strip = Image.new("RGB", (256 * len(pictures), 256))
    for index, picture in enumerate(pictures):
        strip.paste(picture.crop((0, 0, 256, 256)), (256 * index, 0))
    return strip


def save_picture(target: Path, picture: Image.Image) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".png":
        picture = picture.quantize(palette=picture.quantize(256))  # dithered
    picture.save(target, optimize=True, quality=85)
    print(target)


def save(page: Page, name: str, wanted: Plan) -> None:
    """Make a workflow and write its file."""
    build(page, wanted)
    fit_view(page)
    write(f"{name}.json", export(page)["workflow"])


def save_api(page: Page, name: str, wanted: Plan) -> None:
    """Make a workflow and write what the front end would send to the server."""
    build(page, wanted)
    nodes = export(page)["output"]
    write(f"api/{name}.json", {number: nodes[number] for number in sorted(nodes, key=int)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8188", help="a server with the pack, default %(default)s")
    parser.add_argument("--only", default="", help="a part of the names of those to save")
    options = parser.parse_args()
    browser = find_browser()
    if not browser:
        parser.exit(1, "no Chromium found; set CHROMIUM_PATH\n")
    with open_front_end(options.url, browser, 2300, 1600) as page:
        if options.only in FLUX:
            save(page, FLUX, flux())
            # The models are not on this machine, which the front end would show in red.
            page.evaluate("() => app.graph.nodes.forEach((node) => { node.strokeStyles = {} })")
            page.evaluate("() => app.canvas.setDirty(true, true)")
            page.wait_for_timeout(1000)
            picture = screenshot(page)
            picture.thumbnail((640, 640))
            save_picture(WORKFLOWS / f"{FLUX}.jpg", picture)
        if options.only in DEMO:
            save(page, DEMO, demo())
            run(page)
            titles = ("Picture", f"Heat map: {MASKED}", "Overlay of all concepts")
            save_picture(WORKFLOWS / f"{DEMO}.jpg", result_strip(page, titles))
            save_picture(SCREENSHOT, screenshot(page))
            save_api(page, "demo", demo(save=True))
        for name, plan in RECIPES.items():
            if options.only in name:
                save(page, name, plan())
                run(page)
                titles = ("Picture", "The mask over the picture", "Result")
                save_picture(WORKFLOWS / f"{name}.jpg", result_strip(page, titles))
                save_api(page, name, plan())


if __name__ == "__main__":
    main()
