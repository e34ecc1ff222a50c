"""ComfyUI's real front end, on a real server with the pack, and what a person's hands do in it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import ConsoleMessage, Page

from tools.server.comfy_server import Result, Server
from tools.server.front_end import find_browser, fit_view, open_front_end

COMFYUI = Path(os.environ.get("COMFYUI_PATH", Path(__file__).resolve().parents[2] / ".comfyui" / "ComfyUI"))
WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"

DROP = """([name, text]) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([text], name, {type: 'application/json'}));
    const at = {clientX: innerWidth / 2, clientY: innerHeight / 2, bubbles: true, cancelable: true};
    document.querySelector('#graph-canvas').dispatchEvent(new DragEvent('drop', {...at, dataTransfer}));
}"""

NEW_NODE = """(type) => {
    app.graph.clear();
    const node = LiteGraph.createNode(type);
    app.graph.add(node);
    app.canvas.selectNode(node);
}"""

ON_SCREEN = """([type, place]) => {
    app.canvas.draw(true, true);  // a widget that has just come moves the others when it is drawn
    const node = app.graph.nodes.find((node) => node.type === type);
    const row = node.widgets.find((widget) => widget.name === place);
    const output = node.outputs.findIndex((output) => output.name === place);
    const [x, y] = row ? [node.pos[0] + node.size[0] / 2, node.pos[1] + row.y + 10]
                       : node.getConnectionPos(false, output);
    const canvas = document.querySelector('#graph-canvas').getBoundingClientRect();
    const {scale, offset} = app.canvas.ds;
    return [canvas.x + (x + offset[0]) * scale, canvas.y + (y + offset[1]) * scale];
}"""

PREVIEWS = """() => {
    const shown = {};
    for (const node of app.graph.nodes.filter((node) => ['PreviewImage', 'MaskPreview'].includes(node.type))) {
        const image = node.imgs?.[0];
        if (!image?.complete || !image.naturalWidth) return null;
        const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight).getContext('2d');
        canvas.drawImage(image, 0, 0);
        const {data} = canvas.getImageData(0, 0, image.naturalWidth, image.naturalHeight);
        const colors = new Set(new Uint32Array(data.buffer));
        shown[node.title] = [image.naturalWidth, image.naturalHeight, colors.size];
    }
    return shown;
}"""


@dataclass(frozen=True)
class FrontEnd:
    """A browser window. complaints: exceptions in the page, and the console's errors that concern the pack."""

    page: Page
    server: Server
    complaints: list[str]
    pictures: Path

    def screenshot(self, name: str) -> None:
        """For a person to look at; pytest keeps the folder of the last three runs."""
        self.page.screenshot(path=self.pictures / f"{name}.png")

    def until(self, condition: Callable[[], Any], timeout: float = 60) -> Any:
        """Wait for a condition, the page living on meanwhile, and return what it found."""
        end = time.monotonic() + timeout
        while not (found := condition()):
            if time.monotonic() > end:
                self.screenshot("nothing happened")
                raise AssertionError(f"nothing after {timeout} s; see {self.pictures}")
            self.page.wait_for_timeout(200)
        return found

    def drop(self, name: str) -> None:
        """Drop a workflow file on the canvas, and wait until it is there and in view."""
        file = WORKFLOWS / f"{name}.json"
        count = len(json.loads(file.read_text(encoding="utf-8"))["nodes"])
        self.page.evaluate("() => app.graph.clear()")
        self.page.evaluate(DROP, [file.name, file.read_text(encoding="utf-8")])
        self.page.wait_for_function("(count) => app.graph.nodes.length === count", arg=count)
        fit_view(self.page)

    def put(self, node_type: str) -> None:
        """An empty canvas with one node, selected."""
        self.page.evaluate(NEW_NODE, node_type)

    def place(self, node_type: str, name: str) -> tuple[float, float]:
        """Where a node's widget or output is in the window."""
        return tuple(self.page.evaluate(ON_SCREEN, [node_type, name]))

    def choose(self, node_type: str, combo: str, value: str) -> None:
        """Click on a node's combo, and on a value in its menu."""
        self.page.mouse.click(*self.place(node_type, combo))
        self.page.locator(".litecontextmenu .litemenu-entry").get_by_text(value, exact=True).click()

    def run(self, timeout: float = 300) -> Result:
        """Press Run and wait for the end."""
        prompt = self.press_run()
        self.until(lambda: self.server.json(f"/history/{prompt}"), timeout)
        return self.server.wait(prompt)

    def press_run(self) -> str:
        """Press Run until the server has the prompt. A front end that is still starting may let a press go by."""
        before = set(self.prompts())
        for _ in range(5):
            self.page.click("[data-testid=queue-button]")
            end = time.monotonic() + 10
            while time.monotonic() < end:
                if new := set(self.prompts()) - before:
                    return new.pop()
                self.page.wait_for_timeout(200)
        self.screenshot("not queued")
        raise AssertionError(f"the front end never queued the workflow; see {self.pictures}")

    def prompts(self) -> list[str]:
        """Ids of all that the server was ever asked to run."""
        queue = self.server.json("/queue")
        return [*self.server.json("/history"), *(job[1] for jobs in queue.values() for job in jobs)]

    def previews(self) -> dict[str, tuple[int, int, int]]:
        """Width, height and number of colours of the pictures in the preview nodes, by title, when all have theirs."""
        return self.until(lambda: self.page.evaluate(PREVIEWS))


@pytest.fixture(scope="session")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontEnd]:
    browser = find_browser()
    if not browser:
        reason = "no Chromium found: install one, or set CHROMIUM_PATH"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    assert (COMFYUI / "main.py").is_file(), f"no ComfyUI in {COMFYUI}; `python3 dev.py test` sets COMFYUI_PATH"
    folder = tmp_path_factory.mktemp("front_end")
    with Server(COMFYUI, folder) as server, open_front_end(server.url, browser, 2600, 1500) as page:
        complaints: list[str] = []

        def listen(message: ConsoleMessage) -> None:
            text = f"{message.text} {message.location.get('url', '')}"
            # A help page in the reader's own language is looked for first, and need not exist; and the registry, which
            # the front end asks who wrote a node, cannot be reached.
            expected = "/docs/" in text or "api.comfy.org" in text
            if message.type == "error" and "conceptattention" in text.lower() and not expected:
                complaints.append(text)

        page.on("console", listen)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield FrontEnd(page, server, complaints, folder)


@pytest.fixture
def front_end(window: FrontEnd) -> Iterator[FrontEnd]:
    """The window that all tests share. None of them may leave complaints in its console."""
    window.complaints.clear()
    yield window
    assert window.complaints == []
