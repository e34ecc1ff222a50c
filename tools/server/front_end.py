"""ComfyUI's real front end in a headless Chromium: for the browser tests, and to save the workflows with it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Page, TimeoutError, sync_playwright

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")


def find_browser() -> str | None:
    """An installed Chromium: CHROMIUM_PATH (`dev.py test` sets it), or one on the path."""
    return os.environ.get("CHROMIUM_PATH") or next((path for path in map(shutil.which, NAMES) if path), None)


@contextmanager
def open_front_end(url: str, browser: str, width: int = 1920, height: int = 1080) -> Iterator[Page]:
    """The front end with an empty graph, as a person sees it who has been here before."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=[*FLAGS, "--disable-sync"])
        page = chromium.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(120_000)
        # Otherwise it opens the template browser, and a map and a panel cover parts of the canvas.
        closed = {"Comfy.Minimap.Visible": False, "Comfy.RightSidePanel.IsOpen": False}
        # Without a GPU the drawing would take the cores that the sampler needs.
        slow = {"LiteGraph.Canvas.MaximumFps": 4}
        page.request.post(f"{url}/settings", data={"Comfy.TutorialCompleted": True, **closed, **slow})
        page.goto(url)
        wait_for_start(page)
        yield page
        chromium.close()


def wait_for_start(page: Page, tries: int = 5) -> None:
    """Wait until the front end can be clicked.

    On a busy machine the fading of its start-up veil can miss its own end and cover the page for good; a person reloads
    the page then.
    """
    for _ in range(tries):
        page.wait_for_function("window.app?.graph && window.app.extensionManager && window.LiteGraph")
        page.wait_for_selector("#graph-canvas")
        page.wait_for_function("!document.querySelector('#splash-loader')")
        page.wait_for_timeout(1000)
        try:
            page.wait_for_selector(".p-blockui-mask", state="detached", timeout=8000)
            return
        except TimeoutError:
            page.reload()
    raise RuntimeError("ComfyUI's front end stays covered by its start-up veil")


def load_workflow(page: Page, workflow: dict[str, Any]) -> None:
    """Open a saved workflow, as dropping its file on the canvas does, and show all of it."""
    page.evaluate("async (workflow) => { await app.loadGraphData(workflow) }", workflow)
    fit_view(page)


def fit_view(page: Page) -> None:
    """Bring the whole workflow into view, with the front end's own command."""
    page.evaluate("async () => { await app.extensionManager.command.execute('Comfy.Canvas.FitView') }")
    page.wait_for_timeout(800)


def export(page: Page) -> dict[str, Any]:
    """What the front end's own Save and Export write: `workflow`, and `output` in API format."""
    return page.evaluate(
        "async () => { const made = await app.graphToPrompt(); return JSON.parse(JSON.stringify(made)) }"
    )
