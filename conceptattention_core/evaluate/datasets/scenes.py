"""`scenes`: the cartoons that the demo model learnt from, drawn from seeds that it never saw."""

from __future__ import annotations

import numpy as np

from . import Dataset, Sample


def open_scenes(count: int, size: int, first: int = 1000) -> Dataset:
    """`count` held-out scenes of `size` pixels. Things that are drawn but named nowhere are unlabelled.

    first: offset into the held-out seeds; 1000 is where `tools/benchmark_quality.py` begins, too.
    Raises ValueError outside of a clone of the repository: the generator is not part of the installed package.
    """
    try:
        from tools.scenes import HELD_OUT, scene
    except ImportError as error:
        raise ValueError(
            "The scenes are drawn by tools/scenes.py, which is in a clone of the repository and not in the installed "
            "package: run this command in the clone's folder."
        ) from error
    from ..metrics import UNLABELLED

    def load(key: str) -> Sample:
        one = scene(int(key), size)
        labels = np.where(one.labels == 0, UNLABELLED, one.labels.astype(np.int16)).astype(np.int16)
        return Sample(one.image.copy(), labels, one.names, one.caption)

    return Dataset("scenes", tuple(str(HELD_OUT + first + index) for index in range(count)), load)
