"""Files that are no maps, or damaged, or hostile: one error with the file's name, at once, and no memory taken."""

from __future__ import annotations

import json
import math
import os
import resource
import struct
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from conceptattention_core.letters import printable
from conceptattention_core.maps import ConceptAttentionMaps, resize_maps
from conceptattention_core.storage import UNFINISHED, load_maps, save_maps

SCORES = torch.randn(2, 3, 2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
VIDEO = SCORES[:, :, :, :, None].repeat(1, 1, 1, 1, 3, 1, 1)
DESCRIPTION = {
    "version": 1,
    "concepts": ["dragon", "red rock", "background"],
    "background_count": 1,
    "blocks": [0, 1, 2],
    "sigmas": [1.0, 0.1 + 0.2],
    "image_size": [64, 96],
    "projection": "output",
    "token_pixels": 16,
    "family": "FLUX.1",
    "default_blocks": [-10, -1],
    "temperature": 1.0,
}
RAW = ConceptAttentionMaps(SCORES, ("dragon", "red rock", "background"), 1, (0, 1, 2), (1.0, 0.1 + 0.2), (64, 96))


FEATURES = torch.randn(3, 2, 16, 4, 6, generator=torch.Generator().manual_seed(1)).half()
FEATURES_OF_VIDEO = FEATURES[:, :, :, None].repeat(1, 1, 1, 3, 1, 1)


def file_of(description: Any, scores: torch.Tensor = SCORES, **more: torch.Tensor) -> bytes:
    text = description if isinstance(description, str) else json.dumps(description)
    return save({"scores": scores, **more}, metadata={"concept_attention_maps": text})


def refused(path: Path, data: bytes, message: str) -> None:
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as raised:
        load_maps(path)
    assert path.name in str(raised.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 3}, "later version"),
        ({"version": 1.5}, "version is '1.5', not a whole number"),
        ({"concepts": None}, "concepts is 'None', not a list"),
        ({"concepts": ["dragon", "rock"]}, r"contradicts itself.*\(2, 3, 2\)"),
        ({"concepts": ["dragon", " rock", "sky"]}, "without blanks"),
        ({"concepts": ["dragon", "dragon", "sky"]}, "a name of its own"),
        ({"concepts": ["dragon", "", "sky"]}, "a word or a few"),
        ({"concepts": ["dragon", "x\ud83d", "sky"]}, "that can be shown"),
        ({"concepts": [f"thing {n}" for n in range(65)]}, "a list of 1 to 64"),
        ({"background_count": 3}, "contradicts itself.*3 of them background"),
        ({"background_count": -1}, "background_count is '-1'"),
        ({"background_count": True}, "background_count is 'True'"),
        ({"blocks": [0, 1]}, "contradicts itself"),
        ({"blocks": [2, 1, 0]}, "rising"),
        ({"sigmas": [1.0]}, "contradicts itself"),
        ({"sigmas": [1.0, math.nan]}, "NaN, which is no number"),
        ({"sigmas": [1.0, math.inf]}, "Infinity, which is no number"),
        ({"image_size": [64]}, "two whole numbers"),
        ({"image_size": [0, 96]}, "image_size is '0'"),
        ({"image_size": [1, 1]}, "contradicts itself"),
        ({"image_size": [2**20, 96]}, "contradicts itself"),
        ({"image_size": [2**15, 2**15], "token_pixels": 256}, "contradicts itself"),
        ({"token_pixels": 10**9}, "token_pixels is"),
        ({"temperature": 0}, "temperature is '0'"),
        ({"default_blocks": [1, 2, 3]}, "a list of 1 to 2"),
        ({"family": "x" * 101}, "family is"),
        ({"times": [0.0, 0.5, 1.0]}, "contradicts itself.*3 pictures of"),
        ({"times": []}, "times is .*a list of 1 to"),
        ({"trust": [0.2, 0.2, 0.2, 0.2, 0.2]}, "contradicts itself"),
        ({"trust": [0.5, 0]}, "trust is '0'"),
        ({"times": [0.0, -1]}, "times is '-1'"),
    ],
)
def test_descriptions_that_do_not_fit(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    refused(tmp_path / "maps.safetensors", file_of({**DESCRIPTION, **change}), message)


@pytest.mark.parametrize("field", [name for name in DESCRIPTION if name not in ("token_pixels", "family")][:7])
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    left = {name: value for name, value in DESCRIPTION.items() if name != field}
    refused(tmp_path / "maps.safetensors", file_of(left), f"{field} is missing")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (save({"scores": torch.zeros(1)}), "holds no concept attention maps"),
        (save({"weight": torch.zeros(1)}, metadata={"concept_attention_maps": "{}"}), "holds no concept"),
        (file_of(DESCRIPTION)[:-8], "not a whole"),
        (b"", "not a whole"),
        (b"\x89PNG\r\n", "not a whole"),
        (struct.pack("<Q", 2**63) + b"{}", "not a whole"),
        (struct.pack("<Q", 2**22 + 8) + b" " * (2**22 + 8), "something larger"),
        (file_of("[" * 100_000), "does not describe its maps"),
        (file_of("[]"), "no JSON object"),
        (file_of('{"version": 1' + "0" * 5000 + "}"), "does not describe its maps"),
        (file_of(DESCRIPTION, SCORES.double()), "contradicts itself: F64"),
        (file_of(DESCRIPTION, SCORES[0]), "contradicts itself"),
        (file_of(DESCRIPTION, VIDEO), "contradicts itself.*a picture of"),
        (file_of({**DESCRIPTION, "times": [0.0, 2.5]}, VIDEO), "contradicts itself.*2 pictures of"),
        (file_of({**DESCRIPTION, "times": [0.0] * 97}, VIDEO), "contradicts itself.*97 pictures of"),
        (file_of(DESCRIPTION, SCORES / 0), "not numbers, or beyond"),
        (file_of(DESCRIPTION, SCORES * math.nan), "not numbers, or beyond"),
        (file_of(DESCRIPTION, SCORES * 1e35), "not numbers, or beyond"),
        (file_of(DESCRIPTION, features=FEATURES[:2]), r"contradicts itself.*\(2, 2, 16, 4, 6\)"),
        (file_of(DESCRIPTION, features=FEATURES.float()), "contradicts itself: F32 features"),
        (file_of({**DESCRIPTION, "version": 2}, features=FEATURES / 0), "features that are not numbers"),
    ],
    ids=range(21),
)
def test_files_that_hold_no_maps(tmp_path: Path, data: bytes, message: str) -> None:
    refused(tmp_path / "other.safetensors", data, message)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_maps(tmp_path / "nothing")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(ValueError, match=r"folder.safetensors cannot be read: Is a directory"):
        load_maps(tmp_path / "folder.safetensors")


OF_VIDEO: tuple[dict[str, Any], ...] = ({}, {"version": 2, "times": [0.0, 0.5, 1.0, 2.0]})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inside: st.lists(inside, max_size=5) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=8,
)
WHOLE = {**DESCRIPTION, "version": 2}
CHANGED = st.tuples(
    st.booleans(), st.dictionaries(st.sampled_from([*DESCRIPTION, "times"]), JSON, min_size=1, max_size=3)
).map(lambda given: file_of(
    {**WHOLE, **OF_VIDEO[given[0]], **given[1]},
    (SCORES, VIDEO)[given[0]],
    features=(FEATURES, FEATURES_OF_VIDEO)[given[0]],
))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good file with bytes overwritten, taken out or put in, or cut off, most often where it describes itself."""
    data = bytearray(file_of(WHOLE, features=FEATURES))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, 700) | st.integers(0, len(data) - 1))
        how = draw(st.sampled_from(["set", "cut", "put", "end"]))
        if how == "set":
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif how == "cut":
            del data[at : at + draw(st.integers(1, 40))]
        elif how == "put":
            data[at:at] = draw(st.binary(max_size=40) | st.sampled_from([b"9" * 30, b"1e999", b"\\ud800", b"[[[["]))
        else:
            del data[at:]
        data = data or bytearray(b"x")
    return bytes(data)


@given(CHANGED | damaged())
@settings(max_examples=600, deadline=1000, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_is_refused_at_once(tmp_path: Path, data: bytes) -> None:
    """Whatever was changed: an error with the file's name that can be printed, or maps that are still good to read."""
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(data)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        maps = load_maps(path)
    except ValueError as error:
        assert str(error).count(path.name) == 1 and printable(str(error)) == str(error) and len(str(error)) < 600
    else:
        shares = maps.saliency(0, -1)
        pixels = resize_maps(shares, maps.image_size, maps.image_size, maps.token_pixels)
        assert pixels.isfinite().all() and pixels.numel() < 2**24
    assert time.process_time() - start < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


def test_a_save_leaves_nothing_behind(tmp_path: Path) -> None:
    """The file has any new file's permissions; a save that was killed is cleaned up, one that goes on is not."""
    old, new, other = (tmp_path / f"{UNFINISHED}{name}" for name in ("old", "new", "link"))
    (tmp_path / "elsewhere").mkdir()
    for folder in (old, new):
        folder.mkdir()
        (folder / "maps").touch()
    other.symlink_to(tmp_path / "elsewhere")
    os.utime(old, (1, 1))
    before = os.umask(0o027)
    try:
        save_maps(RAW, tmp_path / "maps.safetensors")
    finally:
        os.umask(before)
    assert (tmp_path / "maps.safetensors").stat().st_mode & 0o777 == 0o640
    assert {path.name for path in tmp_path.iterdir()} == {"maps.safetensors", "elsewhere", new.name, other.name}
    save_file({"scores": SCORES}, tmp_path / "maps.safetensors")
    save_maps(RAW, tmp_path / "maps.safetensors")  # over an old one
    assert torch.equal(load_maps(tmp_path / "maps.safetensors").scores, SCORES)
