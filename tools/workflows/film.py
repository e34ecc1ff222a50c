"""Film the explorer in ComfyUI's real front end, for the README: look, choose, move the threshold, paint, select.

    .venv/bin/python -m tools.workflows.film --comfyui .comfyui/ComfyUI
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from tools.server.comfy_server import Server
from tools.server.front_end import find_browser, load_workflow, open_front_end
from tools.workflows.save import DEMO, IMAGES, WORKFLOWS

READY = """() => !!app.graph.nodes.find((one) => one.type === 'ConceptAttentionExplorer').conceptExplorer.maps"""
SLIDE = "(input, value) => { input.value = value; input.dispatchEvent(new Event('input', {bubbles: true})) }"
LOOK, MOVE = 900, 160
"""Milliseconds that a frame is seen: to look at, and of a movement."""


class Camera:
    """Pictures of the explorer, each with the time that it is seen."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.root = page.locator(".concept-explorer").first
        self.frames: list[tuple[Image.Image, int]] = []

    def take(self, milliseconds: int, wait: int = 350) -> None:
        self.page.wait_for_timeout(wait)
        picture = Image.open(BytesIO(self.root.screenshot())).convert("RGB")
        self.frames.append((picture, milliseconds))

    def point(self, x: float, y: float) -> tuple[float, float]:
        """A place in parts of the picture, which is square and fitted into the canvas."""
        box = self.root.locator(".stage canvas").bounding_box()
        assert box is not None
        side = min(box["width"], box["height"])
        return box["x"] + (box["width"] - side) / 2 + x * side, box["y"] + (box["height"] - side) / 2 + y * side

    def save(self, target: Path) -> None:
        first, *others = (picture for picture, _ in self.frames)
        times = [milliseconds for _, milliseconds in self.frames]
        first.save(target, save_all=True, append_images=others, duration=times, loop=0, quality=70, method=6)
        print(f"{target}: {len(times)} pictures, {target.stat().st_size // 1024} KiB")


def film(page: Page) -> Camera:
    """What a person does in the first half minute."""
    camera, mouse = Camera(page), page.mouse
    control = camera.root.locator
    camera.take(LOOK, 1500)
    for at in range(6):  # over the sky, the boat and the sea
        mouse.move(*camera.point(0.5, 0.1 + 0.14 * at))
        camera.take(3 * MOVE)
    for name in ("sky", "sea", "boat"):
        control(f".legend button:has-text('{name}')").click()
        camera.take(LOOK)
    for value in (0.4, 0.3, 0.2, 0.3, 0.45, 0.6, 0.75, 0.6, 0.5):
        control("input[aria-label=Threshold]").evaluate(SLIDE, value)
        camera.take(MOVE)
    for view in ("all", "blocks", "steps", "mask", "heat"):
        control("select[aria-label=View]").select_option(view)
        camera.take(LOOK, 900)
    control("button[title^='Paint on the picture to add']").click()
    mouse.move(*camera.point(0.2, 0.2))
    mouse.down()
    for at in range(8):
        mouse.move(*camera.point(0.2 + 0.07 * at, 0.2 + 0.03 * (at % 2)), steps=3)
        camera.take(MOVE)
    mouse.up()
    camera.take(LOOK)
    control("button[title='Take back the last stroke or point']").click()
    camera.take(LOOK)
    control("button:text-is('Select +')").click()
    camera.take(MOVE)
    mouse.click(*camera.point(0.4, 0.87))
    camera.take(2 * LOOK, 1500)
    return camera


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH"), help="or set COMFYUI_PATH")
    options = parser.parse_args()
    browser = find_browser()
    if options.comfyui is None or not browser:
        parser.exit(1, "say where ComfyUI is (--comfyui or COMFYUI_PATH), and install Chromium or set CHROMIUM_PATH\n")
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(options.comfyui.resolve(), Path(folder)) as server,
        open_front_end(server.url, browser, 1920, 1080) as page,
    ):
        load_workflow(page, json.loads((WORKFLOWS / f"{DEMO}.json").read_text(encoding="utf-8")))
        page.click("[data-testid=queue-button]")
        page.wait_for_function(READY)
        film(page).save(IMAGES / "explorer.webp")


if __name__ == "__main__":
    main()
