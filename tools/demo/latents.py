"""Stage 2: draw many scenes and keep their latents and words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import captions
from ..scenes import scene
from . import common
from .train_vae import normalised
from .vae import Autoencoder

CHUNK = 1000
FIRST_SEED = 10_000_000


@dataclass(frozen=True)
class LatentSet:
    """Model-side latents (N, 16, h, w) in half precision, and for each scene its (objects, grounds, sky)."""

    latents: Tensor
    words: list[tuple[list[str], list[str], str]]

    def captions(self, rng: np.random.Generator, rows: np.ndarray) -> list[str]:
        return [captions.caption(rng, *self.words[row]) for row in rows]


@torch.no_grad()
def latent_set(folder: Path, model: Autoencoder, size: int, count: int) -> LatentSet:
    """Latents of `count` scenes at `size` pixels, drawn in chunks that are kept in `folder`.

    Each size has scenes of its own, so that the full-size phase sees new ones.
    """
    device = common.device()
    model = model.to(device, memory_format=torch.channels_last)
    parts = []
    for start in range(0, count, CHUNK):
        path = folder / f"latents-{size}-{start}.pt"
        if not path.exists():
            first = FIRST_SEED + size * 1_000_000 + start
            scenes = [scene(seed, size) for seed in range(first, first + CHUNK)]
            images = torch.from_numpy(np.stack([one.image for one in scenes])).permute(0, 3, 1, 2)
            latents = torch.cat([_encoded(model, batch.to(device)) for batch in images.split(20)])
            words = [[list(one.objects), list(one.grounds), one.sky] for one in scenes]
            common.save(path, latents=latents, words=words)
            print(f"latents {size} px: {start + CHUNK}/{count}, std {latents.float().std():.3f}", flush=True)
        parts.append(common.load(path))
    model.to("cpu")
    return LatentSet(
        torch.cat([part["latents"] for part in parts])[:count],
        [words for part in parts for words in part["words"]][:count],
    )


def _encoded(model: Autoencoder, images: Tensor) -> Tensor:
    images = normalised(images).to(memory_format=torch.channels_last)
    with torch.autocast(images.device.type, dtype=torch.bfloat16):
        return model.encode(images).half().cpu()
