"""Features: one projection that keeps angles, a mean over a run's evaluations, and room beside the scores."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from conceptattention_core.concepts import Concepts
from conceptattention_core.features import CHANNELS, directions, project
from conceptattention_core.record import Frame, Recorder
from conceptattention_core.scores import PROJECTIONS, ConceptPass
from conceptattention_core.stream import Entry


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("width", [128, 3072])
def test_tokens_of_one_thing_stay_alike(width: int) -> None:
    """Four things of 50 tokens, half of each token its own: the nearest thing in the channels is the right one."""
    things, own = randn(4, 1, width), randn(4, 50, width, seed=1)
    unit = torch.nn.functional.normalize(project(things + own, directions(width)), dim=2)
    middles = torch.nn.functional.normalize(unit.mean(dim=1), dim=1)
    nearest = torch.einsum("t n f, m f -> t n m", unit, middles).argmax(dim=2)
    assert (nearest == torch.arange(4)[:, None]).float().mean() > 0.9
    assert 0.5 < project(own, directions(width)).std() < 2  # so float16 holds what the model's own type holds


def test_the_projection_is_the_same_everywhere() -> None:
    """Of files that one machine writes and another one reads."""
    assert_close(directions(8)[0, :3] * 8**0.5, torch.tensor([-1.1258, -1.1524, -0.2506]), atol=1e-4, rtol=0)


class Still:
    """A text stream that leaves its tokens alone."""

    def enter(self, tokens: torch.Tensor) -> Entry:
        return Entry(tokens[:, None], tokens[:, None], tokens[:, None])

    def leave(self, tokens: torch.Tensor, entry: Entry, output: torch.Tensor) -> torch.Tensor:
        return tokens


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_whatever_the_scores_are_taken_in(projection: str) -> None:
    passing, image = ConceptPass(randn(2, 3, 8), projection), randn(2, 24, 8, seed=2)  # type: ignore[arg-type]
    for block in (1, 0):
        passing.attend(block, Still(), image[:, None], image[:, None])
        passing.score(block, image * (block + 1))
    wanted = torch.einsum("b n d, d f -> b n f", image, directions(8))
    assert_close(passing.stacked_features(), torch.stack([wanted, 2 * wanted]))


def recorded(limit: int, evaluations: list[torch.Tensor], **frame: object) -> Recorder:
    concepts = Concepts(("boat", "sky"), 0, torch.zeros(1, 2, 4))
    recorder = Recorder(concepts, "output", 2, Frame((4, 6), (64, 96), **frame), (0.0, 1.0), limit=limit)
    for at, features in enumerate(evaluations):
        scores = randn(features.shape[0], features.shape[1], 2, 24, seed=at)
        recorder.add(1 - at / 10, tuple(range(len(features))), scores, features)
    return recorder


def test_a_mean_over_evaluations_and_prompts() -> None:
    given = [randn(3, 4, 24, CHANNELS, seed=at) for at in range(3)]  # two prompts of two pictures
    run = recorded(2**20, given).finish((), "")
    assert run.maps is not None and run.maps.features is not None
    mean = torch.stack(given).mean(dim=0).reshape(3, 2, 2, 4, 6, CHANNELS).mean(dim=1)
    assert_close(run.maps.features.float(), mean.permute(0, 1, 4, 2, 3), atol=2e-3, rtol=0)
    assert run.bytes() == run.maps.scores.numel() * 4 + run.maps.features.numel() * 2
    one = run.maps.picture(1)
    assert torch.equal(one.features, run.maps.features[:, 1:]) and torch.equal(one.scores, run.maps.scores[:, :, 1:])


def test_room_beside_the_scores() -> None:
    """Scores and features together stay below the limit; where one step's scores need the room, features go."""
    step, features = 4 * 2 * 2 * 24 * 4, 4 * 2 * 24 * CHANNELS * 4
    given = [randn(4, 2, 24, CHANNELS, seed=at) for at in range(4)]
    tight = recorded(features + 2 * step, given).finish((), "").maps
    assert tight is not None and tight.features is not None and len(tight.sigmas) == 2
    without = recorded(features + step - 4, given).finish((), "").maps
    assert without is not None and without.features is None and len(without.sigmas) == 4
    blocks = recorded(step - 4, given, default_blocks=(1, 2)).finish((), "").maps
    assert blocks is not None and blocks.features is None and blocks.blocks == (1, 2)


def test_numbers_that_are_none_are_said() -> None:
    broken = randn(3, 2, 24, CHANNELS)
    broken[1, 1, 5] = torch.nan
    assert "values that are not numbers" in recorded(2**20, [broken]).finish((), "").problem
