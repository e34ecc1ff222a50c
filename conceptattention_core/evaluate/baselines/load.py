"""Which baselines a run has: their options, their models, their rows."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from ..protocol import Protocol
from . import Baseline, stands_alone

MODELS = ("clip", "dino")
CLIP, DINO = "openai/clip-vit-large-patch14", "facebook/dino-vits8"
DINO_TYPES = ("vit", "dinov2", "dinov2_with_registers", "dinov3_vit")

Model = TypeVar("Model")


def add_baseline_options(command: argparse.ArgumentParser) -> None:
    """Which other models are compared, and where their weights are."""
    group = command.add_argument_group("baselines: other models on the same pictures, through transformers")
    group.add_argument(
        "--baselines",
        nargs="+",
        choices=MODELS,
        default=[],
        metavar="MODEL",
        help="clip: GradCAM of features and of attention, relevance and, for one object in a picture, rollout; "
        "dino: its self-attention, for one object in a picture only",
    )
    group.add_argument("--clip-model", default=CLIP, metavar="NAME", help=f"folder or hub name (default: {CLIP})")
    group.add_argument("--dino-model", default=DINO, metavar="NAME", help=f"folder or hub name (default: {DINO})")


def load_baselines(options: argparse.Namespace, protocol: Protocol, device: str) -> list[Baseline]:
    """The rows that were asked for, in the order of `MODELS`. Raises ValueError, in one line, for what is missing."""
    asked: Collection[str] = options.baselines
    if "dino" in asked and not stands_alone(protocol):
        raise ValueError(
            "DINO knows no names, so it can only be compared where a picture has one object and the mask is above the "
            "map's own mean. Leave dino out of --baselines, or measure imagenet-segmentation or voc --protocol single."
        )
    rows = []
    if "clip" in asked:
        try:
            import captum  # noqa: F401
        except ImportError as error:
            raise ValueError("--baselines clip needs captum for its GradCAM: pip install captum.") from error
        rows += _clip(options.clip_model, device, protocol)
    if "dino" in asked:
        rows += _dino(options.dino_model, device, protocol)
    return rows


def _clip(name: str, device: str, protocol: Protocol) -> list[Baseline]:
    from .clip import Clip

    clip = _load(Clip, "clip", name, ("clip",), device)
    reads = {
        "GradCAM of features, CLIP": clip.feature_gradcam,
        "GradCAM of attention, CLIP": clip.attention_gradcam,
        "Attention relevance, CLIP": clip.relevance,
    }
    if stands_alone(protocol):
        reads["Rollout, CLIP"] = clip.rollout
    return [Baseline(row, read.__name__, name, clip.weights, clip.side, protocol, read) for row, read in reads.items()]


def _dino(name: str, device: str, protocol: Protocol) -> list[Baseline]:
    from .dino import Dino

    dino = _load(Dino, "dino", name, DINO_TYPES, device)
    return [Baseline("Self-attention, DINO", "attention", name, dino.weights, dino.side, protocol, dino.attention)]


def _load(kind: Callable[[str, str], Model], option: str, name: str, types: Collection[str], device: str) -> Model:
    from transformers import AutoConfig

    try:
        config: Any = AutoConfig.from_pretrained(name)
        if config.model_type not in types:
            raise ValueError(f"it is of type {config.model_type}, not {' or '.join(types)}")
        return kind(name, device)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"--{option}-model {name} cannot be loaded. Give a folder that holds the model as transformers saves it, "
            f"with its preprocessor_config.json, or the name of one on the hub. It was: {error}"
        ) from error
