"""Live maps: what the concepts say while a sampler runs, for explorers that wait for its end.

A frame is a few kilobytes: every concept's share in the first picture, the mean of the steps so far. Frames go to the
client that queued the run, through ComfyUI's own socket, at most ten a second, and only where previews are on: who
wants no preview pictures wants no maps either. Nothing here can end a run or change it: numbers are read on the CPU.
"""

from __future__ import annotations

import base64
import logging
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from comfy.cli_args import LatentPreviewMethod, args
from comfy_execution.utils import get_executing_context
from torch import Tensor

from ...maps import select_blocks
from ...pictures.colors import concept_colors
from ...record import Recorder

EVENT = "concept_attention.live"
SECONDS = 0.1
"""Between two frames."""

SHARE = 0.01
"""Of a run's time that live maps may take: quick steps are shown now and then."""

MESSAGE_BYTES = 45 * 1024
"""Before base64 makes a third more of them."""


@dataclass
class LiveMaps:
    """The frames of one run. recorder: what it has recorded so far. node: which node prepared the model."""

    recorder: Recorder
    node: str | None = None
    _sum: Tensor | None = None
    _steps: int = 0
    _seen: float | None = None
    _sent: float = -SECONDS
    _spent: float = 0.0
    _began: float = field(default_factory=lambda: time.monotonic())

    def step(self, number: int, total: int) -> None:
        """A sampler's step has ended. Sends a frame, if one is due and somebody looks."""
        try:
            server, start = listening(), time.monotonic()
            if server is None or self._spent > SHARE * (start - self._began):
                return
            self._add()
            if self._sum is not None and start - self._sent >= SECONDS:
                self._sent = start
                server.send_sync(EVENT, self.frame(number, total), server.client_id)
            self._spent += time.monotonic() - start
        except Exception:
            logging.warning("Concept Attention shows no live maps of this run.", exc_info=True)

    def _add(self) -> None:
        """Take the newest step's shares into the mean."""
        latest = self.recorder.latest()
        if latest is None or latest[0] == self._seen:
            return
        self._seen, blocks, scores = latest
        chosen = select_blocks(blocks, *self.recorder.frame.default_blocks)
        first = scores[chosen, 0] if scores.ndim == 5 else scores[chosen, 0, :, 0]  # of a video its first frame
        shares = (first / self.recorder.frame.temperature).softmax(dim=1).mean(dim=0)
        self._sum = shares if self._sum is None else self._sum + shares
        self._steps += 1

    def frame(self, number: int, total: int) -> dict[str, Any]:
        """Plain data: whose run it is, and ``(C, h, w)`` bytes of shares, made smaller until they fit."""
        assert self._sum is not None
        shares = self._sum / self._steps
        while shares.numel() > MESSAGE_BYTES and min(shares.shape[1:]) > 1:
            shares = torch.nn.functional.avg_pool2d(shares, 2)
        context, concepts = get_executing_context(), self.recorder.concepts
        return {
            "node": context.node_id if context else None,
            "prepared_by": self.node,
            "prompt_id": context.prompt_id if context else None,
            "step": number + 1,
            "steps": total,
            "names": concepts.names,
            "background": concepts.background_count,
            "colors": (concept_colors(len(concepts.names), concepts.background_count) * 255).round().int().tolist(),
            "grid": list(shares.shape[1:]),
            "maps": base64.b64encode((shares * 255).round().to(torch.uint8).numpy().tobytes()).decode(),
        }


def listening() -> Any:
    """The server, where a client waits for this run and wants to see it; else None."""
    from server import PromptServer  # ComfyUI's; late, since a script that uses ComfyUI as a library has none

    from .routes import SHELF

    server = getattr(PromptServer, "instance", None)
    if server is None or server.client_id is None or args.preview_method == LatentPreviewMethod.NoPreviews:
        return None
    shelf = server.app.get(SHELF)
    return server if shelf is not None and shelf.live(server.client_id) else None
