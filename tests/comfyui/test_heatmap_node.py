"""Concept Attention Heatmap in a real ComfyUI: what it draws is what the sampler's maps say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from conceptattention_core.maps import resize_maps
from conceptattention_core.pictures.colormaps import color_map

from .graphs import apply, empty_latent, ksampler, prompt, read_maps, tiny_flux

DRAW = {"concept": "", "layout": "grid", "colors": "heat", "scale": "shared", "alpha": 1.0}
BLOCKS = {"first_block": -10, "last_block": -1, "softmax_temperature": 1.0}


@pytest.fixture(scope="module")
def maps(pack: dict[str, Any]) -> Any:
    """The maps of two pictures."""
    model, attention = apply(pack, tiny_flux())
    return read_maps(pack, attention, ksampler(model, prompt(1), latent=empty_latent(batch=2)))


def draw(pack: dict[str, Any], maps: Any, **changes: Any) -> torch.Tensor:
    return pack["ConceptAttentionHeatmap"].execute(maps, **{**DRAW, **BLOCKS, **changes})[0]


@pytest.mark.parametrize("blocks", [(-10, -1, 1.0), (1, 1, 2.5)])
def test_the_colours_are_the_shares(pack: dict[str, Any], maps: Any, blocks: tuple[int, int, float]) -> None:
    shares = maps.saliency(*blocks)
    level = resize_maps(shares, maps.image_size, (50, 70))[:, maps.index("sky")] / shares.amax()
    drawn = draw(
        pack,
        maps,
        concept="sky",
        layout="pictures",
        colors="gray",
        image=torch.rand(1, 50, 70, 3),
        **dict(zip(BLOCKS, blocks, strict=True)),
    )
    assert_close(drawn, color_map("gray")[(level * 255).round().long()], atol=0.01, rtol=0)


def test_every_layout_is_an_image(pack: dict[str, Any], maps: Any) -> None:
    height, width = maps.image_size
    image = torch.rand(2, height, width, 4)
    drawn = {layout: draw(pack, maps, layout=layout, image=image) for layout in ("grid", "pictures", "overlay")}
    assert drawn["pictures"].shape == (2 * len(maps.concepts), height, width, 3)
    assert len(drawn["grid"]) == len(drawn["overlay"]) == 2 and drawn["overlay"].shape[2] == width
    drawn["weights"] = draw(pack, maps, layout="weights", first_block=1, last_block=2)
    assert len(drawn["weights"]) == 2 and not torch.equal(drawn["weights"], draw(pack, maps, layout="weights"))
    for picture in drawn.values():
        assert picture.dtype == torch.float32 and picture.device.type == "cpu" and picture.is_contiguous()


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"concept": "hous"}, "Did you mean 'house'"), ({"image": torch.rand(3, 8, 8, 3)}, "holds 3 pictures")],
)
def test_clear_errors(pack: dict[str, Any], maps: Any, changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw(pack, maps, **changes)
