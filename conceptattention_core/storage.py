"""Maps on disk: one `.safetensors` file with the raw scores, described by JSON in its metadata."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from os import PathLike
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .described import VERSION, Kind, read_description
from .letters import printable
from .maps import ConceptAttentionMaps

METADATA_KEY = "concept_attention_maps"

MAX_HEADER = 2**22
"""Bytes of a file's header: a description is 20 bytes a step. Models that hold no maps have longer ones."""

LARGEST_SCORE = 1e30
"""Real scores stay below 1e7; differences of larger ones than this are no float32."""

UNFINISHED = ".concept_attention_"
"""What the folder of a save that has not ended begins with."""

STALE_SECONDS = 3600.0


def save_maps(maps: ConceptAttentionMaps, path: str | PathLike[str]) -> None:
    """Write maps to a `.safetensors` file: the tensors, and every other field as JSON in the metadata.

    The file is read back bit for bit by `load_maps`, here or in ComfyUI. It appears when it is whole, with the
    permissions of any new file; what an earlier save that was killed has left in its folder is removed.
    """
    description = {
        # What an earlier version of this package can read, it may.
        "version": VERSION if maps.times or maps.features is not None else 1,
        "concepts": maps.concepts,
        "background_count": maps.background_count,
        "blocks": maps.blocks,
        "sigmas": maps.sigmas,
        "image_size": maps.image_size,
        "projection": maps.projection,
        "token_pixels": maps.token_pixels,
        "family": maps.family,
        "default_blocks": maps.default_blocks,
        "reading": maps.reading,
        "trusted_blocks": maps.trusted_blocks,
        "temperature": maps.temperature,
        **({"times": maps.times} if maps.times else {}),
        **({"softness": maps.softness} if maps.softness != 1 else {}),
        **({"trust": maps.trust} if maps.trust else {}),
    }
    path = Path(path)
    tensors = {"scores": maps.scores.to("cpu", torch.float32).contiguous()}
    if maps.features is not None:
        tensors["features"] = maps.features.to("cpu", torch.float16).contiguous()
    _remove_stale(path.parent)
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=path.parent) as folder:
        model, file = Path(folder, "mode"), Path(folder, "maps")
        model.touch()  # by open(): its mode is what the user's umask makes of a new file
        save_file(tensors, file, metadata={METADATA_KEY: json.dumps(description)})
        file.chmod(model.stat().st_mode & 0o777)
        os.replace(file, path)


def _remove_stale(folder: Path) -> None:
    """Take away unfinished saves of an hour ago: nobody writes on at those."""
    for left in folder.glob(f"{UNFINISHED}*"):
        if left.is_dir() and not left.is_symlink() and time.time() - left.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)


def load_maps(path: str | PathLike[str]) -> ConceptAttentionMaps:
    """Read what `save_maps` wrote.

    Raises FileNotFoundError where there is no file, and ValueError, with the file's name, where it cannot be read,
    holds no maps, is damaged, contradicts itself, or was written by a later version of this package. Tensors are read
    last, once all that the file says of them holds.
    """
    name = printable(str(path))
    try:
        text, kinds = _header(path)
        fields = read_description(text, kinds)
        with safe_open(path, "pt") as file:
            scores = file.get_tensor("scores")
            features = file.get_tensor("features") if "features" in kinds else None
    except SafetensorError as error:
        raise ValueError(f"{name} is not a whole .safetensors file: {printable(str(error))[:200]}") from error
    except ValueError as error:
        raise ValueError(f"{name} {error}") from error
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror}.") from error
    if not bool((scores.abs() <= LARGEST_SCORE).all()):  # so NaN, too
        raise ValueError(f"{name} holds scores that are not numbers, or beyond all reason. Save the maps again.")
    if features is not None and not bool(features.isfinite().all()):
        raise ValueError(f"{name} holds features that are not numbers. Save the maps again.")
    return ConceptAttentionMaps(scores=scores, features=features, **fields)


def _header(path: str | PathLike[str]) -> tuple[str, dict[str, Kind]]:
    """A file's description, and its tensors' kinds. Raises ValueError where it has no description or no scores."""
    with open(path, "rb") as raw:
        length = int.from_bytes(raw.read(8), "little")
        whole = 8 + length <= os.fstat(raw.fileno()).st_size
    if whole and length > MAX_HEADER:
        raise ValueError("holds no concept attention maps, but something larger: perhaps a model.")
    with safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get(METADATA_KEY)
        if text is None or "scores" not in file.keys():  # noqa: SIM118
            raise ValueError(f"holds no concept attention maps: the metadata entry `{METADATA_KEY}` is missing.")
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        return text, {name: (tuple(one.get_shape()), one.get_dtype()) for name, one in slices.items()}
