"""Stage 3: draw many pictures and keep their latents, words and layouts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import reduce
from torch import Tensor

from ...conceptattention_core.evaluate.datasets.scenes import captions
from ...conceptattention_core.evaluate.datasets.scenes.scenes import NOUNS, scene
from . import common
from .train_vae import normalised
from .vae import Autoencoder

SIZE = 256
CHUNK = 1000
FIRST_SEED = 266_000_000
PATCH = 16
"""Side of an image token in pixels."""
LEAST_IN_WINDOW = 0.02
"""What covers less of a window than this is not named in its caption."""

Words = tuple[list[str], list[str], str]


@dataclass(frozen=True)
class LatentSet:
    """Model-side latents (N, 16, h, w) in half precision, and for each picture its (objects, grounds, sky).

    layouts: (N, h / 2, w / 2, 1 + nouns) uint8, how much of each image token belongs to "other" and to each of
    `NOUNS`, 255 = all of it.
    """

    latents: Tensor
    words: list[Words]
    layouts: Tensor

    def captions(self, rng: np.random.Generator, rows: np.ndarray) -> list[str]:
        return [captions.caption(rng, *self.words[row]) for row in rows]

    def window(self, rng: np.random.Generator, row: int, side: int) -> tuple[tuple[int, int], str]:
        """A window of `side` tokens round one of the picture's objects: its corner (row, column), and a caption.

        The caption names what is to be seen in the window.
        """
        objects, grounds, sky = self.words[row]
        layout = self.layouts[row].numpy() / 255.0
        most = layout.shape[0] - side
        if objects:
            weights = layout[..., NOUNS.index(objects[rng.integers(len(objects))]) + 1]
            centre = [(weights * axis).sum() / weights.sum() for axis in np.indices(weights.shape)]
            corner = [int(np.clip(round(c - side / 2 + rng.uniform(-1.5, 1.5)), 0, most)) for c in centre]
        else:
            corner = [int(rng.integers(most + 1)) for _ in range(2)]
        top, left = corner
        share = layout[top : top + side, left : left + side].mean(axis=(0, 1))
        shown = {name for name, part in zip(NOUNS, share[1:], strict=True) if part >= LEAST_IN_WINDOW}
        named = [[name for name in names if name in shown] for names in (objects, grounds)]
        return (top, left), captions.caption(rng, *named, sky if sky in shown else "")


def latent_set(folder: Path, model: Autoencoder, count: int) -> LatentSet:
    """Latents of `count` scenes, in chunks that are kept in `folder`."""
    device = common.device()
    model = model.to(device, memory_format=torch.channels_last)
    encode, parts = common.compiled(model.encode), []
    for start in range(0, count, CHUNK):
        path = folder / f"latents-{start}.pt"
        if not path.exists():
            scenes = [scene(FIRST_SEED + start + index, SIZE) for index in range(CHUNK)]
            images = torch.from_numpy(np.stack([one.image for one in scenes])).permute(0, 3, 1, 2)
            latents = torch.cat([_encoded(encode, batch.to(device)) for batch in images.split(20)])
            common.save(
                path,
                latents=latents,
                words=[[list(one.objects), list(one.grounds), one.sky] for one in scenes],
                layouts=torch.from_numpy(np.stack([layout(one.labels, one.names) for one in scenes])),
            )
            print(f"latents {start + CHUNK}/{count}, std {latents.float().std():.3f}", flush=True)
        parts.append(common.load(path))
    model.to("cpu")
    words = [words for part in parts for words in part["words"]]
    latents, layouts = (torch.cat([part[name] for part in parts])[:count] for name in ("latents", "layouts"))
    return LatentSet(latents, words[:count], layouts)


def layout(labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """How much of each token every noun covers, `(h / 16, w / 16, 1 + nouns)` uint8 up to 255.

    labels: `(h, w)`, label k for `names[k - 1]`, 0 for "other".
    """
    noun_of = np.array([0, *(NOUNS.index(name) + 1 for name in names)])
    nouns = np.eye(len(NOUNS) + 1, dtype=np.float32)[noun_of[labels]]
    return (255 * reduce(nouns, "(h p) (w q) n -> h w n", "mean", p=PATCH, q=PATCH)).round().astype(np.uint8)


@torch.no_grad()
def _encoded(encode: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    images = normalised(images).to(memory_format=torch.channels_last)
    with torch.autocast(images.device.type, dtype=torch.bfloat16):
        return encode(images).half().cpu()
