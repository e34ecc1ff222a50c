"""The stages: what is asked, how sure the maps are, and what is kept, against answers worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conceptattention_core.evaluate.ablate import readings
from conceptattention_core.evaluate.clock import Cost
from conceptattention_core.evaluate.datasets import Lexicon, Sample
from conceptattention_core.evaluate.judge import stolen
from conceptattention_core.evaluate.method import Method
from conceptattention_core.evaluate.protocol import Protocol
from conceptattention_core.evaluate.stage_report import write_stages
from conceptattention_core.evaluate.stages import STAGES, kept, stage_methods, with_absent
from conceptattention_core.evaluate.sure import Ranks, Trust
from conceptattention_core.evaluate.words import ask

NAMES = ("night sky", "sand", "palm tree", "tree house", "boat", "sky", "Tree", "car", "sun")
LABELS = np.array([[1, 1, 2], [0, 2, -1]], dtype=np.int16)
SAMPLE = Sample(np.zeros((2, 3, 3), np.uint8), LABELS, ("sky", "tree"))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1, max_size=20))
def test_auroc_is_its_definition(values: list[tuple[bool, int]]) -> None:
    ranks = Ranks()
    for there, value in values:
        ranks.add(there, value / 7)
    pairs = [(a, b) for one, a in values if one for other, b in values if not other]
    wanted = np.mean([(a > b) + (a == b) / 2 for a, b in pairs]) if pairs else None
    assert ranks.auroc == (None if wanted is None else pytest.approx(wanted))


def test_trust_is_the_mean_cosine_of_two_pictures() -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(5), size=7)
    trust = Trust()
    for one in weights:
        trust.add(one.tolist())
    units = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    assert trust.stability == pytest.approx(np.mean([a @ b for a, b in combinations(units, 2)]), abs=1e-5)
    assert trust.mean == pytest.approx(weights.mean(axis=0), abs=1e-5)
    block, part = trust.peak
    assert part == np.mean(weights.argmax(axis=1) == block) == np.bincount(weights.argmax(axis=1)).max() / 7


def test_words_that_look_like_what_is_there_come_first() -> None:
    """Never one that is there or competes, in any letters; and the same ones for the same picture."""
    asked = ask("absent", SAMPLE, ("sand",), Lexicon(NAMES))
    assert set(asked.sample.names[2:5]) == {"night sky", "palm tree", "tree house"} and asked.absent == 4
    assert asked.sample.names[:2] == SAMPLE.names and asked.sample.names[5] in ("boat", "car", "sun")
    assert asked == replace(ask("absent", SAMPLE, ("sand",), Lexicon(NAMES)), sample=asked.sample)
    assert ask("absent", SAMPLE, (), Lexicon(("Sky", "tree"))).absent == 0


def test_a_pair_is_one_thing_and_the_rest() -> None:
    asked = ask("pair", SAMPLE, ("sand", "sea"), Lexicon(NAMES))
    assert asked.sample.names == ("sky",) and asked.background == ("background",)
    assert asked.sample.labels.tolist() == [[1, 1, 0], [0, 0, -1]]


def test_stolen_pixels_are_those_that_absent_words_win() -> None:
    """Of five labelled pixels, two; the background's pixel and the one without a label are not stolen."""
    asked = replace(ask("absent", SAMPLE, ("sand",), Lexicon(("boat",))), absent=1)  # sky, tree, boat, sand
    winners = torch.tensor([[2, 0, 1], [3, 2, 2]])
    shares = torch.nn.functional.one_hot(winners, 4).permute(2, 0, 1).float()
    assert stolen(shares, 2, asked, Protocol()) == 2


@pytest.mark.parametrize(
    ("gain", "presence", "good"),
    [(0.005, 0.9, True), (0.0049, 0.95, False), (0.05, 0.899, False), (0.05, 0.8996, True), (0.05, None, True)],
)
def test_the_rule(gain: float, presence: float | None, good: bool) -> None:
    before = {"accuracy": 0.8, "presence": 0.9}
    assert kept(before, {"accuracy": 0.8 + gain, "presence": presence}) is good


@pytest.mark.parametrize("depth", [1, 2, 19, 60])
@pytest.mark.parametrize("base", [Method(), Method(noise_level=0.45, pooling="first", projection="value")])
def test_every_change_can_be_judged(depth: int, base: Method, tmp_path: Path) -> None:
    """All methods that a verdict compares are run, the best reading is kept, and every stage has one verdict."""
    stages = [make(base, depth) for make in STAGES.values()]
    methods = stage_methods(stages)
    assert len(set(methods)) == len(methods)
    auto = readings(base)[2]
    sure = {"stolen": 0.1, "presence": 0.9, "peak": 0.9}
    trust = {"mean": [1 / depth] * depth, "stability": 0.9, "peak": (0, 1.0), "pictures": 5}
    rows: list[dict[str, Any]] = [
        {
            "name": one.name,
            "method": one.describe(),
            "accuracy": 0.9 if one == auto else 0.8,
            "true_miou": 0.5,
            "map": None,
            **({"trust": trust} if one.words == "named" else sure),
        }
        for one in methods
    ]
    family = {"depth": depth, "blocks": (-10, -1)}
    text = write_stages(tmp_path, "noise", family, stages, rows, Cost(0.1, 0.002)).read_text(encoding="utf-8")
    verdicts = dict(line.split(". ", 1) for line in text.split("\n\n")[1].splitlines())
    assert list(verdicts) == [str(number) for number in range(1, 9)]
    assert verdicts["1"].endswith("readings: **Verdict: keep** prototypes on top of that; auto instead of paper.")
    assert verdicts["7"].endswith("**Verdict: keep** auto instead of paper, both at x 1.")
    assert "do not keep" in verdicts["2"] and "do not keep" in verdicts["4"] and "do not keep" in verdicts["5"]
    assert "x 1.0200" in text and "**Verdict: keep** recording" in verdicts["8"]
    assert with_absent(auto) in methods
