"""Where maps lie in ComfyUI: `.safetensors` files in its input and output folders, and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

SUFFIX = ".safetensors"


def list_maps_files() -> list[str]:
    """Every `.safetensors` file that may be loaded, by ComfyUI's own names: ``a/b.safetensors`` in the input folder,
    ``a/b.safetensors [output]`` in the output folder."""
    inputs = _files(folder_paths.get_input_directory())
    outputs = _files(folder_paths.get_output_directory())
    return [*inputs, *(f"{name} [output]" for name in outputs)]


def find_maps_file(name: str) -> Path:
    """The file of such a name.

    Raises ValueError where the name leads out of ComfyUI's folders, by ``..``, as an absolute path or over a link, or
    is no `.safetensors` file, and FileNotFoundError where there is none.
    """
    relative, folder = folder_paths.annotated_filepath(name)
    folder = Path(folder or folder_paths.get_input_directory())
    relative = relative.strip()
    if "\0" in relative or not _inside(folder, folder / relative):
        raise ValueError(f"{name!r} leads out of ComfyUI's {folder.name} folder. Put the file there and choose it.")
    if not relative.endswith(SUFFIX):
        raise ValueError(f"{name!r} is no {SUFFIX} file. Save Concept Attention Maps makes them.")
    if not (folder / relative).is_file():
        raise FileNotFoundError(f"There is no file {name!r} in ComfyUI's {folder.name} folder. Choose another one.")
    return folder / relative


def new_maps_file(prefix: str) -> tuple[Path, str]:
    """A path for new maps in the output folder by ComfyUI's own rules, and its subfolder.

    prefix: what the name begins with, with subfolders and placeholders such as ``%year%``; a counter follows. ComfyUI
    raises where the prefix leads out of its output folder.
    """
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, folder_paths.get_output_directory())
    return Path(folder) / f"{name}_{counter:05}_{SUFFIX}", subfolder


def _files(folder: str) -> list[str]:
    """Relative paths, with ``/``, of all loadable files in a folder, sorted."""
    found = (
        Path(parent, name) for parent, _, names in os.walk(folder) for name in names if name.endswith(SUFFIX)
    )  # fmt: skip
    return sorted(path.relative_to(folder).as_posix() for path in found if _inside(Path(folder), path))


def _inside(folder: Path, path: Path) -> bool:
    """Whether a path, links followed, lies in a folder."""
    return path.resolve().is_relative_to(folder.resolve())
