"""What runs and their store hold is bounded by bytes, and what had to be merged is said by the maps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from conceptattention_core.concepts import Concepts
from conceptattention_core.record import Frame, Recorder, Run, RunStore
from conceptattention_core.steps import StepScores

STEP = 4 * 3 * 2 * 5 * 6 * 4  # bytes
CONCEPTS = Concepts(("boat", "sky"), 0, torch.zeros(1, 2, 4))


def scores(seed: int) -> torch.Tensor:
    return torch.randn(4, 3, 2, 5, 6, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("room", [1, 1.5, 2, 3, 5, 8, 19, 20, 100])
@pytest.mark.parametrize("twice", [False, True])
def test_steps_share_a_mean_where_there_is_no_room(room: float, twice: bool) -> None:
    """However many there are: below the limit at any time, in order, all counted, their mean as it was."""
    kept = StepScores(int(room * STEP))
    sigmas = [1 - step / 20 for step in range(20)]
    for at, sigma in enumerate(sigmas):
        kept.add(sigma, scores(at))
        if twice:
            kept.add(sigma, scores(at) + 2)
        assert len(kept) <= room
    counts = [len(group.evaluations) for group in kept._groups]
    made, levels = kept.means()
    assert torch.equal(kept.means(release=True)[0], made) and len(kept) == 0
    assert made.shape == (len(levels), *scores(0).shape) and list(levels) == sorted(levels, reverse=True)
    assert sum(counts) == 20 and (len(set(counts[:-1])) <= 1) and 2 * len(levels) + 1 >= min(20, int(room))
    every = torch.stack([scores(at) + twice for at in range(20)])
    assert_close((made * torch.tensor(counts).view(-1, 1, 1, 1, 1, 1)).sum(dim=0) / 20, every.mean(dim=0))
    if room >= 20:
        assert_close(made, every)
        assert levels == tuple(sigmas)


def recorder(limit: int, batch: int = 1, **frame: object) -> Recorder:
    return Recorder(CONCEPTS, "output", batch, Frame((4, 6), (64, 96), **frame), (0.0, 1.0), limit=limit)


def evaluation(blocks: int, batch: int = 1) -> torch.Tensor:
    return torch.randn(blocks, batch, 2, 24, generator=torch.Generator().manual_seed(blocks))


def test_a_step_that_does_not_fit_keeps_the_default_blocks() -> None:
    given, one = evaluation(8), 4 * 2 * 24
    for prompts in (1, 2):  # CFG's two halves are averaged before they are kept
        recording = recorder(6 * one, default_blocks=(2, 4))
        recording.add(1.0, tuple(range(8)), given.repeat(1, prompts, 1, 1))
        recording.add(0.5, tuple(range(8)), given.repeat(1, prompts, 1, 1))
        maps = recording.finish((), "").maps
        assert maps is not None and maps.blocks == (2, 3, 4) and maps.sigmas == (1.0, 0.5)
        assert_close(maps.scores[1].reshape(3, 1, 2, 24), given[2:5])
    fits = recorder(8 * one, default_blocks=(2, 4))
    fits.add(1.0, tuple(range(8)), given)
    maps = fits.finish((), "").maps
    assert maps is not None and maps.blocks == tuple(range(8))


def test_a_step_that_never_fits_is_said() -> None:
    """The sampler goes on; the reader is told what to change."""
    recording = recorder(100, default_blocks=(50, 60))
    recording.add(1.0, tuple(range(8)), evaluation(8))
    with pytest.raises(ValueError, match=r"more than the 0 MiB that a run may take\. Name fewer concepts"):
        store = RunStore()
        store.publish(recording.finish((torch.ones(1),), ""))
        store.find(torch.ones(1))


def run(group: str, number: int, steps: int = 1) -> Run:
    recording = recorder(2**20)
    for step in range(steps):
        recording.add(1 - step / steps, (0, 1), evaluation(2))
    return recording.finish((torch.full((1, 4), float(number)),), group)


def test_a_store_is_bounded_by_bytes_and_by_number() -> None:
    """The oldest go first, of the same prompt too; the newest stays whatever it takes."""
    one = run("", 0).bytes()
    assert one == 2 * 2 * 24 * 4 + 16
    store = RunStore(limit=5 * one)
    for number in range(12):
        store.publish(run("same prompt" if number > 6 else f"prompt {number}", number))
        assert store.bytes() <= store.limit
        assert store.find(torch.full((1, 4), float(number))).concepts == ("boat", "sky")
    assert len(store) == 5
    with pytest.raises(ValueError, match="no longer kept"):
        store.find(torch.full((1, 4), 6.0))
    store.publish(run("large", 99, steps=20))
    assert len(store) == 1 and len(store.find(torch.full((1, 4), 99.0)).sigmas) == 20
    many = RunStore()
    for number in range(20):
        many.publish(run(f"prompt {number}", number))
    assert len(many) == 9


def test_what_a_run_goes_on_from_is_kept_as_long_as_itself() -> None:
    """The first of two samplers is cached, the second queued again and again: the maps stay those of both."""
    store, half = RunStore(), torch.full((1, 4), 1.0)
    store.publish(run("prompt", 1, steps=2))
    for number in range(2, 22):
        second = replace(run(f"prompt {number}", number, steps=3), continues=half)
        store.publish(second)
        store.publish(replace(run(f"prompt {number}", 100 + number), continues=half))
        for latent, steps in ((number, 5), (100 + number, 3)):
            assert len(store.find(torch.full((1, 4), float(latent))).sigmas) == steps
    assert len(store.find(torch.full((1, 4), 18.0)).sigmas) == 5
    alone = RunStore()
    alone.publish(second)
    assert len(alone.find(torch.full((1, 4), 21.0)).sigmas) == 3
