"""Concept Select in ComfyUI: a click on a picture that the demo model has painted, and what it may not be given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from conceptattention_core.evaluate.datasets.scenes.scenes import scene

from .test_mask_node import Host, demo_graph, host, node  # noqa: F401


@pytest.fixture(scope="module")
def made(host: Host) -> dict[str, Any]:  # noqa: F811
    """A run of two pictures: its maps, the pictures, and a selection in the second one by API inputs."""
    graph = demo_graph()
    wires = {"maps": ["apply", 1], "samples": ["sample", 0], "image": ["picture", 0]}
    chosen = {"points": "0.5, 0.05", "negative_points": '[{"x": 80, "y": 90}]', "tolerance": 0.5, "batch_index": 1}
    graph["select"] = node("ConceptAttentionSelect", **wires, **chosen)
    graph |= {f"kept {name}": node("TestKeep", value=["select", at]) for at, name in enumerate(("select", "film"))}
    return {**host.run(graph), "chosen": chosen}


def test_what_is_clicked_in_a_run(made: dict[str, Any], pack: dict[str, Any]) -> None:
    """The mask is of the second picture, holds the point and not the refused one, however the node is asked."""
    mask, maps, pictures = made["kept select"], made["kept maps"], made["kept picture"]
    assert mask.shape == (1, *pictures.shape[1:3]) and mask[0, 4, 80] == 1 and mask[0, 90, 80] == 0
    assert made["kept film"].shape == (1, *pictures.shape[1:])
    select = pack["ConceptAttentionSelect"]
    assert torch.equal(select.execute(maps, image=pictures, **made["chosen"])[0], mask)
    alone = {"image": pictures[1:], "points": "0.5, 0.05", "negative_points": "80, 90"}
    assert torch.equal(select.execute(maps.picture(1), **alone)[0], mask)


@torch.inference_mode()
def test_things_of_drawn_scenes(pack: dict[str, Any]) -> None:
    """One click in the middle of what is drawn, as the scene's own label map has it."""
    model, clip, vae = pack["ConceptAttentionDemoModel"].execute().args[:3]
    overlaps = []
    for seed in range(500_300_000, 500_300_006):
        one = scene(seed)
        image = torch.from_numpy(one.image.copy()).float()[None] / 255
        looked = {"concepts": "ball, road", "prompt": one.caption, "noise_level": 0.3}
        made = pack["ConceptAttentionFromImage"].execute(model=model, clip=clip, vae=vae, image=image, **looked)
        truth = one.labels == 1
        inside = distance_transform_edt(truth)
        y, x = np.unravel_index(inside.argmax(), inside.shape)
        mask = pack["ConceptAttentionSelect"].execute(made[0], points=f"{x}, {y}", image=image)[0][0].numpy() > 0
        overlaps.append((mask & truth).sum() / (mask | truth).sum())
    assert np.median(overlaps) > 0.8, overlaps


def test_saved_maps_select_alike(made: dict[str, Any], pack: dict[str, Any], tmp_path: Path) -> None:
    from conceptattention_core.storage import load_maps, save_maps

    save_maps(made["kept maps"], tmp_path / "maps.safetensors")
    back = load_maps(tmp_path / "maps.safetensors")
    again = pack["ConceptAttentionSelect"].execute(back, image=made["kept picture"], **made["chosen"])[0]
    assert torch.equal(again, made["kept select"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": ""}, "No point says what to select"),
        ({"points": "5000, 3"}, r"`points` holds \(5000, 3\), outside of a picture"),
        ({"negative_points": "here"}, "`negative_points` reads"),
        ({"batch_index": 2}, "There is no picture 2: `maps` holds 2"),
        ({"tolerance": 0}, "tolerance"),
        ({"maps": "saved by an earlier version"}, "hold no features"),
    ],
)
def test_clear_errors(made: dict[str, Any], pack: dict[str, Any], change: dict[str, Any], message: str) -> None:
    maps = made["kept maps"]
    given = {"maps": maps, "image": made["kept picture"], **made["chosen"], **change}
    if "maps" in change:
        given["maps"] = replace(maps, features=None)
    with pytest.raises(ValueError, match=message):
        pack["ConceptAttentionSelect"].execute(**given)
