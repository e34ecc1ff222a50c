"""ComfyUI's real front end, on a real server with the pack."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import ConsoleMessage, Page

from tools.comfy_server import Server
from tools.front_end import find_browser, open_front_end

COMFYUI = Path(os.environ.get("COMFYUI_PATH", Path(__file__).resolve().parents[2] / ".comfyui" / "ComfyUI"))


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


@pytest.fixture(scope="session")
def front_end(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontEnd]:
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
            # A help page in the reader's own language is looked for first, and need not exist.
            if message.type == "error" and "conceptattention" in text.lower() and "/docs/" not in text:
                complaints.append(text)

        page.on("console", listen)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield FrontEnd(page, server, complaints, folder)
