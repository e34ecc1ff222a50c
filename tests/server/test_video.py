"""Models that are no Flux, in a whole server: videos to their heat-map files and masks, SDXL to a mask."""

from __future__ import annotations

from io import BytesIO

import av
import numpy as np
import pytest

from tools.server.comfy_server import Graph, Node, Server

pytestmark = pytest.mark.server

BLOCKS = {"first_block": -65, "last_block": -65, "softmax_temperature": 1.0, "reading": "paper"}


def sampled(graph: Graph, kind: str, latent: Node, projection: str) -> tuple[Node, Node]:
    """Loader, prompt, Apply and sampler: the record's node and the sampler's."""
    loader = graph.add("TestTinyModel", kind=kind)
    prompt = graph.add("CLIPTextEncode", clip=loader[1], text="a boat on the sea")
    settings = {"background": "background", "token_pooling": "mean", "projection": projection}
    settings |= {"start_percent": 0.0, "end_percent": 1.0, "concepts": "boat, sea"}
    apply = graph.add("ConceptAttentionApply", model=loader[0], clip=loader[1], **settings)
    sockets = {"model": apply[0], "positive": prompt[0], "negative": prompt[0], "latent_image": latent[0]}
    settings = {"seed": 1, "steps": 2, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    return apply, graph.add("KSampler", **sockets, **settings)


def mask_of(graph: Graph, apply: Node, sampler: Node) -> Node:
    plain = {"grow": 0, "blur": 0, "fill_holes": False, "min_area": 0.0, "invert": False, "refine_edges": False}
    choices = {"concept": "boat", "method": "argmax", "keep": "all", "min_presence": 0.0}
    sockets = {"maps": apply[1], "samples": sampler[0]}
    mask = graph.add("ConceptAttentionMask", **sockets, **plain, **choices, **BLOCKS)
    return graph.add("MaskPreview", mask=mask[0])


@pytest.mark.parametrize(("kind", "projection"), [("cogvideo", "output"), ("wan", "gram")])
def test_a_video_to_its_heat_map_file(server: Server, kind: str, projection: str) -> None:
    graph = Graph()
    latent = graph.add("EmptyHunyuanLatentVideo", width=96, height=64, length=9, batch_size=1)
    apply, sampler = sampled(graph, kind, latent, projection)
    videos = []
    for layout, concept in (("pictures", "boat"), ("overlay", ""), ("grid", "")):
        style = {"layout": layout, "colors": "heat", "scale": "shared", "alpha": 0.6}
        sockets = {"maps": apply[1], "samples": sampler[0]}
        drawn = graph.add("ConceptAttentionHeatmap", concept=concept, **sockets, **style, **BLOCKS)
        video = graph.add("CreateVideo", images=drawn[0], fps=16)
        videos.append(graph.add("SaveVideo", video=video[0], filename_prefix="maps", format="mp4", codec="h264"))
    mask = mask_of(graph, apply, sampler)
    result = server.run(graph)
    assert result.ok, result.error

    masks = result.pictures(mask)
    assert masks.shape == (9, 64, 96, 3) and set(np.unique(masks)) <= {0, 255}
    for video in videos:
        (file,) = result.files(video)
        with av.open(BytesIO(file)) as opened:
            pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in opened.decode(video=0)])
        assert len(pictures) == 9 and pictures.shape[2] >= 96
        assert np.abs(np.diff(pictures.astype(int), axis=0)).mean() > 0.5  # it moves


def test_sdxl_to_a_mask(server: Server) -> None:
    graph = Graph()
    latent = graph.add("EmptyLatentImage", width=128, height=96, batch_size=1)
    mask = mask_of(graph, *sampled(graph, "sdxl", latent, "cross_attention"))
    result = server.run(graph)
    assert result.ok, result.error
    assert result.pictures(mask).shape == (1, 96, 128, 3)
