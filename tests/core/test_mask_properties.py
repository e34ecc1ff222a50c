"""Every mask that a recipe makes is one that other nodes accept, whatever the maps, the method and the options."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from conceptattention_core.maps import ConceptAttentionMaps
from conceptattention_core.masks.recipe import MaskRecipe, make_mask

NAMES = ("cat", "t-shirt", "floor", "background")
METHODS = ("soft", "mean", "otsu", "percentile", "threshold", "argmax")

few = settings(deadline=None, max_examples=60, derandomize=True)
unit = st.floats(0, 1, width=32)


@st.composite
def any_maps(draw: st.DrawFn) -> ConceptAttentionMaps:
    """Few concepts, one or two pictures, small grids that may hang over the picture's edge, any kind of score."""
    steps, blocks, batch = draw(st.tuples(*[st.integers(1, 2)] * 3))
    concepts = draw(st.integers(2, 4))
    h, w = draw(st.tuples(*[st.integers(1, 5)] * 2))
    shape = (steps, blocks, batch, concepts, h, w)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    scores = {
        "random": noise * draw(st.sampled_from([1e-3, 1.0, 1e4])),
        "constant": torch.full(shape, draw(st.sampled_from([0.0, -3.0, 1e30]))),
        "one concept everywhere": torch.cat([noise[:, :, :, :1] + 1e3, noise[:, :, :, 1:]], dim=3),
        "constant in places": noise.mean(dim=(4, 5), keepdim=True).expand(shape),
        "one hot": (noise == noise.amax(dim=(3, 4, 5), keepdim=True)).float() * 50,
    }[draw(st.sampled_from(["random", "constant", "one concept everywhere", "constant in places", "one hot"]))]
    size = (16 * h - draw(st.integers(0, 1)) * 8, 16 * w - draw(st.integers(0, 1)) * 8)
    names = (*NAMES[: concepts - 1], NAMES[-1])
    sigmas = (1.0, 0.5)[:steps]
    return ConceptAttentionMaps(scores, names, 1, tuple(range(blocks)), sigmas, size)


@st.composite
def any_recipe(draw: st.DrawFn) -> MaskRecipe:
    return MaskRecipe(
        concept=draw(st.sampled_from(["", "cat", "background", "cat + background", "cat - background", "cat - cat"])),
        min_presence=draw(st.sampled_from([0.0, 0.5, 1.0])),
        temperature=draw(st.sampled_from([0.01, 1.0, 1000.0])),
        refine_edges=draw(st.booleans()),
        method=draw(st.sampled_from(METHODS)),
        low=draw(st.floats(0, 0.5, width=32)),
        high=draw(st.floats(0.5, 1, width=32)),
        gamma=draw(st.sampled_from([0.1, 1.0, 10.0])),
        percentile=draw(st.floats(0, 100, width=32)),
        threshold=draw(unit),
        min_area=draw(st.sampled_from([0.0, 10.0, 100.0])),
        keep=draw(st.integers(0, 3)),
        fill_holes=draw(st.booleans()),
        grow=draw(st.sampled_from([0, 3, -3, 500, -500])),
        blur=draw(st.sampled_from([0, 2, 11, 200])),
        invert=draw(st.booleans()),
    )


def pictures_for(maps: ConceptAttentionMaps, seed: int, batch: int) -> Tensor:
    size = [side + seed % 5 for side in maps.image_size]
    return torch.rand(batch, *size, 3, generator=torch.Generator().manual_seed(seed))


@few
@given(any_maps(), any_recipe(), st.none() | st.integers(0, 9))
def test_every_mask_is_accepted_downstream(maps: ConceptAttentionMaps, recipe: MaskRecipe, picture: int | None) -> None:
    batch = maps.scores.shape[2]
    image = None if picture is None else pictures_for(maps, picture, 1 if picture < 5 else batch)
    made = make_mask(maps, recipe, image)
    mask = made.mask
    assert mask.shape == (batch, *(maps.image_size if image is None else image.shape[1:3]))
    assert mask.dtype == torch.float32 and mask.device.type == "cpu" and mask.is_contiguous()
    assert mask.min() >= 0 and mask.max() <= 1
    assert made.presence.shape == (batch,) and made.presence.min() >= 0 and made.presence.max() <= 1
    # Each picture's mask is empty or has a core of exactly 1, however soft it is; inverted, it is full or has a hole.
    wanted = 1 - mask if recipe.invert else mask
    assert set(wanted.amax(dim=(1, 2)).tolist()) <= {0.0, 1.0}
    if recipe.blur == 0 and recipe.method != "soft":
        assert set(mask.unique().tolist()) <= {0.0, 1.0}
    for one, sure in zip(wanted, made.presence, strict=True):
        assert sure >= recipe.min_presence or not one.any()


@few
@given(any_maps(), any_recipe(), st.integers(0, 9))
def test_each_picture_of_a_batch_is_alone(maps: ConceptAttentionMaps, recipe: MaskRecipe, seed: int) -> None:
    batch = maps.scores.shape[2]
    image = pictures_for(maps, seed, batch)
    together = make_mask(maps, recipe, image)
    for index in range(batch):
        one = make_mask(replace(maps, scores=maps.scores[:, :, index : index + 1]), recipe, image[index : index + 1])
        assert torch.equal(one.mask[0], together.mask[index])
        assert torch.equal(one.presence[0], together.presence[index])


@few
@given(any_maps(), any_recipe())
def test_options_do_what_they_say(maps: ConceptAttentionMaps, recipe: MaskRecipe) -> None:
    plain = replace(recipe, grow=0, blur=0, invert=False)
    mask = make_mask(maps, plain).mask
    assert torch.equal(make_mask(maps, replace(plain, invert=True)).mask, 1 - mask)
    assert (make_mask(maps, replace(plain, grow=4)).mask >= mask).all()
    shrunk = make_mask(maps, replace(plain, grow=-4)).mask
    assert ((shrunk > 0) <= (mask > 0)).all()
    faded = make_mask(maps, replace(plain, blur=5)).mask
    assert ((faded > 0) <= (make_mask(maps, replace(plain, grow=8)).mask > 0)).all()  # a square's corner: 5 * sqrt 2
    assert not make_mask(maps, replace(plain, min_presence=1.1)).mask.any()


@few
@given(any_maps(), any_recipe(), st.sampled_from(["soft", "mean", "otsu", "percentile"]))
def test_a_map_without_differences_has_no_mask(maps: ConceptAttentionMaps, recipe: MaskRecipe, method: str) -> None:
    """These methods measure the map itself; where it is flat, nothing stands out."""
    flat = replace(maps, scores=maps.scores.mean(dim=(4, 5), keepdim=True).expand_as(maps.scores))
    assert not make_mask(flat, replace(recipe, method=method, invert=False)).mask.any()


@few
@given(any_maps(), any_recipe(), st.sampled_from([float("nan"), float("inf"), -float("inf")]))
def test_scores_that_are_no_numbers_are_one_clear_error(
    maps: ConceptAttentionMaps, recipe: MaskRecipe, bad: float
) -> None:
    scores = maps.scores.clone()
    scores.view(-1)[scores.numel() // 2] = bad
    with pytest.raises(ValueError, match=r"not numbers.*bf16 instead of fp16"):
        make_mask(replace(maps, scores=scores), recipe)


def test_an_absent_concept_adds_nothing_and_takes_nothing_away() -> None:
    """The cat is in the upper half, the t-shirt nowhere, yet it beats the rest a little at one place."""
    scores = torch.zeros(1, 1, 1, 4, 8, 8)
    scores[..., 0, :4, :] = 10
    scores[..., 2, 4:, :] = 10
    scores[..., 1, :, 7] = 10.2
    scores[..., 1, :, :7] = -5
    scores[..., 1, 5:, :] = -5
    scores[..., 1, 1:, :] = -5
    maps = ConceptAttentionMaps(scores, NAMES, 1, (0,), (1.0,), (128, 128))
    cat = make_mask(maps, MaskRecipe("cat", method="threshold", threshold=0.3)).mask
    for method in ("threshold", "argmax"):
        recipe = MaskRecipe("t-shirt", method=method, threshold=0.3)
        guess = make_mask(maps, recipe)
        assert guess.mask.any() and guess.presence < make_mask(maps, MaskRecipe("cat")).presence
        between = float(guess.presence) + 1e-4
        assert not make_mask(maps, replace(recipe, min_presence=between)).mask.any()
        both = make_mask(maps, replace(recipe, concept="cat + t-shirt", min_presence=between))
        only = make_mask(maps, replace(recipe, concept="cat"))
        assert torch.equal(both.mask, only.mask) and torch.equal(both.presence, only.presence)
        without = replace(recipe, concept="cat - t-shirt", min_presence=between)
        assert torch.equal(make_mask(maps, without).mask, only.mask)
    assert cat.mean() == pytest.approx(0.5, abs=0.1)


def test_a_method_that_does_not_exist() -> None:
    maps = ConceptAttentionMaps(torch.randn(1, 1, 1, 2, 2, 2), ("a", "b"), 1, (0,), (1.0,), (32, 32))
    with pytest.raises(ValueError, match=r"no mask method 'fuzzy'.*otsu"):
        make_mask(maps, MaskRecipe(method="fuzzy"))  # pyright: ignore[reportArgumentType]
