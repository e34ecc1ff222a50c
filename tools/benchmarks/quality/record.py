"""Scenes, sampled by the demo model with any words, and kept on disk so that rules can be compared often."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from conceptattention_core.concepts import TokenPooling
from conceptattention_core.evaluate.datasets.scenes.scenes import Scene
from conceptattention_core.maps import ConceptAttentionMaps
from conceptattention_core.scores import Projection
from conceptattention_core.storage import load_maps, save_maps

from .words import BACKGROUND

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Setting:
    """How scenes are sampled. noise: level to start from, 0..1; steps: Euler steps from there to the picture."""

    noise: float = 0.5
    steps: int = 5
    projection: Projection = "output"
    pooling: TokenPooling = "mean"

    @property
    def folder(self) -> str:
        return f"{self.projection}-{self.pooling}-{self.noise}-{self.steps}"


def start_comfyui(path: Path) -> None:
    """Put ComfyUI and the pack on the path and choose ComfyUI's device as its command line would."""
    sys.path[:0] = [str(path), str(ROOT)]  # ComfyUI first: `nodes` is its module
    import comfy.cli_args

    comfy.cli_args.args.cpu = not torch.cuda.is_available()
    logging.disable(logging.INFO)


def record_scene(
    parts: tuple[Any, Any, Any], one: Scene, lists: Mapping[str, tuple[str, ...]], setting: Setting
) -> dict[str, ConceptAttentionMaps]:
    """Maps of one scene for each list of words, all recorded in a single sampling run.

    parts: the model, as `load_demo_flux` gives it. A last word `background` only competes.
    """
    import comfy.sample
    import comfy.samplers

    from conceptattention_core.adapters.comfy.sampling import apply_concept_attention
    from conceptattention_core.adapters.comfy.text import encode_concepts

    model, clip, vae = parts
    stores = {}
    for key, names in lists.items():
        concepts = encode_concepts(clip, names, int(names[-1] == BACKGROUND), setting.pooling, parts[0])
        model, stores[key] = apply_concept_attention(model, concepts, setting.projection, 0.0, 1.0)
    prompt = clip.encode_from_tokens_scheduled(clip.tokenize(one.caption))
    latent = vae.encode(torch.from_numpy(one.image.copy()).float()[None] / 255.0)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(one.seed % 2**31))
    sigmas = torch.linspace(setting.noise, 0.0, setting.steps + 1)
    sampler = comfy.samplers.sampler_object("euler")
    made = comfy.sample.sample_custom(
        model, noise, 1.0, sampler, sigmas, prompt, prompt, latent, disable_pbar=True, seed=0
    )
    return {key: store.find(made) for key, store in stores.items()}


class Recordings:
    """Maps of one checkpoint's scenes, sampled when they are first asked for. They know nothing of changes in how
    scores are made: then delete the folder."""

    def __init__(self, model: Path, cache: Path, setting: Setting) -> None:
        """model: the folder of the demo model's three files; cache: where maps are kept."""
        self._model, self._setting = model, setting
        self._folder = cache / "maps" / model.name / setting.folder
        self._parts: tuple[Any, Any, Any] | None = None

    def of(self, one: Scene, lists: Mapping[str, tuple[str, ...]]) -> dict[str, ConceptAttentionMaps]:
        """The maps of a scene for each list of words, by the lists' keys; a key's words are taken to be those of the
        file that bears its name."""
        paths = {key: self._folder / f"{one.seed}-{key}.safetensors" for key in lists}
        wanted = {key: lists[key] for key, path in paths.items() if not path.is_file()}
        if wanted:
            self._folder.mkdir(parents=True, exist_ok=True)
            for key, maps in record_scene(self._load(), one, wanted, self._setting).items():
                save_maps(maps, paths[key])
        return {key: load_maps(path) for key, path in paths.items()}

    def _load(self) -> tuple[Any, Any, Any]:
        from conceptattention_core.adapters.comfy.demo import load_demo_flux

        self._parts = self._parts or load_demo_flux(self._model)
        return self._parts
