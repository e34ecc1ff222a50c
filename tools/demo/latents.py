"""Stage 3: draw many pictures and keep their latents, words and layouts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import reduce
from torch import Tensor

from .. import captions
from ..scenes import NOUNS, Scene, scene
from . import common
from .train_vae import normalised
from .vae import Autoencoder

SIZES = {"small": 128, "closeup": 128, "full": 256}
"""Kinds of pictures: whole scenes drawn small, windows of full-size scenes round an object, whole scenes."""

CHUNK = 1000
FIRST_SEED = {"small": 138_000_000, "closeup": 400_000_000, "full": 266_000_000}
LEAST_IN_WINDOW = 0.02
PATCH = 16
"""Side of an image token in pixels."""

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


def latent_set(folder: Path, model: Autoencoder, kind: str, count: int) -> LatentSet:
    """Latents of `count` pictures of a kind, each kind from scenes of its own, in chunks that are kept in `folder`."""
    device = common.device()
    model = model.to(device, memory_format=torch.channels_last)
    encode, parts = common.compiled(model.encode), []
    for start in range(0, count, CHUNK):
        path = folder / f"latents-{kind}-{start}.pt"
        if not path.exists():
            drawn = _pictures(kind, FIRST_SEED[kind] + start)
            pictures, words, layouts = zip(*(next(drawn) for _ in range(CHUNK)), strict=True)
            images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
            latents = torch.cat([_encoded(encode, batch.to(device)) for batch in images.split(20)])
            common.save(
                path,
                latents=latents,
                words=[list(one) for one in words],
                layouts=torch.from_numpy(np.stack(layouts)),
            )
            print(f"latents {kind}: {start + CHUNK}/{count}, std {latents.float().std():.3f}", flush=True)
        parts.append(common.load(path))
    model.to("cpu")
    words = [words for part in parts for words in part["words"]]
    latents, layouts = (torch.cat([part[name] for part in parts])[:count] for name in ("latents", "layouts"))
    return LatentSet(latents, words[:count], layouts)


def _pictures(kind: str, seed: int) -> Iterator[tuple[np.ndarray, Words, np.ndarray]]:
    """Endless pictures `(size, size, 3)` with their words and layouts."""
    while True:
        if kind == "closeup":
            yield from closeups(scene(seed), SIZES[kind])
        else:
            one = scene(seed, SIZES[kind])
            yield one.image, (list(one.objects), list(one.grounds), one.sky), layout(one.labels, one.names)
        seed += 1


def layout(labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """How much of each token every noun covers, `(h / 16, w / 16, 1 + nouns)` uint8 up to 255.

    labels: `(h, w)`, label k for `names[k - 1]`, 0 for "other".
    """
    noun_of = np.array([0, *(NOUNS.index(name) + 1 for name in names)])
    nouns = np.eye(len(NOUNS) + 1, dtype=np.float32)[noun_of[labels]]
    return (255 * reduce(nouns, "(h p) (w q) n -> h w n", "mean", p=PATCH, q=PATCH)).round().astype(np.uint8)


def closeups(one: Scene, size: int) -> Iterator[tuple[np.ndarray, Words, np.ndarray]]:
    """A window of `size` pixels round every object, named after what is to be seen in it."""
    rng = np.random.default_rng(one.seed)
    for index in range(len(one.objects)):
        rows, columns = np.nonzero(one.labels == index + 1)
        most = one.labels.shape[0] - size
        top = int(np.clip(rows.mean() - size / 2 + rng.integers(-24, 25), 0, most))
        left = int(np.clip(columns.mean() - size / 2 + rng.integers(-24, 25), 0, most))
        window = one.labels[top : top + size, left : left + size]
        share = np.bincount(window.ravel(), minlength=len(one.names) + 1)[1:] / window.size
        seen = {name for name, part in zip(one.names, share, strict=True) if part >= LEAST_IN_WINDOW}
        objects, grounds = ([name for name in names if name in seen] for names in (one.objects, one.grounds))
        picture = one.image[top : top + size, left : left + size]
        yield picture, (objects, grounds, one.sky if one.sky in seen else ""), layout(window, one.names)


@torch.no_grad()
def _encoded(encode: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    images = normalised(images).to(memory_format=torch.channels_last)
    with torch.autocast(images.device.type, dtype=torch.bfloat16):
        return encode(images).half().cpu()
