"""Maps for people, by name and one picture at a time; and maps on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from conceptattention_core.maps import ConceptAttentionMaps
from conceptattention_core.storage import load_maps, save_maps
from conceptattention_core.views import ConceptMaps

SCORES = torch.randn(2, 3, 2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
SCORES[:, :, :, 0] += torch.tensor([5.0, 5, 5, -5, -5, -5])  # the dragon is on the left
RAW = ConceptAttentionMaps(SCORES, ("dragon", "red rock", "background"), 1, (0, 1, 2), (1.0, 0.1 + 0.2), (64, 96))


def test_by_name() -> None:
    maps = ConceptMaps(RAW)[1]
    saliency = maps.saliency(first_block=0, temperature=2.0)
    assert list(saliency) == ["dragon", "red rock", "background"]
    assert_close(torch.stack(list(saliency.values())), RAW.saliency(0, -1, 2.0)[1])


@pytest.mark.parametrize("method", ["mean", "otsu", "percentile", "threshold", "soft", "argmax"])
def test_masks_in_every_form(method: str) -> None:
    maps = ConceptMaps(RAW)[0]
    tensor = maps.mask("Dragon", method, percentile=50)  # type: ignore[arg-type]
    assert tensor.shape == (64, 96) and tensor[:, :32].mean() > 0.95 and tensor[:, 64:].mean() < 0.05
    array = maps.mask("dragon", method, percentile=50, output="numpy", size=(32, 48))  # type: ignore[call-overload]
    assert isinstance(array, np.ndarray) and array.shape == (32, 48)
    picture = maps.mask("dragon", method, percentile=50, output="pil")  # type: ignore[call-overload]
    assert picture.mode == "L" and picture.size == (96, 64)
    assert np.array_equal(np.array(picture), (tensor * 255).round().byte().numpy())


def test_pictures() -> None:
    maps = ConceptMaps(RAW)[0]
    photo = np.zeros((50, 75, 3), np.uint8)
    shown = [maps.overlay(form) for form in (Image.fromarray(photo), photo, torch.zeros(50, 75, 3))]
    assert shown[0].width == 75 and shown[0].height > 50
    assert all(np.array_equal(np.array(shown[0]), np.array(other)) for other in shown[1:])
    assert maps.overlay().size[0] == 96 and maps.heatmap("red rock", (10, 20)).size == (20, 10)


def test_a_batch_is_a_sequence() -> None:
    maps = ConceptMaps(RAW)
    assert len(maps) == len(list(maps)) == 2 and torch.equal(maps[-1].raw.scores, SCORES[:, :, 1:])
    for call in (maps.saliency, lambda: maps.mask("dragon"), lambda: maps.heatmap("dragon"), maps.overlay):
        with pytest.raises(ValueError, match=r"2 pictures.*maps\[0\]"):
            call()
    with pytest.raises(IndexError):
        maps[2]


def test_clear_errors() -> None:
    maps = ConceptMaps(RAW)[0]
    with pytest.raises(ValueError, match="Did you mean 'dragon'"):
        maps.mask("dragn")
    with pytest.raises(ValueError, match="otsu"):
        maps.mask("dragon", "ostu")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="numpy"):
        maps.mask("dragon", output="jpeg")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="channels last"):
        maps.overlay(torch.zeros(3, 64, 96))


FEATURES = torch.randn(3, 2, 16, 4, 6, generator=torch.Generator().manual_seed(1)).half()


@pytest.mark.parametrize("features", [None, FEATURES], ids=["version 1", "version 2"])
def test_saved_maps_come_back_bit_for_bit(tmp_path: Path, features: torch.Tensor | None) -> None:
    file = tmp_path / "maps.safetensors"
    raw = replace(RAW, features=features, softness=1.0 if features is None else 2.0)
    ConceptMaps(raw).save(file)
    back = load_maps(file)
    assert torch.equal(back.scores, RAW.scores)
    assert {**vars(back), "scores": None, "features": None} == {**vars(raw), "scores": None, "features": None}
    assert (back.features is None) if features is None else torch.equal(back.features, features)
    assert ConceptMaps.load(file).concepts == RAW.concepts
    save_maps(back, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()


def test_a_file_of_the_first_version_gives_the_same_maps() -> None:
    """Written before maps knew families: they are FLUX.1's, and what was read from them then is read now."""
    maps = load_maps(Path(__file__).parents[1] / "golden" / "maps_version_1.safetensors")
    scores = torch.randn(2, 12, 1, 3, 4, 6, generator=torch.Generator().manual_seed(7))
    assert torch.equal(maps.scores, scores)
    assert (maps.family, maps.token_pixels, maps.temperature, maps.image_size) == ("FLUX.1", 16, 1.0, (60, 90))
    last_ten = scores[:, 2:].softmax(dim=3).mean(dim=(0, 1))
    assert_close(maps.saliency(), last_ten, atol=1e-6, rtol=0)
    assert torch.equal(maps.saliency(), maps.saliency(-10, -1))
