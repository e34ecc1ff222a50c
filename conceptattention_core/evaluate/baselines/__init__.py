"""Baselines: what other models make of the same picture, by published methods. A model a file.

`attention.py` has the formulas, `load.py` the options and the choice of rows. Weights are the user's own, through
transformers' own models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ...concepts import join_concepts
from ..datasets import Sample
from ..metrics import Counts
from ..protocol import Protocol, count_sample
from .attention import stretch

ReadMap = Callable[[np.ndarray, Sequence[str]], Tensor]
"""A picture ``(H, W, 3)`` uint8 and C names -> ``(C, h, w)`` float32 over the whole picture, any scale."""


@dataclass(frozen=True)
class Baseline:
    """One row of the table, judged by `protocol`.

    name: in the table. kind: of the method. model: folder or hub name. weights: their digest. side: of the square to
    which pictures are squeezed for it, in pixels.
    """

    name: str
    kind: str
    model: str
    weights: str
    side: int
    protocol: Protocol
    read: ReadMap

    def describe(self) -> dict[str, Any]:
        """Its settings as plain data."""
        return {"baseline": self.kind, "model": self.model, "weights": self.weights, "side": self.side}

    def count(self, sample: Sample) -> Counts:
        """One picture's part in the measures, by the same rules as of every other row.

        Where the mask is the map's own mean only the object's own map is made, cut at 0 and stretched over 0..1, as the
        papers do. Where names compete the strongest wins, by the signed values: cut at 0 most places would be ties.
        Values that compete are no shares, so there is no average precision of them and no leakage.
        """
        alone = stands_alone(self.protocol)
        names = sample.names if alone else join_concepts(sample.names, self.protocol.background)[0]
        coarse = self.read(sample.image, names)
        return count_sample(stretch(coarse) if alone else coarse, sample, self.protocol, is_share=alone)


def stands_alone(protocol: Protocol) -> bool:
    """Whether a map is judged without others: then it need not know any names."""
    return protocol.binary and protocol.mask == "mean"
