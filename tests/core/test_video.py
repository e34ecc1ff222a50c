"""Maps of a video: read as the batch of pictures that it is, each where the thing is at that moment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from conceptattention_core.concepts import Concepts
from conceptattention_core.explore import maps_key, series, stacks
from conceptattention_core.maps import ConceptAttentionMaps
from conceptattention_core.masks.presence import presence
from conceptattention_core.masks.recipe import MaskRecipe, make_mask
from conceptattention_core.masks.regions import keep_largest, remove_small
from conceptattention_core.record import Frame, Recorder
from conceptattention_core.storage import load_maps, save_maps
from conceptattention_core.times import moving_mean, picture_times
from conceptattention_core.views import ConceptMaps

GRID, SPEED, START = (5, 40), 0.6, 6.0
"""SPEED: tokens that the boat moves to the right from one picture to the next."""
VIDEOS = [(6, 4, 1), (4, 8, 1), (7, 4, 2), (6, 4, 2), (1, 4, 1), (2, 4, 2)]


def boat(picture: float) -> Tensor:
    """Its share of the picture at this moment, ``(h, w)``: a blob in the middle row."""
    along, down = torch.arange(GRID[1]) - (START + SPEED * picture), torch.arange(GRID[0]) - 2.0
    return 0.02 + 0.9 * torch.exp(-(along**2 + down[:, None] ** 2) / 4)


def moving(latent_frames: int, ratio: int, together: int, batch: int = 1) -> ConceptAttentionMaps:
    """Maps of a video of a boat and the sea: a token frame shows the mean of the pictures that it covers."""
    shares = torch.stack([boat(picture) for picture in range(1 + ratio * (latent_frames - 1))])
    latents = [shares[:1], *shares[1:].split(ratio)]  # the pictures of each latent frame
    share = torch.stack([torch.cat(latents[at : at + together]).mean(0) for at in range(0, latent_frames, together)])
    scores = torch.stack([share, 1 - share]).log()[None, None, None].repeat(2, 3, batch, 1, 1, 1, 1)
    times = picture_times(latent_frames, ratio, together)
    size = (16 * GRID[0], 16 * GRID[1])
    return ConceptAttentionMaps(scores, ("boat", "sea"), 0, (0, 1, 2), (1.0, 0.5), size, times=times)


def place(shares: Tensor) -> Tensor:
    """Where the boat is, ``(pictures,)``: the middle of its share along the picture's width."""
    seen = (shares - 0.02).clamp(min=0)
    return (seen.sum(1) * torch.arange(shares.shape[2])).sum(1) / seen.sum((1, 2))


@pytest.mark.parametrize(("latent_frames", "ratio", "together"), VIDEOS)
def test_the_boat_is_where_it_was(latent_frames: int, ratio: int, together: int) -> None:
    maps = moving(latent_frames, ratio, together)
    pictures = 1 + ratio * (latent_frames - 1)
    shares = maps.saliency(0, -1)
    assert shares.shape == (maps.pictures, 2, *GRID) == (pictures, 2, *GRID)
    assert_close(shares.sum(1), torch.ones(pictures, *GRID))
    found = place(shares[:, 0])
    # Before the first token frame's middle and behind the last one's, the boat stays where it was.
    first = (ratio * (min(together, latent_frames) - 1)) / 2
    left = (latent_frames - 1) % together
    last = (max(0, ratio * (latent_frames - 1 - left - 1) + 1) + pictures - 1) / 2
    true = START + SPEED * torch.arange(pictures).float().clamp(first, last)
    assert (found - true).abs().max() < 0.02


@pytest.mark.parametrize(
    ("video", "centres"),
    [
        ((3, 4, 1), (0, 2.5, 6.5)),
        ((3, 8, 1), (0, 4.5, 12.5)),
        ((4, 4, 2), (2, 8.5)),
        ((3, 4, 2), (2, 6.5)),
        ((4, 4, 2, 1), (0, 4.5)),
        ((4, 4, 2, 0, False), (3.5, 11.5)),
    ],
)
def test_a_latent_frame_lies_in_the_middle_of_its_pictures(video: tuple[int, ...], centres: list[float]) -> None:
    """Latent frame j covers the `ratio` pictures up to ``ratio * j``; a token of two covers those of both.

    A latent frame that was put in front of the others is no picture's.
    """
    for picture, time in enumerate(picture_times(*video)):
        at = min(max(picture, centres[0]), centres[-1])
        before = max(frame for frame, centre in enumerate(centres) if centre <= at)
        behind = min(before + 1, len(centres) - 1)
        part = (at - centres[before]) / ((centres[behind] - centres[before]) or 1)
        assert time == pytest.approx(before + part)


@pytest.mark.parametrize("reading", ["paper", "auto"])
def test_pictures_one_by_one(reading: str) -> None:
    """A video's pictures, taken alone or from a batch of videos, are read as in the whole."""
    maps = moving(4, 4, 1, batch=2)
    maps = replace(
        maps, scores=maps.scores + 0.1 * torch.randn(maps.scores.shape, generator=torch.Generator().manual_seed(0))
    )
    shares, sure = maps.shares(reading), presence(maps)  # type: ignore[arg-type]
    assert shares.shape == (26, 2, *GRID) and sure.shape == (26, 2) and len(ConceptMaps(maps)) == 26
    for index in (0, 1, 7, 12, 13, 20, -1):
        one = maps.picture(index)
        assert one.pictures == 1
        assert_close(one.shares(reading)[0], shares[index])  # type: ignore[arg-type]
        assert_close(presence(one)[0], sure[index])
    assert not torch.equal(shares[5], shares[18])
    with pytest.raises(ValueError, match="There is no picture"):
        maps.picture(26)


def test_presence_is_that_of_the_moment() -> None:
    """The boat leaves after half of the video."""
    maps = moving(6, 4, 1)
    gone = maps.scores.clone()
    gone[:, :, :, 0, 3:] = -6 + 0.1 * torch.randn(
        gone[:, :, :, 0, 3:].shape, generator=torch.Generator().manual_seed(1)
    )
    sure = presence(replace(maps, scores=gone), 0, -1)[:, 0]
    assert sure[:7].min() > 0.5 and sure[-8:].max() < 0.1


def test_masks_follow() -> None:
    maps = moving(6, 4, 1)
    mask = make_mask(maps, MaskRecipe("boat", method="threshold", threshold=0.4)).mask
    assert mask.shape == (21, 80, 640)
    middle = (mask * torch.arange(640)).sum((1, 2)) / mask.sum((1, 2))
    steps = middle.diff()
    assert steps.min() >= 0 and abs(steps[2:-2].mean().item() - 16 * SPEED) < 0.5


def test_smoothing_takes_flicker_away() -> None:
    """Within each video: a picture in which the boat is lost for a moment gets it back from its neighbours."""
    rows = torch.tensor([[0.0, 1, 2, 3, 4], [10, 10, 40, 10, 10]]).flatten()
    made = moving_mean(rows, 1, 5)
    assert_close(made, torch.tensor([0.5, 1, 2, 3, 3.5, 10, 20, 20, 20, 10]))
    maps = moving(6, 4, 1)
    flicker = maps.scores.clone()
    flicker[:, :, :, :, 3] = flicker[:, :, :, :, 3].flip(3)  # boat and sea exchanged
    lost = replace(maps, scores=flicker, times=(0, 1, 2, 3, 4, 5))
    plain, smooth, true = (
        make_mask(one, MaskRecipe("boat", method="threshold", threshold=0.4, smooth_frames=sides)).mask[3]
        for one, sides in ((lost, 0), (lost, 2), (replace(maps, times=(0, 1, 2, 3, 4, 5)), 2))
    )
    assert (plain - true).abs().mean() > 0.9 > 0.1 > (smooth - true).abs().mean()


def test_regions_of_a_whole_video() -> None:
    """A thing that crosses the picture, small at first, is kept; another that is larger for a moment is not."""
    mask = torch.zeros(2, 6, 12, 30)
    for at in range(6):
        mask[:, at, 2 : 4 + at // 2, 3 * at : 3 * at + 4] = 1  # its first picture has 8 pixels, its last 16
        mask[1, at, 10, 29] = 1
    crossing = mask.clone()
    mask[0, 2, 7:11, 0:7] = 1  # 28 pixels, in one picture
    crossing[1, :, 10, 29] = 0
    flat = mask.flatten(0, 1)
    assert torch.equal(keep_largest(flat, 1, 6), crossing.flatten(0, 1))
    assert torch.equal(remove_small(flat, 29, 6), crossing.flatten(0, 1))
    assert not torch.equal(keep_largest(flat, 1), crossing.flatten(0, 1))
    maps, recipe = moving(6, 4, 1), MaskRecipe("boat", method="threshold", min_area=2.5, keep=1, through_time=True)
    plain = make_mask(maps, replace(recipe, min_area=0, keep=0)).mask
    areas = plain.sum((1, 2)) / plain[0].numel()
    assert areas.min() < 0.025 < areas.mean()  # some pictures alone would lose it
    assert torch.equal(make_mask(maps, recipe).mask, plain)
    assert not make_mask(maps, replace(recipe, through_time=False)).mask.any((1, 2)).all()


@pytest.mark.parametrize(("first", "frames"), [(1, 5), (2, 3), (0, 4), (5, 1)])
def test_a_part_of_a_video(first: int, frames: int) -> None:
    """Its first frame decodes to one picture, as any video's does."""
    part = moving(6, 4, 1).cut(first, frames, 6)
    assert part.times == picture_times(frames, 4)
    found = place(part.saliency(0, -1)[:, 0])
    centres = [4 * frame - 1.5 if frame else 0 for frame in range(6)]
    assert found[0] == pytest.approx(START + SPEED * centres[first], abs=0.02)
    assert found[-1] == pytest.approx(START + SPEED * centres[first + frames - 1], abs=0.02)
    with pytest.raises(ValueError, match="a part of a video"):
        moving(6, 4, 2).cut(first, frames, 6)


def test_what_the_explorer_asks() -> None:
    maps = moving(4, 4, 1)
    assert stacks(maps).shape == (13, 2, *GRID)
    by_block, by_step = (series(maps, 8, 0, by, 10**6) for by in ("block", "step"))
    assert by_block.shape == (3, *GRID) and by_step.shape == (2, *GRID)
    assert (by_block[1] == stacks(maps)[8, 0]).all()
    assert maps_key(maps, (80, 640)) != maps_key(replace(maps, times=maps.times[:-1]), (80, 640))


def test_a_recorder_knows_frames() -> None:
    concepts = Concepts(("boat", "sea"), 0, torch.zeros(1, 2, 4))
    times = picture_times(3, 4)
    frame = Frame((3, 4, 6), (64, 96), times=times)
    recorder = Recorder(concepts, "output", 2, frame, (0.0, 1.0))
    given = torch.randn(5, 2, 2, 72, generator=torch.Generator().manual_seed(0))
    recorder.add(0.5, (0, 1, 2, 3, 4), given)
    maps = recorder.finish((), "").maps
    assert maps is not None and maps.times == times and maps.pictures == 18 and maps.grid == (4, 6)
    assert torch.equal(maps.scores[0].flatten(3), given)


def test_a_file_of_a_video(tmp_path: Path) -> None:
    maps = moving(3, 4, 2)
    save_maps(maps, tmp_path / "video.safetensors")
    back = load_maps(tmp_path / "video.safetensors")
    assert torch.equal(back.scores, maps.scores) and {**vars(back), "scores": 0} == {**vars(maps), "scores": 0}
