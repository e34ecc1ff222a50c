"""Golden cases of model families: files that hold inputs and an oracle's results, and the recipe of their weights.

Everything is built from a file's metadata, so that further files of the same form can be put in place of the copies
here (CONCEPT_GOLDEN_DIR names their folder).
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

FOLDER = Path(os.environ.get("CONCEPT_GOLDEN_DIR") or Path(__file__).parents[1] / "golden" / "families")

CLASSES = {
    "zimage": ("ZImage", "lumina2"),
    "lumina2": ("Lumina2", "lumina2"),
    "krea2": ("Krea2", "krea2"),
    "cogvideo": ("CogVideoX_T2V", "cogvideox"),
    "wan": ("WAN21_T2V", "wan2.1"),
    "ltx": ("LTXV", "ltxv"),
    "flux_single": ("Flux", "flux"),
    "sdxl_unet": ("SDXL", None),
}
"""ComfyUI's model configuration for each class of transformer that cases name, and its own name for it, if any."""

RESULTS = ("denoised", "velocity", "model_output", "concept_", "image_vectors", "scores", "saliency", "gram", "value")
ENTRIES = ("x", "t", "latent", "context", "concepts", "captions_", "cross_attention")


@dataclass(frozen=True)
class Case:
    """One file. config: its metadata; tensors: inputs and results by name."""

    name: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def x(self) -> Tensor:
        """The model's noised input, all pictures."""
        return self.tensors["x" if "x" in self.tensors else "latent"]

    def conds(self) -> dict[str, Any]:
        """What goes in beside the prompt, by ComfyUI's own names; ``name_0``, ``name_1`` are the entries of a list."""
        found: dict[str, Any] = {}
        for name, value in sorted(self.tensors.items()):
            if name.startswith(RESULTS + ENTRIES) and name not in ("c_concat",):
                continue
            stem, _, number = name.rpartition("_")
            if number.isdecimal():
                found.setdefault(stem, []).append(value)
            else:
                found["y" if name == "pooled" else name] = value
        if self.config.get("guidance") is not None:
            found["guidance"] = torch.full((len(self.x),), float(self.config["guidance"]))
        return found

    def model(self, dtype: torch.dtype | None = None, operations: Any = None) -> Any:
        """ComfyUI's own model of this case, its weights drawn by the recipe.

        dtype: fp8, computing in float32. operations: layers that load the weights in a way of their own.
        """
        import comfy.supported_models

        if "unet_config" in self.config:
            family, unet = self.config["family"], dict(self.config["unet_config"])
        else:
            family, image_model = CLASSES[self.config.get("class", self.name)]
            unet = {**({"image_model": image_model} if image_model else {}), **self.config["model"]}
        config = getattr(comfy.supported_models, family)(unet)
        config.unet_config |= unet  # some families know better than what they are given
        if dtype is not None:
            config.set_inference_dtype(dtype, torch.float32)
        base = config.get_model({})
        if operations is not None:
            weights = self.model().diffusion_model.state_dict()
            config.custom_operations = operations
            base = config.get_model({})
            base.diffusion_model.load_state_dict(weights)
            return base
        draw_weights(base.diffusion_model, self.config["seed"], "zero-centred" in self.config.get("recipe", ""))
        return base

    def sigma(self, base: Any) -> float:
        """The noise level: the case's own, or the one at which the model's forward takes the case's timestep."""
        from comfy.model_sampling import CONST

        if "sigma" in self.config:
            return float(self.config["sigma"])
        timestep = float(self.config["timestep"] if "timestep" in self.config else self.tensors["t"].flatten()[0])
        sampling = base.model_sampling
        if isinstance(sampling, CONST):
            return timestep / float(sampling.timestep(torch.ones(1)))
        return float(sampling.sigma(torch.tensor(timestep)))

    def concepts(self, core: Any) -> Any:
        """The pack's Concepts. core: the module `concepts` of the pack that ComfyUI has loaded."""
        own, tensors = self.config.get("own") or [], self.tensors
        whole = {name: tensors[name] for name in tensors if name.startswith(("captions_", "concept_sequence"))}
        if "concept_sequence" in whole:  # every token of one conditioning is a concept
            rows = whole["concept_sequence"][0]
            captions = [core.Caption(rows, (at[0],), at[0], len(rows)) for at in own]
        elif whole:
            numbered = (whole[name] for name in sorted(whole, key=lambda name: int(name.rpartition("_")[2])))
            captions = []
            for rows, pieces in zip(numbered, own, strict=True):
                rows = rows[0] if rows.ndim == 3 else rows
                at = tuple(range(*pieces)) if "class" in self.config else tuple(pieces)
                # Z-Image's text begins at 1 on its axis.
                position = self.config["position"] - 1 if "position" in self.config else at[0]
                captions.append(core.Caption(rows, at, position, len(rows)))
        else:
            places = self.config.get("positions") or [0] * tensors["concepts"].shape[1]
            length = tensors["context"].shape[1]
            captions = [
                core.Caption(row[None], (0,), place, length)
                for row, place in zip(tensors["concepts"][0], places, strict=True)
            ]
        names = tuple(f"concept{index}" for index in range(len(captions)))
        pooled = torch.stack([core.pool_tokens(one.tokens, one.own, "mean") for one in captions])[None]
        return core.Concepts(names, 0, pooled, tuple(captions))


def draw_weights(module: torch.nn.Module, seed: int, zero_centred_scale: bool = False) -> None:
    """Fill every weight by the recipe, which knows nothing but its name and shape."""
    for name, weight in {**dict(module.named_parameters()), **module.state_dict()}.items():
        x = torch.randn(weight.shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode()) ^ seed))
        if name.endswith(".scale") or (name.endswith(".weight") and weight.ndim == 1):
            x = 0.1 * x if zero_centred_scale and name.endswith(".scale") else 1 + 0.1 * x
        elif name.endswith(".bias"):
            x = 0.1 * x
        else:
            x = x / weight.shape[-1] ** 0.5 if weight.ndim else x
        weight.data.copy_(x)


def read_case(path: Path) -> Case:
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return Case(path.stem, json.loads(file.metadata()["config"]), tensors)


def cases() -> Iterator[Case]:
    """Every file of the folder, in the order of names."""
    yield from map(read_case, sorted(FOLDER.glob("*.safetensors")))
