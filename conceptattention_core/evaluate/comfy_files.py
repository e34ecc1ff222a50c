"""Which files of a ComfyUI are meant: by their paths, or by their names in its models folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

ENDINGS = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin")
FOLDERS = {
    "unet": ("diffusion_models", "unet"),
    "clip": ("text_encoders", "clip"),
    "vae": ("vae",),
    "checkpoint": ("checkpoints",),
}
"""Where ComfyUI keeps what each option names, in its models folder."""
MOST_NAMES = 8


@dataclass(frozen=True)
class ComfyFiles:
    """A checkpoint that holds everything, or a diffusion model, text encoders and a VAE; all None: the demo model."""

    unet: Path | None = None
    clip: tuple[Path, ...] = ()
    vae: Path | None = None
    checkpoint: Path | None = None

    @property
    def names_a_model(self) -> bool:
        return self.checkpoint is not None or self.unet is not None


def chosen_files(options: argparse.Namespace) -> ComfyFiles:
    """The files that the command line means. Raises ValueError, naming what there is, for a part that is not there."""
    models = options.comfyui_models or (None if options.comfyui is None else options.comfyui / "models")
    if models is not None and options.comfyui_models and not models.is_dir():
        raise ValueError(f"--comfyui-models {models} is no folder.")
    if options.checkpoint is not None:
        return ComfyFiles(checkpoint=find_file("checkpoint", options.checkpoint, models))
    parts = {"unet": options.unet, "clip": options.clip, "vae": options.vae}
    missing = [f"--{name}" for name, given in parts.items() if not given]
    if len(missing) == len(parts):
        return ComfyFiles()
    if missing:
        raise ValueError(f"Give {' and '.join(missing)}, too: a model in parts is --unet, --clip and --vae.")
    clip = tuple(find_file("clip", path, models) for path in options.clip)
    return ComfyFiles(find_file("unet", options.unet, models), clip, find_file("vae", options.vae, models))


def find_file(part: str, given: Path, models: Path | None) -> Path:
    """A file, the only one of a folder, or one of that name in the models folder.

    part: a key of `FOLDERS`. Raises ValueError that lists what there is.
    """
    if given.is_file():
        return given
    if given.is_dir():
        return only_file(part, given, files_in(given))
    if models is None:
        raise ValueError(f"There is no file {given}. With --comfyui-models FOLDER its name is enough.")
    folders = [models / name for name in FOLDERS[part]]
    there = [path for folder in folders for path in files_in(folder)]
    found = [path for path in there if path.parts[-len(given.parts) :] == given.parts]
    if not found:
        names = sorted({path.name for path in there})
        near = get_close_matches(given.name, names, n=MOST_NAMES, cutoff=0.3) or names[:MOST_NAMES]
        listed = f"There are: {', '.join(near)}" if near else "They hold no model"
        raise ValueError(f"There is no {given} in {' or '.join(map(str, folders))}. {listed}.")
    return only_file(part, given, found)


def only_file(part: str, given: Path, found: Sequence[Path]) -> Path:
    """Raises ValueError where it is none, or several."""
    if len(found) == 1:
        return found[0]
    if not found:
        raise ValueError(f"There is no model file in {given} ({', '.join(ENDINGS)}).")
    raise ValueError(f"--{part} {given} may be {len(found)} files: {', '.join(map(str, found))}. Give one of them.")


def files_in(folder: Path) -> list[Path]:
    """Model files of a folder and the folders in it, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
