"""The benchmark of what might go beyond `auto`: its truth, and its arithmetic."""

from __future__ import annotations

import numpy as np
import torch

from conceptattention_core.evaluate.datasets.scenes.scenes import scene
from conceptattention_core.maps import ConceptAttentionMaps
from tools.benchmarks.beyond.cases import TUNING_FIRST, Case, labels_of, words_of
from tools.benchmarks.beyond.judge import Tally, compared


def test_labels_follow_the_words() -> None:
    one = scene(TUNING_FIRST + 1)
    objects = words_of(one, "objects")
    labels = labels_of(one, objects)
    assert np.array_equal(labels == len(objects), (one.labels == 0) | (one.labels > len(one.objects)))
    mixed = words_of(one, "absent")
    for label, name in enumerate(one.names, start=1):
        assert np.array_equal(labels_of(one, mixed) == mixed.index(name) + 1, one.labels == label)


def test_a_gain_is_over_all_scenes_of_a_noun_and_then_over_nouns() -> None:
    """Sky: 2 pixels of a union of 8, then all 6. House: none of 2, then both."""
    labels = np.array([[1, 1, 1, 2], [1, 1, 1, 2]])
    maps = ConceptAttentionMaps(torch.zeros(1, 1, 1, 2, 1, 1), ("sky", "house"), 0, (0,), (0.5,), (2, 4))
    case = Case(maps, {}, labels, torch.zeros(1, 2, 4, 3))
    right = torch.from_numpy(np.stack([labels == 1, labels == 2])).float()[None]
    wrong = 1 - right
    wrong[..., 0] = right[..., 0]
    base, better = Tally(), Tally()
    for _ in range(3):
        base.add(wrong, case)
        better.add(right, case)
    sky = 100 * 2 / 8
    assert compared(base, base) == f"{sky / 2:.1f}"
    assert compared(better, base) == f"100.0 ({100 - sky / 2:+.1f} [{100 - sky / 2:.1f}, {100 - sky / 2:.1f}])"
