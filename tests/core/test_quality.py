"""The quality table's measures, on shares whose faults are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from conceptattention_core.evaluate.datasets.scenes.scenes import HELD_OUT, scene
from tools.benchmarks.quality.compare import Row
from tools.benchmarks.quality.measures import Marks, Truth, draws, interval, iou_over, mark
from tools.benchmarks.quality.table import sections
from tools.benchmarks.quality.words import BACKGROUND, LISTS, Question, ask

LABELS = np.repeat([[1, 1, 2, 2]], 64, axis=1).repeat(256, axis=0)  # left half sky, right half sea
TRUTH = Truth(Question(("sky", "sea", "night sky", BACKGROUND), LABELS))


def shares(wrong_rows: int) -> Tensor:
    """Right, but that the night sky wins the sky in the uppermost rows."""
    said = LABELS.copy()
    said[:wrong_rows, :128] = 3
    return torch.stack([torch.from_numpy(said == index).float() for index in (1, 2, 3, 4)])


def test_what_an_absent_word_steals() -> None:
    marks = mark(shares(64), TRUTH, ranked=True)
    assert marks.whole.iou == {"sky": 0.75, "sea": 1.0} and marks.whole.accuracy == 0.875
    assert marks.whole.stolen / marks.whole.labelled == 0.125 and marks.leakage == 0
    assert marks.precisions[1] == 1 and marks.precisions[0] == pytest.approx(0.75 + 0.25 * 0.5)  # the rest is drawn
    kept, false = 192 * 7, (128 - 7) * 7  # 7 pixels are 2 % of the diagonal; a false border where the loss is
    assert marks.border.iou == {"sky": kept / (256 * 7 + false), "sea": 1.0}


def test_differences_are_of_the_same_scenes() -> None:
    """A rule that is 25 % of the sky worse on half of the scenes, whichever are drawn."""
    better = [mark(shares(0), TRUTH, ranked=False)] * 8
    worse = [mark(shares(64 * (index % 2)), TRUTH, ranked=False) for index in range(8)]
    assert mean_iou(better) == 1 and mean_iou(worse) == 0.9375
    drawn = draws(8)
    difference = [iou_over([one.whole for one in marks]).value(drawn) for marks in (worse, better)]
    low, high = interval(difference[0] - difference[1])
    assert -0.125 < low < -0.09 and -0.035 < high < 0
    row, paper = Row(worse, worse, [1.0], [0.5]), Row(better, better, [1.0], [0.5])
    (text,) = sections({"model": {("D", "paper"): paper, ("D", "rule"): row, ("D", "shipped presence"): row}}, "D")
    assert f"| model | rule | 93.8 | -6.2 [{100 * low:.1f}, {100 * high:.1f}] | 93.8 |" in text


def mean_iou(marks: list[Marks]) -> float:
    return float(iou_over([one.whole for one in marks]).value()[0])


@pytest.mark.parametrize("kind", list(LISTS))
def test_every_list_names_what_it_says(kind: str) -> None:
    for one in (scene(HELD_OUT + 5000 + index, 64) for index in range(12)):
        if kind == "O" and not one.objects:
            continue
        question = ask(one, kind)
        there = {question.names[label - 1] for label in np.unique(question.labels) if label}
        absent = set(question.names) - {*one.names, BACKGROUND}
        assert there == ({*one.objects, BACKGROUND} if kind == "O" else set(one.names))
        assert (kind in "BD") == bool(absent) and len(absent) <= 4 and len(set(question.names)) == len(question.names)
