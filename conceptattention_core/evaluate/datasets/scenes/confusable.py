"""Scenes with two things that are easily taken for one another: of one shape, or of one family of nouns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .scenes import KINDS, SKIES, Band, Kind, Scene, Thing, choose_bands, overlap, paint, place

ALIKE = (
    ("tree", "palm tree"),
    ("house", "lighthouse"),
    ("house", "windmill"),
    ("lighthouse", "windmill"),
    ("sun", "balloon"),
    ("sun", "ball"),
    ("balloon", "ball"),
)
"""Pairs that the demo model knows both of. The first four are of a family of nouns, the last three are round."""


def confusable_scene(seed: int, size: int = 256) -> Scene:
    """The scene of this seed: one of the pairs, one thing in each half of the picture, and nothing else on the ground.

    Its caption names everything, the left thing first. The same composition at every size.
    """
    rng = np.random.default_rng(seed)
    names = rng.permutation(ALIKE[rng.integers(len(ALIKE))])
    left, right = (next(kind for kind in KINDS if kind.name == name) for name in names)
    skies = [sky for sky in SKIES if sky in left.skies and sky in right.skies]
    while True:
        sky, bands = str(rng.choice(skies)), choose_bands(rng)
        pair = _pair(rng, left, right, sky, bands)
        if pair is None:
            continue
        made = paint(seed, size, rng, sky, bands, pair)
        if set(names) <= set(made.objects):
            objects = (left.name, right.name)
            return replace(made, caption=", ".join([*objects, *made.grounds, made.sky]))


def _pair(rng: np.random.Generator, left: Kind, right: Kind, sky: str, bands: tuple[Band, ...]) -> list[Thing] | None:
    """Both things in their halves, or None where this setting has no place for them."""
    stands = {sky, *(band.name for band in bands)}
    if not (stands & set(left.on) and stands & set(right.on)):
        return None
    for _ in range(50):
        one, other = (place(rng, kind, sky, bands) for kind in (left, right))
        if one and other and one.box[2] <= 0.55 and other.box[0] >= 0.45 and overlap(one, other) == 0:
            return [one, other]
    return None
