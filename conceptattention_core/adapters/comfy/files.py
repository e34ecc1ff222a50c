"""Files in ComfyUI's input and output folders, and nowhere else: maps, and the pictures of the pack's workflows."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import folder_paths

from ...letters import printable, quoted

SUFFIX = ".safetensors"


def list_maps_files() -> list[str]:
    """Every `.safetensors` file that may be loaded, by ComfyUI's own names: ``a/b.safetensors`` in the input folder,
    ``a/b.safetensors [output]`` in the output folder. Never raises: what cannot be loaded or shown is left out."""
    inputs = _files(folder_paths.get_input_directory())
    outputs = _files(folder_paths.get_output_directory())
    return [*sorted(inputs), *(f"{name} [output]" for name in sorted(outputs))]


def find_maps_file(name: str) -> Path:
    """The file of such a name.

    Raises ValueError where the name leads out of ComfyUI's folders, by ``..``, as an absolute path or over a link, or
    is no `.safetensors` file, and FileNotFoundError where there is none.
    """
    if not isinstance(name, str) or not _shows(name.replace("\0", "").strip()):
        raise ValueError(f"{quoted(str(name))} is no file's name. Choose a file of the list.")
    relative, folder = folder_paths.annotated_filepath(name)
    folder = Path(folder or folder_paths.get_input_directory())
    shown, relative = quoted(name), relative.strip()
    if "\0" in relative or not _inside(folder, folder / relative):
        raise ValueError(f"{shown} leads out of ComfyUI's {folder.name} folder. Put the file there and choose it.")
    if not relative.endswith(SUFFIX):
        raise ValueError(f"{shown} is no {SUFFIX} file. Save Concept Attention Maps makes them.")
    if not os.path.isfile(folder / relative):
        raise FileNotFoundError(f"There is no file {shown} in ComfyUI's {folder.name} folder. Choose another one.")
    return folder / relative


def new_maps_file(prefix: str) -> tuple[Path, str]:
    """A path for new maps in the output folder by ComfyUI's own rules, and its subfolder.

    prefix: what the name begins with, with subfolders and placeholders such as ``%year%``; a counter follows. ComfyUI
    raises where the prefix leads out of its output folder.
    """
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, folder_paths.get_output_directory())
    return Path(folder) / f"{name}_{counter:05}_{SUFFIX}", subfolder


def _files(folder: str) -> Iterator[str]:
    """Relative paths, with ``/``, of all files in a folder that can be loaded and shown."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            relative = path.relative_to(folder).as_posix()
            loadable = name.endswith(SUFFIX) and os.path.isfile(path) and _inside(Path(folder), path)
            if loadable and _shows(relative):
                yield relative


def _shows(name: str) -> bool:
    """Whether a name is one line that can be shown and typed."""
    return printable(name) == name == name.strip() and not set(name) & set("\n\t")


def _inside(folder: Path, path: Path) -> bool:
    """Whether a path, links followed, lies in a folder. A link that leads round in a circle stays where it is."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def offer_pictures(folder: Path) -> None:
    """Put a folder's pictures where Load Image finds them, but in no other file's place.

    Where the input folder cannot be written, Load Image says that a picture is missing, and nothing else is lost.
    """
    inputs = Path(folder_paths.get_input_directory())
    for picture in sorted(folder.glob("concept_attention_*")):
        if not (inputs / picture.name).exists():
            with contextlib.suppress(OSError):
                shutil.copyfile(picture, inputs / picture.name)
