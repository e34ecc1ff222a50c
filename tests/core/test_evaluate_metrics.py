"""The evaluation's measures, against answers worked out by hand and against their definitions."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from conceptattention_core.evaluate.datasets import Sample
from conceptattention_core.evaluate.method import Method
from conceptattention_core.evaluate.metrics import (
    UNLABELLED,
    Counts,
    Totals,
    average_precision,
    count_pixels,
    leakage_of,
    paper_miou,
    two_channel_average_precision,
)
from conceptattention_core.evaluate.protocol import PAPER, Protocol, count_sample, resize_labels
from conceptattention_core.evaluate.published import IMAGENET
from conceptattention_core.maps import ConceptAttentionMaps


@pytest.mark.parametrize(
    "scores, truth, expected",
    [
        ([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0], 1 / 2 * 1 + 1 / 2 * 2 / 3),
        ([0.5, 0.5, 0.1], [1, 0, 1], 1 / 2 * 1 / 2 + 1 / 2 * 2 / 3),  # equal scores are one threshold
        ([0.1, 0.5, 0.5], [1, 1, 0], 1 / 2 * 1 / 2 + 1 / 2 * 2 / 3),  # in any order
        ([-3.0, -2.0], [0, 1], 1.0),
        ([1.0, 2.0], [0, 0], 0.0),
    ],
)
def test_average_precision(scores: list[float], truth: list[int], expected: float) -> None:
    assert average_precision(np.array(scores), np.array(truth, dtype=bool)) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30))
def test_average_precision_is_its_definition(pairs: list[tuple[int, bool]]) -> None:
    truth = [true for _, true in pairs]
    steps = [(0.0, 1.0)]
    for threshold in sorted({score for score, _ in pairs}, reverse=True):
        found = [true for score, true in pairs if score >= threshold]
        steps.append((sum(found) / max(sum(truth), 1), sum(found) / len(found)))
    area = sum((recall - before) * precision for (before, _), (recall, precision) in pairwise(steps))
    got = average_precision(np.array([float(score) for score, _ in pairs]), np.array(truth))
    assert got == pytest.approx(area, abs=1e-12)


def test_two_channels() -> None:
    """Ranked together: 0.8 of not-truth (right), 0.6 of not-truth (wrong), 0.4 of the map (right), 0.2 (wrong)."""
    got = two_channel_average_precision(np.array([0.4, 0.2]), np.array([True, False]))
    assert got == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)


def test_accuracy_and_true_miou() -> None:
    labels = np.array([[0, 0, 1], [1, 2, UNLABELLED]])
    first = count_pixels(np.array([[0, 1, 1], [1, 1, 2]]), labels, ["background", "cat", "dog"], 0.5)
    assert first == Counts(3, 5, {"background": (1, 2), "cat": (2, 4), "dog": (0, 1)}, 0.5)
    second = count_pixels(np.full((2, 2), 2), np.full((2, 2), 2), ["background", "cat", "dog"], 1.0)
    total = Totals()
    total.add(first)
    total.add(second)
    assert (total.pictures, total.accuracy, total.mean_average_precision) == (2, 7 / 9, 0.75)
    assert total.class_iou == {"background": 1 / 2, "cat": 2 / 4, "dog": 4 / 5}
    assert total.true_miou == pytest.approx((0.5 + 0.5 + 0.8) / 3)
    assert Counts.from_json(first.to_json()) == first


@pytest.mark.parametrize(
    "labels, expected",
    [
        # the cat's mass is 4 + 2 + 1 + 1, of which 2 lies on the dog; the dog's is 2 + 6 + 1 + 1, of which 2 on the cat
        ([[1, 2], [0, UNLABELLED]], (2 / 8 + 2 / 10) / 2),
        ([[1, 2], [2, 1]], ((2 + 1) / 8 + (2 + 1) / 10) / 2),
        ([[1, 1], [0, 0]], None),  # nothing of the other is there to leak into
        ([[0, 0], [0, 0]], None),
    ],
)
def test_leakage(labels: list[list[int]], expected: float | None) -> None:
    shares = np.array([[[4, 2], [1, 1]], [[2, 6], [1, 1]]], dtype=np.float32)
    assert leakage_of(shares, np.array(labels)) == pytest.approx(expected)
    kept = np.zeros((2, 2, 2), dtype=np.float32)
    kept[0, 0, 0] = kept[1, 0, 1] = 1
    assert leakage_of(kept, np.array([[1, 2], [0, 0]])) == 0


def test_leakage_is_averaged_over_the_pictures_that_have_one() -> None:
    total = Totals()
    for leakage in (0.25, None, 0.75):
        one = Counts(1, 2, {}, None, leakage)
        assert Counts.from_json(one.to_json()) == one
        total.add(one)
    assert total.mean_leakage == 0.5 and Totals().mean_leakage is None


def test_paper_miou_is_what_the_paper_prints() -> None:
    ours, *_ = IMAGENET
    assert round(100 * paper_miou(ours.accuracy / 100), 2) == ours.miou == 71.04


def test_totals_do_not_depend_on_the_order() -> None:
    numbers = random.Random(0)
    counts = [Counts(1, 2, {"cat": (1, 2)}, numbers.random()) for _ in range(500)]
    sums = []
    for _ in range(5):
        numbers.shuffle(counts)
        total = Totals()
        for one in counts:
            total.add(one)
        sums.append(total.mean_average_precision)
    assert len(set(sums)) == 1


COARSE = torch.tensor([[[0.5, 0.3], [0.25, 0.1]], [[0.4, 0.6], [0.05, 0.2]], [[0.1, 0.1], [0.7, 0.7]]])
"""Three concepts on a grid of 2 x 2; the last one is a background concept. The first one's mean is 0.2875."""


def truth(rows: list[list[int]], names: tuple[str, ...]) -> Sample:
    labels = np.array(rows, dtype=np.int16).repeat(2, axis=0).repeat(2, axis=1)
    return Sample(np.zeros((4, 4, 3), dtype=np.uint8), labels, names)


@pytest.mark.parametrize(
    "protocol, sample, right",
    [
        # several names: the strongest one, or "background" where a background concept is
        (Protocol(upsampling="nearest"), truth([[1, 2], [0, 0]], ("cat", "dog")), 16),
        (Protocol(upsampling="nearest"), truth([[1, 1], [0, UNLABELLED]], ("cat", "dog")), 8),
        # one name: above its own mean, or stronger than all the others
        (Protocol(binary=True, upsampling="nearest"), truth([[1, 1], [0, 0]], ("cat",)), 16),
        (Protocol(binary=True, mask="argmax", upsampling="nearest"), truth([[1, 1], [0, 0]], ("cat",)), 12),
    ],
)
def test_a_map_becomes_a_label_map(protocol: Protocol, sample: Sample, right: int) -> None:
    counts = count_sample(COARSE, sample, protocol, is_share=True)
    assert (counts.right, counts.labelled) == (right, int((sample.labels != UNLABELLED).sum()))
    known = sample.labels != UNLABELLED
    shares = COARSE.repeat_interleave(2, 1).repeat_interleave(2, 2).numpy()
    precisions = [
        two_channel_average_precision(shares[index][known], sample.labels[known] == index + 1)
        for index in range(len(sample.names))
    ]
    assert counts.average_precision == pytest.approx(np.mean(precisions))
    assert counts.leakage == leakage_of(shares[: len(sample.names)], sample.labels)
    raw = count_sample(COARSE, sample, protocol, is_share=False)
    assert raw.average_precision is None and raw.leakage is None


def test_labels_are_resized_to_the_nearest_pixel() -> None:
    labels = np.random.default_rng(0).integers(0, 21, (37, 53)).astype(np.uint8)
    expected = Image.fromarray(labels).resize((24, 24), Image.Resampling.NEAREST)
    assert np.array_equal(resize_labels(labels, 24), np.array(expected))
    assert PAPER.label_size == 224 and resize_labels(labels, None) is labels


def test_methods_read_maps() -> None:
    """With softmax the maps' own saliency; without, the mean over the chosen blocks and all noises."""
    scores = torch.randn(2, 4, 1, 3, 2, 5, generator=torch.Generator().manual_seed(0))
    maps = ConceptAttentionMaps(scores, ("a", "b", "c"), 1, (0, 1, 2, 3), (0.5, 0.5), (32, 80))
    chosen = {"first_block": 1, "last_block": 2}
    assert torch.equal(Method(**chosen).read(maps), maps.saliency(**chosen)[0])
    plain = Method(softmax=False, **chosen).read(maps)
    assert torch.allclose(plain, scores[:, 1:3, 0].mean(dim=(0, 1)), atol=1e-6)
