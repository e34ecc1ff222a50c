"""The pictures of a boat that crosses the sea, which a workflow of the pack loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageSequence

from conceptattention_core.evaluate.datasets.scenes.scenes import HELD_OUT
from tools.demo.voyage import crossing

SHIPPED = Path(__file__).resolve().parents[2] / "workflows" / "input" / "concept_attention_voyage.webp"


def test_the_boat_crosses_and_the_pack_has_it() -> None:
    pictures, labels = crossing(12, HELD_OUT)
    middles = [float(np.nonzero(one == 1)[1].mean()) for one in labels]
    assert np.all(np.diff(middles) > 5) and middles[0] < 80 and middles[-1] > 176
    assert all({1, 2, 3} == set(np.unique(one)) for one in labels)
    with Image.open(SHIPPED) as file:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(file)]
    assert torch.equal(torch.from_numpy(np.stack(frames)), (pictures * 255).round().byte())
