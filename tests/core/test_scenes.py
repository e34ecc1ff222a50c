"""The scene generator: reproducible pictures whose label maps are the truth."""

from __future__ import annotations

import numpy as np
import pytest

from conceptattention_core.evaluate.datasets.scenes import captions, scenes, sprites
from conceptattention_core.evaluate.datasets.scenes.confusable import ALIKE, confusable_scene

SEEDS = range(scenes.HELD_OUT, scenes.HELD_OUT + 40)


@pytest.fixture(scope="module")
def drawn() -> list[scenes.Scene]:
    return [scenes.scene(seed) for seed in SEEDS]


def test_a_seed_always_gives_the_same_scene(drawn: list[scenes.Scene]) -> None:
    again = scenes.scene(drawn[3].seed)
    assert np.array_equal(again.image, drawn[3].image)
    assert np.array_equal(again.labels, drawn[3].labels)
    assert (again.names, again.caption) == (drawn[3].names, drawn[3].caption)


def test_every_name_has_visible_pixels_and_every_label_has_a_name(drawn: list[scenes.Scene]) -> None:
    for one in drawn:
        share = np.bincount(one.labels.ravel(), minlength=len(one.names) + 1) / one.labels.size
        assert len(share) == len(one.names) + 1
        assert (share[1:] >= scenes.LEAST_VISIBLE).all()
        assert set(one.names) <= set(scenes.NOUNS)
        assert len(set(one.names)) == len(one.names)


def test_the_same_composition_at_every_size(drawn: list[scenes.Scene]) -> None:
    large, small = drawn[5], scenes.scene(drawn[5].seed, 128)
    assert small.names == large.names
    assert (large.labels[1::2, 1::2] == small.labels).mean() > 0.98


def test_labels_follow_the_picture() -> None:
    """A shape changes picture and label map at exactly the same pixels."""
    canvas = sprites.Canvas(64)
    pen = sprites.Pen(canvas, x=0.5, y=0.9, width=0.5, label=7)
    for kind in (*scenes.KINDS, *scenes.DISTRACTORS):
        kind.draw(pen, np.random.default_rng(0))
    painted = np.asarray(canvas.picture).any(axis=-1)
    assert np.array_equal(painted, np.asarray(canvas.labels) == 7)


def test_things_stand_in_sensible_places(drawn: list[scenes.Scene]) -> None:
    for one in drawn:
        present = set(one.names)
        assert "boat" not in present or "sea" in present
        assert "moon" not in present or one.sky == "night sky"
        assert "sun" not in present or one.sky != "night sky"
        assert one.sky in scenes.SKIES and set(one.grounds) <= set(scenes.GROUNDS)
        assert one.labels[0, 0] == one.names.index(one.sky) + 1 or one.labels[0, 0] <= len(one.objects)


def test_confusable_scenes_hold_two_alike_things_apart() -> None:
    """Both are seen, each in its half, the left one is named first, and nothing else stands there."""
    asked = set()
    for seed in range(scenes.HELD_OUT, scenes.HELD_OUT + 60):
        one = confusable_scene(seed, 128)
        left, right = one.objects
        assert (left, right) in ALIKE or (right, left) in ALIKE
        columns = [np.flatnonzero((one.labels == label).any(axis=0)) for label in (1, 2)]
        assert columns[0].max() < columns[1].min() and one.caption.startswith(f"{left}, {right}, ")
        assert min((one.labels == label).mean() for label in (1, 2)) >= scenes.LEAST_VISIBLE
        assert 0 not in one.labels and np.array_equal(confusable_scene(seed, 128).image, one.image)
        asked.add(frozenset(one.objects))
    assert asked == {frozenset(pair) for pair in ALIKE}


def test_every_noun_and_some_unnamed_things_occur() -> None:
    many = [scenes.scene(seed, size=64) for seed in range(scenes.HELD_OUT, scenes.HELD_OUT + 300)]
    assert {name for one in many for name in one.names} == set(scenes.NOUNS)
    assert len(scenes.NOUNS) >= 16
    assert any((one.labels == 0).any() for one in many)


@pytest.mark.parametrize("seed", range(30))
def test_captions_name_only_what_is_there(seed: int) -> None:
    rng = np.random.default_rng(seed)
    text = captions.caption(rng, ["palm tree", "boat"], ["sea", "sand"], "sunset").casefold()
    absent = set(scenes.NOUNS) - {"palm tree", "tree", "boat", "sea", "sand", "sunset"}
    assert not any(noun in text.replace(".", "").replace(",", "").split() for noun in absent)


def test_captions_are_reproducible_and_varied() -> None:
    def some(seed: int) -> list[str]:
        rng = np.random.default_rng(seed)
        return [captions.caption(rng, ["house", "tree"], ["grass"], "sky") for _ in range(60)]

    assert some(1) == some(1)
    assert {"", "house", "house, tree, background"} & set(some(1))
    assert len(set(some(1))) > 15
