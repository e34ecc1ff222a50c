"""A real ComfyUI server with this pack, and a client for it: for the tests and for the scripts beside this file.

with Server(comfyui, folder, "--cache-none") as server:
    graph = Graph()
    ...
    result = server.run(graph)
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PACK = "ComfyUI-ConceptAttention"

# No proxy has business between us and a server on this machine.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Socket:
    """Output number `index` of a node of a graph."""

    node: str
    index: int


@dataclass(frozen=True)
class Node:
    """A node of a graph; `node[0]` is its first output."""

    id: str

    def __getitem__(self, index: int) -> Socket:
        return Socket(self.id, index)


class Graph(dict[str, Any]):
    """A workflow in API format, written down node by node."""

    def add(self, class_type: str, title: str = "", **inputs: Any) -> Node:
        """Add a node. An input is a value, or a socket of an earlier node."""
        node = Node(str(len(self) + 1))
        self[node.id] = {
            "class_type": class_type,
            "inputs": {k: [v.node, v.index] if isinstance(v, Socket) else v for k, v in inputs.items()},
            "_meta": {"title": title or class_type},
        }
        return node

    def show_decoded(self) -> None:
        """Have every decoded or loaded picture shown, by a node of its title: a workflow need not show them all."""
        for node, spec in list(self.items()):
            if spec["class_type"] in ("VAEDecode", "LoadImage"):
                inputs = {"images": [node, 0]}
                self[f"seen {node}"] = {"class_type": "PreviewImage", "inputs": inputs, "_meta": spec["_meta"]}


class Refused(Exception):
    """The server did not accept a workflow. `report` is its answer."""

    def __init__(self, report: dict[str, Any]) -> None:
        self.report = report
        super().__init__(json.dumps(report))


@dataclass(frozen=True)
class Result:
    """A finished prompt: what the server's history holds about it."""

    server: Server
    entry: dict[str, Any]

    def message(self, kind: str) -> dict[str, Any] | None:
        """The data of the prompt's message of a kind: execution_error, execution_interrupted, execution_cached ..."""
        return next((data for name, data in self.entry["status"]["messages"] if name == kind), None)

    @property
    def ok(self) -> bool:
        return self.entry["status"]["status_str"] == "success"

    @property
    def error(self) -> str:
        """What the user reads when a node fails, or nothing."""
        return (self.message("execution_error") or {}).get("exception_message", "").strip()

    @property
    def failed_node(self) -> str:
        """Class of the node that failed or was interrupted."""
        message = self.message("execution_error") or self.message("execution_interrupted") or {}
        return message.get("node_type", "")

    @property
    def cached(self) -> set[str]:
        """Ids of the nodes that the server did not run again."""
        return set((self.message("execution_cached") or {}).get("nodes", []))

    def files(self, node: Node) -> list[bytes]:
        """The files that an output node wrote."""
        images = self.entry["outputs"][node.id]["images"]
        return [self.server.request("/view?" + urllib.parse.urlencode(image)) for image in images]

    def pictures(self, node: Node) -> np.ndarray:
        """The pictures that an output node wrote, ``(B, H, W, 3)`` uint8."""
        return np.stack([np.asarray(Image.open(BytesIO(data)).convert("RGB")) for data in self.files(node)])


class Server:
    """A ComfyUI server with a base folder of its own, for as long as the `with` block lasts. Its log stays there."""

    def __init__(
        self,
        comfyui: Path,
        folder: Path,
        *flags: str,
        packs: Iterable[Path] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        """folder: empty, or of an earlier server; packs: further custom nodes to load beside this repository."""
        self.environment = environment
        self.base = folder
        custom_nodes = folder / "custom_nodes"
        custom_nodes.mkdir(parents=True, exist_ok=True)
        for name, pack in ((PACK, ROOT), *((pack.name, pack) for pack in packs)):
            if not (custom_nodes / name).exists():
                (custom_nodes / name).symlink_to(pack, target_is_directory=True)
        self.log = folder / "server.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.command = [sys.executable, str(comfyui.resolve() / "main.py"), "--cpu", "--port", str(self.port)]
        self.command += ["--disable-auto-launch", "--disable-api-nodes", "--database-url", "sqlite:///:memory:"]
        self.command += ["--base-directory", str(folder), *flags]

    def __enter__(self) -> Server:
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.base, env=self.environment
            )
        started = time.monotonic()
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() - started > 300:
                self.__exit__(None, None, None)
                raise RuntimeError(f"ComfyUI does not answer. The end of {self.log}:\n{self.log_text()[-3000:]}")
            time.sleep(0.2)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for_log(self, text: str, timeout: float = 60) -> None:
        """Wait until the server has written this text."""
        end = time.monotonic() + timeout
        while text not in self.log_text():
            if time.monotonic() > end:
                raise TimeoutError(f"'{text}' did not appear in {self.log}:\n{self.log_text()[-2000:]}")
            time.sleep(0.05)

    def answers(self) -> bool:
        try:
            return bool(self.json("/system_stats"))
        except OSError:
            return False

    def request(self, path: str, data: Any = None) -> bytes:
        """GET, or POST of `data` as JSON."""
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(self.url + path, body, {"Content-Type": "application/json"})
        with OPENER.open(request, timeout=60) as answer:
            return answer.read()

    def json(self, path: str, data: Any = None) -> Any:
        return json.loads(self.request(path, data))

    def queue(self, graph: Graph) -> str:
        """Queue a workflow and return its prompt id. Raises Refused, with the server's reasons."""
        try:
            return self.json("/prompt", {"prompt": graph})["prompt_id"]
        except urllib.error.HTTPError as error:
            raise Refused(json.load(error)) from None

    def wait(self, prompt: str, timeout: float = 120) -> Result:
        """Wait until a queued prompt has ended, well or not."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            history = self.json(f"/history/{prompt}")
            if prompt in history:
                return Result(self, history[prompt])
            time.sleep(0.02)
        raise TimeoutError(
            f"prompt {prompt} did not end in {timeout} s. The end of {self.log}:\n{self.log_text()[-2000:]}"
        )

    def run(self, graph: Graph, timeout: float = 120) -> Result:
        """Queue a workflow and wait for its end."""
        return self.wait(self.queue(graph), timeout)

    def interrupt(self) -> None:
        """What the front end's Cancel button sends."""
        self.request("/interrupt", {})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
