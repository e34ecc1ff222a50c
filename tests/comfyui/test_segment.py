"""Concept Segmentation: labels that cover the picture, and masks that other nodes can use."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

from conceptattention_core.evaluate.datasets.scenes.scenes import HELD_OUT, Scene, scene
from tools.benchmarks.quality import Agreement, ceiling_shares

SEGMENT = {
    "concept": "",
    "refine_edges": True,
    "min_area": 0.0,
    "fill_holes": False,
    "first_block": 0,
    "last_block": -1,
    "softmax_temperature": 1.0,
}
SCENES = [scene(HELD_OUT + 4000 + index) for index in range(12)]
ONE = next(one for one in SCENES if len(one.names) >= 4)


def picture(one: Scene) -> Tensor:
    return torch.from_numpy(one.image.copy()).float()[None] / 255


def maps_kind(pack: dict[str, Any]) -> Any:
    """The pack's own class, as ComfyUI has loaded it."""
    package = pack["ConceptAttentionSave"].__module__.rsplit(".", 2)[0]
    return import_module(f"{package}.conceptattention_core.maps").ConceptAttentionMaps


def maps_of(pack: dict[str, Any], scenes: list[Scene], names: tuple[str, ...], background: int = 0) -> Any:
    """Maps of a model that knows each token's shares, for two blocks and one step."""
    kind = maps_kind(pack)
    shares = torch.cat([ceiling_shares(one.labels, len(names), (16, 16)) for one in scenes])
    scores = (6 * shares)[None, None].expand(1, 2, -1, -1, -1, -1)
    return kind(scores, names, background, (0, 1), (0.5,), (256, 256))


def segment(pack: dict[str, Any], maps: Any, **changes: Any) -> Any:
    return pack["ConceptAttentionSegmentation"].execute(maps, **{**SEGMENT, **changes}).result


def test_a_scene_is_parted_along_its_edges(pack: dict[str, Any]) -> None:
    maps = maps_of(pack, [ONE], ONE.names)
    found = {}
    for refine in (False, True):
        labels, masks, mask = segment(pack, maps, image=picture(ONE), refine_edges=refine, concept=ONE.names[1])
        assert torch.equal(masks.sum(dim=0), torch.ones(256, 256))
        assert torch.equal(mask[0], masks[1])
        assert labels.shape[0] == 1 and labels.shape[1] > 256 and labels.shape[2:] == (256, 3)
        for out in (labels, masks, mask):
            assert out.dtype == torch.float32 and out.device.type == "cpu" and out.is_contiguous()
        found[refine] = Agreement()
        found[refine].add(masks.argmax(dim=0).numpy() + 1, ONE.labels, ONE.names)
    assert found[True].mean_iou > 0.9 and found[True].mean_iou > found[False].mean_iou + 0.03


def test_masks_of_a_batch_are_picture_major_and_without_background(pack: dict[str, Any]) -> None:
    """The last two of four concepts are made background; a batch equals its pictures one by one."""
    names = ("a", "b", "c", "d")
    both = [ONE, SCENES[-1]]
    images = torch.cat([picture(one) for one in both])
    for options in ({}, {"image": images}):
        labels, masks, mask = segment(pack, maps_of(pack, both, names, 2), concept="b", **options)
        assert masks.shape == (4, 256, 256) and mask.shape == (2, 256, 256)
        assert torch.equal(mask, masks[1::2])
        for index, one in enumerate(both):
            single = {name: picture(one) for name in options}
            alone = segment(pack, maps_of(pack, [one], names, 2), concept="b", **single)
            assert torch.equal(alone[0][0], labels[index]) and torch.equal(alone[1], masks[2 * index : 2 * index + 2])
        *_, background = segment(pack, maps_of(pack, both, names, 2), concept="d", **options)
        assert (background + masks[0::2] + masks[1::2]).max() == 1


def test_regions(pack: dict[str, Any]) -> None:
    """A speck and a hole of background in the first concept; four concepts, 8 x 8 tokens."""
    kind = maps_kind(pack)
    tokens = torch.zeros(8, 8, dtype=torch.long)
    tokens[:, 6:] = 1
    tokens[1, 1], tokens[4:6, 2:4] = 2, 3
    scores = 20 * torch.nn.functional.one_hot(tokens, 4).permute(2, 0, 1).float()[None, None, None]
    maps = kind(scores, ("a", "b", "c", "background"), 1, (0,), (0.5,), (128, 128))
    size = {
        (minimum, fill): [int(mask.sum()) for mask in segment(pack, maps, min_area=minimum, fill_holes=fill)[1]]
        for minimum in (0, 3.6)
        for fill in (False, True)
    }
    plain = size[0, False]
    assert plain[2] > 0 and sum(plain) < 128 * 128
    assert size[3.6, False] == [plain[0] + plain[2], plain[1], 0]
    assert size[0, True] == [128 * 128 - plain[1] - plain[2], plain[1], plain[2]]
    assert size[3.6, True] == [128 * 128 - plain[1], plain[1], 0]


@pytest.mark.parametrize("size", [(1, 1), (17, 300), (256, 256), (500, 333)])
def test_any_image_size(pack: dict[str, Any], size: tuple[int, int]) -> None:
    image = torch.rand(1, *size, 4, generator=torch.Generator().manual_seed(0))
    labels, masks, mask = segment(pack, maps_of(pack, [ONE], ONE.names), image=image, min_area=1.0)
    assert masks.shape == (len(ONE.names), *size) and mask.shape == (1, *size) and labels.shape[2] == size[1]
    assert torch.equal(masks.sum(dim=0), torch.ones(size))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concept": "zzzz"}, "There is no concept 'zzzz'"),
        ({"first_block": 5, "last_block": 9}, "No block lies between"),
        ({"image": torch.rand(3, 8, 8, 3)}, "`image` holds 3 pictures"),
        ({"image": torch.full((1, 8, 8, 3), torch.nan)}, "`image` holds values that are not numbers"),
    ],
)
def test_clear_errors(pack: dict[str, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        segment(pack, maps_of(pack, [ONE], ONE.names), **options)
