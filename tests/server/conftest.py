"""Whole ComfyUI servers, and the graphs that the tests send them.

This folder is no package: it would take the name of ComfyUI's own `server` module.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.server.comfy_server import Graph, Node, Result, Server, Socket

COMFYUI = Path(os.environ.get("COMFYUI_PATH", Path(__file__).resolve().parents[2] / ".comfyui" / "ComfyUI"))
MODES = {"default": (), "cache-none": ("--cache-none",), "cache-lru-2": ("--cache-lru", "2")}


class Workflow(Graph):
    """A small workflow on the demo model: load, prompt, any number of Apply, samplers and readers. No step is slow."""

    def __init__(self, size: int = 128, prompt: str = "a house on the grass under the sky") -> None:
        super().__init__()
        self.loader = self.add("ConceptAttentionDemoModel")
        self.prompt = self.add("CLIPTextEncode", clip=self.loader[1], text=prompt)
        self.latent = self.add("EmptySD3LatentImage", width=size, height=size, batch_size=1)
        self.readers: list[tuple[Node, Node, Node]] = []

    def apply(self, concepts: str = "house, grass, sky", model: Socket | None = None, **settings: Any) -> Node:
        """Apply Concept Attention: outputs are the model and the record."""
        defaults = {"background": "background", "token_pooling": "mean", "projection": "output"}
        defaults |= {"start_percent": 0.0, "end_percent": 1.0}
        sockets = {"model": model or self.loader[0], "clip": self.loader[1]}
        return self.add("ConceptAttentionApply", concepts=concepts, **sockets, **{**defaults, **settings})

    def sample(self, model: Socket, seed: int = 1, steps: int = 2) -> Node:
        sockets = {"positive": self.prompt[0], "negative": self.prompt[0], "latent_image": self.latent[0]}
        settings = {"cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
        return self.add("KSampler", model=model, seed=seed, steps=steps, **sockets, **settings)

    def sample_advanced(self, model: Socket, seed: int = 1, steps: int = 2) -> Node:
        """SamplerCustomAdvanced: outputs are the sample and the last denoised estimate."""
        return self.add(
            "SamplerCustomAdvanced",
            noise=self.add("RandomNoise", noise_seed=seed)[0],
            guider=self.add("BasicGuider", model=model, conditioning=self.prompt[0])[0],
            sampler=self.add("KSamplerSelect", sampler_name="euler")[0],
            sigmas=self.add("BasicScheduler", model=model, scheduler="simple", steps=steps, denoise=1.0)[0],
            latent_image=self.latent[0],
        )

    def decode(self, samples: Socket) -> Node:
        return self.add("VAEDecode", samples=samples, vae=self.loader[2])

    def read(self, attention: Socket, samples: Socket, concept: str = "", **settings: Any) -> int:
        """Concept Attention with previews of its pictures. Returns the reader's number, for `maps`."""
        defaults = {"threshold": 0.5, "softness": 0.1, "first_block": -10, "last_block": -1, "softmax_temperature": 1.0}
        reader = self.add(
            "ConceptAttention",
            concept_attention=attention,
            samples=samples,
            concept=concept,
            **{**defaults, **settings},
        )
        mask, heatmap, overlay = (reader[index] for index in range(3))
        previews = (
            self.add("MaskPreview", mask=mask),
            self.add("PreviewImage", images=heatmap),
            self.add("PreviewImage", images=overlay),
        )
        self.readers.append(previews)
        return len(self.readers) - 1

    def maps(self, result: Result, reader: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A reader's mask, heat map and overlay, each ``(B, H, W, 3)`` uint8."""
        mask, heatmap, overlay = (result.pictures(node) for node in self.readers[reader])
        return mask, heatmap, overlay


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start a server with these flags, or get the one that was. All of them stop when the tests have ended."""
    assert (COMFYUI / "main.py").is_file(), f"no ComfyUI in {COMFYUI}; `python3 dev.py test` sets COMFYUI_PATH"
    with ExitStack() as servers:

        @cache
        def started(*flags: str) -> Server:
            folder = tmp_path_factory.mktemp("comfyui")
            # Without metadata two files are equal when their pictures are.
            helpers = Path(__file__).parent / "helper_nodes"
            return servers.enter_context(Server(COMFYUI, folder, "--disable-metadata", *flags, packs=[helpers]))

        yield started


@pytest.fixture(scope="session")
def server(start: Callable[..., Server]) -> Server:
    """A server as a user starts it."""
    return start()


@pytest.fixture(scope="session", params=list(MODES))
def any_server(request: pytest.FixtureRequest, start: Callable[..., Server]) -> Server:
    """A server with each way of caching node outputs."""
    return start(*MODES[request.param])


@pytest.fixture
def workflow() -> type[Workflow]:
    return Workflow


@pytest.fixture(scope="session")
def expected(server: Server) -> Callable[..., tuple[np.ndarray, ...]]:
    """The maps of a run that has nothing to do with any other: its own Apply, one sampler, one reader."""

    @cache
    def maps(concepts: str = "house, grass, sky", seed: int = 1, **settings: Any) -> tuple[np.ndarray, ...]:
        graph = Workflow()
        # This node does nothing, but through it no node below shares a cached output with the test's own graph.
        own_model = graph.add("TestModelCheckpoint", model=graph.loader[0], fail_at=0)
        apply = graph.apply(concepts, own_model[0])
        reader = graph.read(apply[1], graph.sample(apply[0], seed)[0], **settings)
        result = server.run(graph)
        assert result.ok, result.error
        return graph.maps(result, reader)

    return maps
