"""Maps on disk: one `.safetensors` file with the raw scores, described by JSON in its metadata."""

from __future__ import annotations

import json
from collections.abc import Callable
from json import JSONDecodeError
from os import PathLike
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .maps import ConceptAttentionMaps

METADATA_KEY = "concept_attention_maps"
VERSION = 1


def save_maps(maps: ConceptAttentionMaps, path: str | PathLike[str]) -> None:
    """Write maps to a `.safetensors` file: the tensor `scores`, and every other field as JSON in the metadata.

    The file is read back bit for bit by `load_maps`, here or in ComfyUI.
    """
    description = {
        "version": VERSION,
        "concepts": maps.concepts,
        "background_count": maps.background_count,
        "blocks": maps.blocks,
        "sigmas": maps.sigmas,
        "image_size": maps.image_size,
        "projection": maps.projection,
        "token_pixels": maps.token_pixels,
        "family": maps.family,
        "default_blocks": maps.default_blocks,
        "temperature": maps.temperature,
    }
    scores = maps.scores.to("cpu", torch.float32).contiguous()
    save_file({"scores": scores}, path, metadata={METADATA_KEY: json.dumps(description)})


def load_maps(path: str | PathLike[str]) -> ConceptAttentionMaps:
    """Read what `save_maps` wrote.

    Raises FileNotFoundError where there is no file, and ValueError where it holds no maps, is damaged, or was written
    by a later version of this package.
    """
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
            scores = file.get_tensor("scores") if text is not None else None
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole .safetensors file: {error}") from error
    if text is None or scores is None:
        raise ValueError(f"{path} holds no concept attention maps: the metadata entry `{METADATA_KEY}` is missing.")
    try:
        return _described(scores, json.loads(text))
    except (KeyError, TypeError, IndexError, JSONDecodeError) as error:
        raise ValueError(f"{path} does not describe its maps: {error!r}. Save them again.") from error
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error


def _block_range(value: Any) -> tuple[int, int]:
    first, last = map(int, value)
    return first, last


LATER_FIELDS: dict[str, Callable[[Any], Any]] = {
    "token_pixels": int,
    "family": str,
    "default_blocks": _block_range,
    "temperature": float,
}
"""What files of the first kind lack: they are FLUX.1's, and the fields' defaults say so."""


def _described(scores: Tensor, description: dict[str, Any]) -> ConceptAttentionMaps:
    """The maps that a file's tensor and JSON make. Raises ValueError, without the file's name, where they disagree."""
    if description["version"] > VERSION:
        raise ValueError(
            f"was written by a later version of Concept Attention (format {description['version']}, this one reads up "
            f"to {VERSION}). Update this package."
        )
    maps = ConceptAttentionMaps(
        scores=scores,
        concepts=tuple(map(str, description["concepts"])),
        background_count=int(description["background_count"]),
        blocks=tuple(map(int, description["blocks"])),
        sigmas=tuple(map(float, description["sigmas"])),
        image_size=(int(description["image_size"][0]), int(description["image_size"][1])),
        projection=str(description["projection"]),
        **{key: read(description[key]) for key, read in LATER_FIELDS.items() if key in description},
    )
    described = (len(maps.sigmas), len(maps.blocks), len(maps.concepts))
    if (
        scores.ndim != 6
        or scores.dtype != torch.float32
        or scores.numel() == 0
        or (scores.shape[0], scores.shape[1], scores.shape[3]) != described
        or not 0 <= maps.background_count < len(maps.concepts)
        or min(maps.image_size) < 1
        or maps.token_pixels < 1
        or not maps.temperature > 0
    ):
        raise ValueError(
            f"contradicts itself: {scores.dtype} scores of shape {tuple(scores.shape)} for (steps, blocks, concepts) "
            f"{described}, {maps.background_count} of them background, a picture of {maps.image_size}. Save it again."
        )
    return maps
