"""Concept Attention from Image takes any picture, and says what is wrong with what it cannot take."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from conceptattention_core.evaluate.datasets.scenes.scenes import HELD_OUT, scene

from ..graphs import randn, tiny_flux, tiny_weights
from ..helpers import table_clip
from ..models import other_model
from .common import WORDS, pictures


@pytest.mark.parametrize(
    ("height", "width"), [(48, 80), (40, 56), (17, 23), (1, 1), (1, 100), (7, 9), (16, 8192), (129, 15)]
)
def test_any_size(look: Any, flux: Any, height: int, width: int) -> None:
    """The grid begins in the picture's corner: what it has too much of repeats the right and the lower edge."""
    image = pictures(1, height, width)
    maps = look(flux, image)
    h, w = -(-height // 16), -(-width // 16)
    assert maps.scores.shape == (1, 3, 1, 3, h, w) and maps.image_size == (height, width)
    rows, columns = torch.arange(16 * h).clamp(max=height - 1), torch.arange(16 * w).clamp(max=width - 1)
    padded = look(flux, image[:, rows][:, :, columns])
    assert padded.image_size == (16 * h, 16 * w) and torch.equal(maps.scores, padded.scores)


def test_maps_line_up_with_the_picture(pack: dict[str, Any], look: Any) -> None:
    """Pictures of an awkward size: what the demo model finds lies where the label maps say (cut where tokens begin)."""
    demo, demo_clip, demo_vae = pack["ConceptAttentionDemoModel"].execute().result
    right = []
    for seed in range(HELD_OUT + 40, HELD_OUT + 44):
        one = scene(seed)
        image = torch.from_numpy(one.image[48:191, 32:203].copy())[None].float() / 255
        labels = torch.from_numpy(one.labels[48:191, 32:203].copy()).long()
        concepts = ", ".join(one.names)
        maps = look(demo, image, concepts, clip=demo_clip, vae=demo_vae, prompt=concepts, background="")
        found = interpolate(maps.saliency(), scale_factor=16, mode="bilinear")[0, :, :143, :171].argmax(dim=0) + 1
        right.append((found == labels)[labels > 0].float().mean())
    assert min(right) > 0.8


def test_grey_and_alpha(look: Any, flux: Any) -> None:
    grey = pictures(2, channels=1)
    expected = look(flux, grey.expand(-1, -1, -1, 3))
    assert torch.equal(look(flux, grey).scores, expected.scores)
    colour = pictures(2)
    assert torch.equal(look(flux, torch.cat([colour, grey], dim=-1)).scores, look(flux, colour).scores)


def broken_picture(value: float) -> Tensor:
    image = pictures(3)
    image[1, 5, 6, 0] = value
    return image


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": broken_picture(torch.nan)}, r"Picture 1 of `image` holds values that are not numbers"),
        ({"image": broken_picture(torch.inf)}, r"Picture 1 of `image` holds values that are not numbers"),
        ({"image": pictures()[0]}, r"`image` is a batch of pictures.*not \(48, 80, 3\)"),
        ({"image": pictures(channels=2)}, r"`image` is a batch of pictures.*not \(1, 48, 80, 2\)"),
        ({"image": pictures()[:0]}, r"`image` is a batch of pictures.*not \(0, 48, 80, 3\)"),
        ({"noise_level": 1.5}, r"noise_level \(1.5\) must lie between 0.*and 1"),
        ({"noise_samples": 0}, r"noise_samples \(0\) must be at least 1"),
        ({"concepts": " ,"}, r"No concept is named.*`concepts`"),
        ({"background": "", "concepts": "house"}, r"'house' has nothing to compete with"),
    ],
)
def test_errors(look: Any, flux: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        look(flux, **{"image": pictures(), **changes})


@pytest.mark.parametrize("family", ["SD21UnclipL", "SDXLRefiner"])
def test_another_model_family(look: Any, family: str) -> None:
    with pytest.raises(ValueError, match=r"does not know this MODEL.*Load one with"):
        look(other_model(family), pictures())


def test_a_model_that_needs_more_than_a_picture(look: Any, comfy: Any) -> None:
    with pytest.raises(ValueError, match=r"Fill or Control model.*Use a plain FLUX.1"):
        look(tiny_flux(weights=tiny_weights(img_channels=384)), pictures())


def test_another_text_encoder_and_another_vae(look: Any, flux: Any, comfy: Any) -> None:
    narrow = table_clip(WORDS, randn(len(WORDS), 24))
    with pytest.raises(ValueError, match=r"encodes text to 24 channels and the model reads 32"):
        look(flux, pictures(), clip=narrow)
    config = {"ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1, "in_channels": 3, "out_ch": 3, "z_channels": 4,
              "resolution": 64, "double_z": True, "attn_resolutions": [], "embed_dim": 4}  # fmt: skip
    from comfy.ldm.models.autoencoder import AutoencoderKL

    sd15 = AutoencoderKL(ddconfig=config, embed_dim=4)
    other = comfy.sd.VAE(sd=sd15.state_dict(), config={"params": {"ddconfig": config, "embed_dim": 4}})
    with pytest.raises(ValueError, match=r"makes \(1, 4, 6, 10\).*reads \(1, 16, 6, 10\).*Connect FLUX.1's VAE"):
        look(flux, pictures(), vae=other)
