"""Concept Attention Boxes speaks the language of ComfyUI's own SAM3 Detect: the stock node reads what it says."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conceptattention_core.maps import ConceptAttentionMaps

SETTINGS = {
    "method": "argmax",
    "threshold": 0.5,
    "min_area": 0.2,
    "max_boxes": 10,
    "padding": 16,
    "positive_count": 3,
    "negative_count": 3,
    "batch_index": 0,
    "first_block": -10,
    "last_block": -1,
    "softmax_temperature": 1.0,
}
TOKENS = (20, 30)
IMAGE = torch.zeros(2, 200, 450, 3)  # another size than the latent's 320 x 480
HOUSES = [((4, 3, 9, 10), (12, 20, 18, 26)), ((2, 15, 12, 25),)]  # top, left, bottom, right tokens; for each picture


def maps() -> ConceptAttentionMaps:
    """Two pictures with houses, sky above and grass below; and a unicorn that is nowhere."""
    scores = torch.zeros(1, 1, 2, 4, *TOKENS)
    scores[..., 1, :10, :], scores[..., 3, 10:, :] = 4, 4
    scores[:, :, :, 2] = -4
    for picture, houses in enumerate(HOUSES):
        for top, left, bottom, right in houses:
            scores[:, :, picture, 0, top:bottom, left:right] = 9
    return ConceptAttentionMaps(scores, ("house", "sky", "unicorn", "grass"), 1, (0,), (1.0,), (320, 480))


class Segmenter(nn.Module):
    """In the place of SAM's network: fills each box, or draws a disc on each positive point, and notes its prompts.

    Without weights there is no SAM; everything around this network is the stock node's code.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1), requires_grad=False)
        self.points: list[dict[str, Tensor]] = []

    def forward_segment(
        self, images: Tensor, point_inputs: Any = None, box_inputs: Any = None, mask_inputs: Any = None
    ) -> Tensor:
        assert images.shape == (1, 3, 1008, 1008)
        y, x = torch.meshgrid(torch.arange(1008.0), torch.arange(1008.0), indexing="ij")
        if box_inputs is not None:
            (x1, y1), (x2, y2) = box_inputs[0].tolist()
            inside = (x >= x1) & (x < x2) & (y >= y1) & (y < y2)
        else:
            self.points.append(point_inputs)
            pairs = zip(point_inputs["point_coords"][0], point_inputs["point_labels"][0], strict=True)
            discs = [(x - px) ** 2 + (y - py) ** 2 < 900 for (px, py), kind in pairs if kind == 1]
            inside = torch.stack(discs).any(dim=0)
        return (inside.float() * 2 - 1)[None, None]


@pytest.fixture
def sam(comfy: SimpleNamespace) -> Any:
    """A MODEL as SAM3 Detect takes it."""
    import comfy.model_patcher

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.diffusion_model = Segmenter()

        def get_dtype(self) -> torch.dtype:
            return torch.float32

    return comfy.model_patcher.ModelPatcher(Model(), torch.device("cpu"), torch.device("cpu"))


@pytest.fixture
def detect(comfy: SimpleNamespace, pack: dict[str, Any]) -> Any:
    import asyncio

    if "SAM3_Detect" not in pack:
        asyncio.run(comfy.nodes.init_builtin_extra_nodes())
    return pack["SAM3_Detect"]


def boxes(pack: dict[str, Any], concept: str = "house", image: Tensor | None = IMAGE, **changes: Any) -> Any:
    return pack["ConceptAttentionBoxes"].execute(maps(), concept, **{**SETTINGS, **changes}, image=image).args


def truth(picture: int, size: tuple[int, int]) -> Tensor:
    mask = torch.zeros(TOKENS)
    for top, left, bottom, right in HOUSES[picture]:
        mask[top:bottom, left:right] = 1
    return torch.nn.functional.interpolate(mask[None, None], size)[0, 0] > 0


def test_the_sockets_fit(pack: dict[str, Any], detect: Any) -> None:
    ours, theirs = pack["ConceptAttentionBoxes"].GET_NODE_INFO_V1(), detect.GET_NODE_INFO_V1()
    wanted = {**theirs["input"]["required"], **theirs["input"]["optional"]}
    sockets = [wanted[name][0] for name in ("bboxes", "positive_coords", "negative_coords")]
    assert ours["output"][:3] == sockets == ["BOUNDING_BOX", "STRING", "STRING"]


def test_sam_is_asked_for_the_houses_by_boxes(pack: dict[str, Any], detect: Any, sam: Any) -> None:
    found = boxes(pack)[0]
    assert [len(frame) for frame in found] == [2, 1] and {box["label"] for frame in found for box in frame} == {"house"}
    masks = detect.execute(sam, IMAGE, bboxes=found, refine_iterations=1)[0]
    for picture, mask in enumerate(masks):
        house = truth(picture, (200, 450))
        overlap = (mask > 0) & house
        assert overlap.sum() / ((mask > 0) | house).sum() > 0.9


@pytest.mark.parametrize("picture", [0, 1])
def test_sam_is_asked_for_the_houses_by_points(pack: dict[str, Any], detect: Any, sam: Any, picture: int) -> None:
    _, positive, negative, *_ = boxes(pack, batch_index=picture)
    mask = detect.execute(sam, IMAGE[:1], positive_coords=positive, negative_coords=negative, refine_iterations=1)[0][0]
    house = truth(picture, (200, 450))
    assert mask.sum() > 0 and (mask.bool() & house).sum() > 0.9 * mask.sum(), "a disc on each point lies on a house"
    (asked,) = sam.model.diffusion_model.points
    assert asked["point_labels"].tolist() == [[1, 1, 1, 0, 0, 0]]
    for point in json.loads(negative):
        assert not house[point["y"], point["x"]] and set(point) == {"x", "y"}


def test_an_absent_concept_gives_an_empty_mask(pack: dict[str, Any], detect: Any, sam: Any) -> None:
    found, positive, negative, region, *_ = boxes(pack, "unicorn")
    assert region == {"x": 0, "y": 0, "width": 450, "height": 200}, "the whole picture"
    assert (found, positive, negative) == ([[], []], "[]", "[]")
    masks = detect.execute(sam, IMAGE, bboxes=found, positive_coords=positive, negative_coords=negative)[0]
    assert masks.shape == (2, 200, 450) and not masks.any()


def test_without_an_image_pixels_are_the_latents(pack: dict[str, Any]) -> None:
    (house,) = boxes(pack, image=None)[0][1]
    assert house["x"] == pytest.approx(15 * 16, abs=8) and house["y"] == pytest.approx(2 * 16, abs=8)
    assert house["width"] == pytest.approx(160, abs=8) and house["height"] == pytest.approx(160, abs=8)


def test_draw_bboxes_takes_them(pack: dict[str, Any], detect: Any) -> None:
    drawn = pack["DrawBBoxes"].execute(boxes(pack)[0], IMAGE)[0]
    assert drawn.shape == IMAGE.shape and all((picture > 0).any() for picture in drawn)


def test_clear_errors(pack: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no picture 2"):
        boxes(pack, batch_index=2)
    with pytest.raises(ValueError, match="Did you mean 'house'"):
        boxes(pack, "huose")


def test_the_region_crops_to_the_house_and_pastes_back(pack: dict[str, Any]) -> None:
    """ComfyUI's own Crop Image, Crop Mask and Image Composite Masked take the region."""
    from comfy_extras.nodes_images import ImageCropV2
    from comfy_extras.nodes_mask import CropMask, ImageCompositeMasked

    house = truth(1, (200, 450)).float()
    image = house[None, ..., None].expand(-1, -1, -1, 3)
    *_, region, x, y, width, height = boxes(pack, batch_index=1, padding=10)
    crop, mask = ImageCropV2.execute(image, region)[0], CropMask.execute(house[None], x, y, width, height)[0]
    assert crop.shape == (1, height, width, 3) and crop.sum() == image.sum(), "the whole house is in it"
    assert (width * height) < 2.5 * house.sum() and width % 16 == height % 16 == 0
    pasted = ImageCompositeMasked.execute(torch.zeros_like(image), crop, x, y, False, mask)[0]
    assert torch.equal(pasted, image)
