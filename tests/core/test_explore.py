"""The explorer's arithmetic: its maps, masks and strokes, and what its state may hold."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conceptattention_core.explore import (
    chosen_steps,
    colors_of,
    cut,
    enlarged,
    maps_key,
    masks_of,
    painted,
    pixels_of,
    reading,
    series,
    stack,
    stacks,
    weights,
)
from conceptattention_core.maps import ConceptAttentionMaps, covered_size, resize_maps
from conceptattention_core.state import View, clicks_of, parse_state

SCORES = 3 * torch.randn(4, 5, 2, 3, 6, 8, generator=torch.Generator().manual_seed(0))
MAPS = ConceptAttentionMaps(SCORES, ("boat", "sea", "background"), 1, tuple(range(5)), (1.0, 0.7, 0.4, 0.1), (90, 120))


@pytest.mark.parametrize("size", [(90, 120), (45, 60), (181, 239), (5, 7)])
def test_maps_in_pixels_are_those_of_every_other_node(size: tuple[int, int]) -> None:
    covered = covered_size((6, 8), MAPS.image_size, size, 16)
    wanted = resize_maps(torch.from_numpy(stack(MAPS, 0).astype(np.float32))[None], MAPS.image_size, size, 16)[0]
    for grid, one in zip(stack(MAPS, 0), wanted, strict=True):
        assert np.abs(enlarged(grid, covered, size) - one.numpy()).max() < 1e-3


def test_shares_are_those_of_the_maps() -> None:
    for picture in (0, 1):
        wanted = MAPS.saliency()[picture]
        assert np.abs(stack(MAPS, picture) / 255 - wanted.numpy()).max() <= 0.5 / 255 + 1e-6


def test_maps_follow_the_edges_of_a_picture() -> None:
    """A border between two colours in the middle of a token's column is where the concepts' border goes."""
    scores = torch.full((1, 1, 1, 2, 4, 8), -2.0)
    scores[..., 0, :, :4], scores[..., 1, :, 4:] = 2.0, 2.0
    maps = ConceptAttentionMaps(scores, ("boat", "background"), 1, (0,), (1.0,), (64, 128))
    picture = torch.zeros(1, 64, 128, 3)
    picture[:, :, :70] = 1.0  # the maps' own border is at 64
    colors = colors_of(maps, picture)
    assert colors.shape == (1, 3, 16, 32)
    (plain, followed) = (pixels_of(stacks(maps, given), (64, 128), (64, 128))[0, 0] >= 0.5 for given in (None, colors))
    assert (plain.sum(dim=1) == 64).all() and ((followed.sum(dim=1) - 70).abs() <= 2).all()
    assert maps_key(maps, (64, 128)) != maps_key(maps, (64, 128), colors)


def test_a_reading_is_what_its_saliency_says() -> None:
    view = View(first_block=1, last_block=-2, start=0.25, end=0.75, temperature=2.0)
    read = reading(MAPS, view)
    wanted = (SCORES[1:3, 1:4] / 2).softmax(dim=3).mean(dim=(0, 1))
    torch.testing.assert_close(read.saliency(), wanted)
    assert read.sigmas == (0.7, 0.4) and reading(MAPS, View()).saliency().equal(MAPS.saliency())
    with pytest.raises(ValueError, match="No block lies between"):
        reading(MAPS, View(first_block=9, last_block=9))


@pytest.mark.parametrize(
    ("start", "end", "wanted"),
    [(0, 1, (0, 9)), (0.5, 0.5, (5, 5)), (1, 1, (9, 9)), (0, 0, (0, 0)), (0.8, 0.3, (8, 8)), (0.25, 0.61, (2, 6))],
)
def test_there_is_always_a_step(start: float, end: float, wanted: tuple[int, int]) -> None:
    assert chosen_steps(10, start, end) == wanted


@pytest.mark.parametrize("count", range(1, 101))
def test_each_step_alone_is_that_step_again(count: int) -> None:
    """As the page writes a step that is chosen: `step / count` to `(step + 1) / count`."""
    assert [chosen_steps(count, at / count, (at + 1) / count) for at in range(count)] == [
        (at, at) for at in range(count)
    ]


def test_a_reading_may_weigh_blocks_by_themselves() -> None:
    """As the maps say, or as was chosen; of the chosen blocks alone where some were."""
    own = replace(MAPS, reading="auto")
    assert np.array_equal(stacks(reading(MAPS, View(reading="auto"))), stacks(own))
    assert stacks(own).tobytes() != stacks(MAPS).tobytes() == stacks(reading(own, View(reading="paper"))).tobytes()
    some = reading(own, View(first_block=1, last_block=-2))
    torch.testing.assert_close(some.shares(), MAPS.shares("auto", 1, 3))
    soft = reading(reading(own, View(temperature=1.5)), View(temperature=2.0))  # one explorer behind another
    torch.testing.assert_close(soft.shares(), MAPS.shares("auto", temperature=3.0))
    torch.testing.assert_close(soft.shares("paper"), MAPS.saliency(temperature=3.0))
    torch.testing.assert_close(soft.block_weights(), MAPS.block_weights(temperature=3.0))
    with pytest.raises(ValueError, match="not what the explorer wrote"):
        parse_state('{"reading": "both"}')


def test_weights_are_those_of_the_reading_auto() -> None:
    """Of the trusted blocks; of a video's picture between two frames, what lies between those of the frames."""
    seen = weights(reading(MAPS, View(first_block=1, last_block=3, end=0.75)), 1)
    wanted = replace(MAPS, scores=SCORES[:3], sigmas=MAPS.sigmas[:3]).picture(1).block_weights(1, 3)[0]
    assert seen.shape == (3, 5) and not seen[:, [0, 4]].any()
    np.testing.assert_allclose(seen[:, 1:4], wanted, rtol=1e-5)
    film = replace(MAPS, scores=SCORES.movedim(2, 3)[:, :, None], times=(0.0, 0.5, 1.0))
    np.testing.assert_allclose(weights(film, 1), (weights(MAPS, 0) + weights(MAPS, 1)) / 2, rtol=1e-5)


def test_series_by_block_and_step() -> None:
    blocks, steps = (series(MAPS, 0, 1, by, 10**6) for by in ("block", "step"))
    assert blocks.shape == (5, 6, 8) and steps.shape == (4, 6, 8)
    shares = SCORES.softmax(dim=3)[:, :, 0, 1]
    assert np.abs(blocks / 255 - shares.mean(dim=0).numpy()).max() < 0.003
    assert np.abs(steps / 255 - shares.mean(dim=1).numpy()).max() < 0.003
    assert series(MAPS, 0, 1, "block", 100).shape == (5, 3, 4)
    with pytest.raises(ValueError, match="by block and by step"):
        series(MAPS, 0, 0, "head", 100)


def stroke(add: bool, points: list[list[float]], radius: float = 0.1, **more: Any) -> dict[str, Any]:
    return {"key": "k", "picture": 0, "add": add, "radius": radius, "points": points, **more}


def test_brushes_are_round_and_strokes_have_an_order() -> None:
    lines = [stroke(True, [[0.2, 0.5], [0.8, 0.5]]), stroke(False, [[0.5, 0.5]], 0.05)]
    strokes = parse_state(json.dumps({"strokes": lines})).strokes
    mask = painted(np.zeros((60, 100), bool), strokes)
    y, x = np.mgrid[:60, :100] + 0.5
    along = np.clip(x, 20, 80)
    wanted = (np.hypot(x - along, y - 30) <= 10) & (np.hypot(x - 50, y - 30) > 5)
    assert np.array_equal(mask, wanted)
    assert painted(np.ones((60, 100), bool), strokes[::-1]).all()  # the later one wins


def test_clicks_are_pixels_of_one_picture_and_paint_nothing() -> None:
    """Of the picture that was clicked on last; those of other maps are left out, those of no maps belong to all."""

    def click(x: float, y: float, add: bool = True, **more: Any) -> dict[str, Any]:
        return stroke(add, [[x, y]], 0, select=True, **more)

    given = [
        *(click(0.5, 0.5, picture=0), click(0.25, 0.5, picture=1, key=""), click(0.9999, 1.0, picture=1)),
        *(click(0.1, 0.1, picture=1, key="other"), click(0.5, 0.509, False, picture=1), stroke(True, [[0.1, 0.5]])),
    ]
    strokes = parse_state(json.dumps({"strokes": given})).on("k")
    assert len(strokes) == 5
    clicks = clicks_of(strokes, (60, 100), pictures=2)
    assert (clicks.on, clicks.off, clicks.picture) == (((25, 30), (99, 59)), ((50, 30),), 1)
    assert clicks_of(strokes, (60, 100)).on == ((50, 30),), "a picture that is not there is not clicked on"
    assert not painted(np.zeros((60, 100), bool), strokes[:4]).any()


def test_masks_of_a_batch() -> None:
    covered = covered_size((6, 8), MAPS.image_size, (90, 120), 16)
    strokes = parse_state(json.dumps({"strokes": [stroke(True, [[0.5, 0.5]], picture=1)]})).strokes
    boat = stacks(MAPS)[:, 1]
    masks = masks_of(boat, 0.4, torch.tensor([True, False]), covered, (90, 120), strokes)
    assert np.array_equal(masks[0].numpy() > 0, cut(stack(MAPS, 0)[1], 0.4, covered, (90, 120)))
    assert masks[1, 45, 60] == 1 and 0 < masks[1].mean() < 0.1  # an absent concept: what is painted alone
    assert not masks_of(boat, 0.0, torch.tensor([True, True]), covered, (90, 120)).isnan().any()


def test_a_key_is_the_same_for_the_same_maps_alone() -> None:
    other = ConceptAttentionMaps(**{**vars(MAPS), "scores": SCORES + 1e-3})
    keys = {maps_key(MAPS, (90, 120)), maps_key(MAPS, (45, 60)), maps_key(other, (90, 120))}
    again = ConceptAttentionMaps(**{**vars(MAPS), "scores": SCORES.clone()})
    assert len(keys) == 3 and maps_key(again, (90, 120)) in keys and all(len(key) == 32 for key in keys)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "5",
        '{"threshold": 2}',
        '{"threshold": NaN}',
        '{"temperature": 0}',
        '{"first_block": 1.5}',
        '{"strokes": 5}',
        json.dumps({"strokes": [stroke(True, [])]}),
        json.dumps({"strokes": [stroke(True, [[0.5]])]}),
        json.dumps({"strokes": [stroke(True, [[1e9, 0.5]])]}),
        json.dumps({"strokes": [{"points": [[0, 0]]}]}),
        "[" * 60_000,
    ],
)
def test_a_state_that_no_explorer_wrote(text: str) -> None:
    with pytest.raises(ValueError, match="`state` is not what the explorer wrote"):
        parse_state(text)


def test_the_page_begins_as_the_node_does() -> None:
    """Both have defaults of their own, in two languages."""
    script = (Path(__file__).resolve().parents[2] / "web" / "js" / "explorer_state.js").read_text(encoding="utf-8")
    written = re.search(r"DEFAULTS = (\{.*?\});", script, re.DOTALL)
    assert written
    page = json.loads(re.sub(r"(\w+):", r'"\1":', written[1]).replace("\n", " "))
    node = View()
    assert page.pop("strokes") == [] and {name: getattr(node, name) for name in page} == page
    assert set(page) | {"strokes"} == set(vars(node))


def test_no_script_is_large() -> None:
    for script in (Path(__file__).resolve().parents[2] / "web" / "js").glob("*.js"):
        assert script.stat().st_size <= 20_000, script.name


def test_a_state_is_bounded() -> None:
    with pytest.raises(ValueError, match="letters; at most 65536"):
        parse_state(" x" * 40_000)
    assert parse_state("  ") == View() == parse_state("{}")
