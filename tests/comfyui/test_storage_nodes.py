"""Save and Load Concept Attention Maps: an exact round trip inside ComfyUI's folders, and no way out of them."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from .graphs import apply, ksampler, prompt, read_maps, tiny_flux


@pytest.fixture
def folders(comfy: SimpleNamespace, tmp_path: Path) -> Iterator[Path]:
    """ComfyUI's input and output folders, empty, side by side with a folder that is none of its business."""
    import folder_paths

    before = folder_paths.get_input_directory(), folder_paths.get_output_directory()
    for name in ("input", "output", "private"):
        (tmp_path / name).mkdir()
    folder_paths.set_input_directory(str(tmp_path / "input"))
    folder_paths.set_output_directory(str(tmp_path / "output"))
    yield tmp_path
    folder_paths.set_input_directory(before[0])
    folder_paths.set_output_directory(before[1])


@pytest.fixture(scope="module")
def maps(pack: dict[str, Any]) -> Any:
    model, attention = apply(pack, tiny_flux(), "house, sky")
    return read_maps(pack, attention, ksampler(model, prompt(1)))


def save(pack: dict[str, Any], maps: Any, prefix: str) -> Any:
    return pack["ConceptAttentionSave"].execute(maps, prefix)


def options(pack: dict[str, Any]) -> list[str]:
    """What the combo offers."""
    return pack["ConceptAttentionLoad"].INPUT_TYPES()["required"]["file"][1]["options"]


def test_round_trip(pack: dict[str, Any], folders: Path, maps: Any) -> None:
    load = pack["ConceptAttentionLoad"]
    first, second = save(pack, maps, "study/%year%/house"), save(pack, maps, "study/%year%/house")
    assert first[0] is maps
    (saved,) = second.ui["maps"]
    name = f"{saved['subfolder']}/{saved['filename']}"
    assert (folders / "output" / name).is_file() and saved["filename"] == "house_00002_.safetensors"
    assert second.ui["text"] == (f"Saved to output/{name}",)
    shutil.copy(folders / "output" / name, folders / "input" / "mine.safetensors")
    (folders / "output" / "picture.png").write_bytes(b"")
    offered = options(pack)
    assert offered == ["mine.safetensors", f"{name.replace('00002', '00001')} [output]", f"{name} [output]"]
    for file in offered:
        assert load.validate_inputs(file=file) is True
        (back,) = load.execute(file).result
        assert torch.equal(back.scores, maps.scores) and torch.equal(back.features, maps.features)
        without = {"scores": None, "features": None}
        assert {**vars(back), **without} == {**vars(maps), **without}


def test_a_changed_file_is_read_again(pack: dict[str, Any], folders: Path, maps: Any) -> None:
    load = pack["ConceptAttentionLoad"]
    save(pack, maps, "a")
    file = folders / "output" / "a_00001_.safetensors"
    before = load.fingerprint_inputs(file="a_00001_.safetensors [output]")
    stat = file.stat()
    changed = bytearray(file.read_bytes())
    changed[-1] ^= 1
    file.write_bytes(changed)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # same size, same time
    assert load.fingerprint_inputs(file="a_00001_.safetensors [output]") != before


@pytest.mark.parametrize(
    "name",
    [
        "../private/secret.safetensors",
        "../private/secret.safetensors [output]",
        "x/../../private/secret.safetensors [input]",
        "{root}/private/secret.safetensors",
        "{root}/private/secret.safetensors [output]",
        "link.safetensors",
        "linked/secret.safetensors",
        "../input_of_another/secret.safetensors",
        "secret.safetensors\0.png",
        "..",
    ],
)
def test_no_way_out_by_loading(pack: dict[str, Any], folders: Path, maps: Any, name: str) -> None:
    save(pack, maps, "secret")
    secret = folders / "private" / "secret.safetensors"
    (folders / "output" / "secret_00001_.safetensors").rename(secret)
    (folders / "input_of_another").mkdir()
    shutil.copy(secret, folders / "input_of_another")
    (folders / "input" / "link.safetensors").symlink_to(secret)
    (folders / "input" / "linked").symlink_to(folders / "private")
    assert options(pack) == []
    name = name.replace("{root}", str(folders))
    message = r"leads out of ComfyUI's (input|output) folder"
    with pytest.raises(ValueError, match=message):
        pack["ConceptAttentionLoad"].execute(name)
    said = pack["ConceptAttentionLoad"].validate_inputs(file=name)
    assert isinstance(said, str) and "leads out" in said


def test_listing_leaves_out_what_cannot_be_loaded_or_shown(pack: dict[str, Any], folders: Path, maps: Any) -> None:
    """Loops of links, pipes, folders, links to nothing, names that no screen shows: never an error, never offered."""
    save(pack, maps, "good")
    source, inputs = folders / "output" / "good_00001_.safetensors", folders / "input"
    (inputs / "loop.safetensors").symlink_to(inputs / "loop.safetensors")
    (inputs / "round").symlink_to(inputs)
    (inputs / "nothing.safetensors").symlink_to(inputs / "gone")
    (inputs / "folder.safetensors").mkdir()
    os.mkfifo(inputs / "pipe.safetensors")
    for name in (b"\xff\xfe.safetensors", b"bell\x07.safetensors", b" blank.safetensors", b"two\nlines.safetensors"):
        shutil.copy(source, os.fsencode(inputs) + b"/" + name)
    (inputs / "locked").mkdir(mode=0)
    for name in ("boat, 船.safetensors", "a [output].safetensors"):
        shutil.copy(source, inputs / name)
    offered = options(pack)
    assert offered == ["a [output].safetensors", "boat, 船.safetensors", "good_00001_.safetensors [output]"]
    for name in offered:
        assert pack["ConceptAttentionLoad"].validate_inputs(file=name) is True
    for name in ("x\ud83d.safetensors", "\udcff\udcfe.safetensors", "loop.safetensors", "y" * 5000 + ".safetensors"):
        assert isinstance(said := pack["ConceptAttentionLoad"].validate_inputs(file=name), str) and said.encode()
    (inputs / "locked").chmod(0o700)


def test_saving_where_nothing_can_be_written(pack: dict[str, Any], folders: Path, maps: Any) -> None:
    with pytest.raises(ValueError, match=r"could not be saved as 'xxx.*File name too long"):
        save(pack, maps, "x" * 400)
    assert not list((folders / "output").iterdir())


def test_the_server_takes_a_name_that_is_newer_than_its_list(pack: dict[str, Any], folders: Path, maps: Any) -> None:
    """As /prompt checks a graph: any file that can be loaded, and no other."""
    import execution

    save(pack, maps, "late")
    graph = {
        "1": {"class_type": "ConceptAttentionLoad", "inputs": {"file": "late_00001_.safetensors [output]"}},
        "2": {"class_type": "ConceptAttentionSave", "inputs": {"maps": ["1", 0], "filename_prefix": "again"}},
    }
    assert asyncio.run(execution.validate_prompt("id", graph, None))[0]
    graph["1"]["inputs"]["file"] = "../private/secret.safetensors"
    valid, _, _, errors = asyncio.run(execution.validate_prompt("id", graph, None))
    assert not valid and "leads out of ComfyUI's input folder" in str(errors)


@pytest.mark.parametrize("prefix", ["../private/maps", "{root}/private/maps", "linked/maps", "a/../../private/maps"])
def test_no_way_out_by_saving(pack: dict[str, Any], folders: Path, maps: Any, prefix: str) -> None:
    (folders / "output" / "linked").symlink_to(folders / "private")
    with pytest.raises(Exception, match="outside the output folder"):
        save(pack, maps, prefix.replace("{root}", str(folders)))
    assert not list((folders / "private").iterdir())


def test_files_that_hold_no_maps(pack: dict[str, Any], folders: Path) -> None:
    """A model, a picture, a folder, nothing: each is said in one line that names the file."""
    load = pack["ConceptAttentionLoad"]
    save_file({"weight": torch.zeros(2)}, folders / "input" / "model.safetensors")
    with pytest.raises(ValueError, match=r"model.safetensors holds no concept attention maps"):
        load.execute("model.safetensors")
    (folders / "input" / "folder.safetensors").mkdir()
    for name, message in (
        ("picture.png", "is no .safetensors file"),
        ("folder.safetensors", "There is no file"),
        ("gone.safetensors", "There is no file 'gone.safetensors' in ComfyUI's input folder"),
    ):
        assert message in load.validate_inputs(file=name)
