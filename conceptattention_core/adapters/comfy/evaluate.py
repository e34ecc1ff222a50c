"""ComfyUI's own loaders and models for the evaluation: any family that the pack reads, from a user's files."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import comfy.sd
import comfy.utils
import numpy as np
import torch

from ...concepts import Concepts, TokenPooling
from ...images import image_batch, picture_tensor
from ...maps import ConceptAttentionMaps
from ...noise import seeded_noise
from .encode import NoisedForward, encode_latents, encode_prompt, read_together
from .families import require_family, transformer_of
from .families.flux import Flux1
from .families.flux_single import Flux1Whole
from .text import encode_concepts


class ComfyHost:
    """A MODEL, CLIP and VAE of ComfyUI, as `evaluate.host.Host` asks for them."""

    def __init__(self, model: Any, clip: Any, vae: Any, all_blocks: bool = False) -> None:
        """all_blocks: of FLUX.1, send the concepts through its single blocks, too.

        Raises ValueError for a model that the pack does not know or that cannot look at pictures.
        """
        self._model, self._clip, self._vae = model, clip, vae
        self._family, dit = require_family(model), transformer_of(model)
        blocks = self._family.default_blocks
        if all_blocks:
            if type(self._family) is not Flux1:
                raise ValueError(f"--all-blocks is for FLUX.1, and this is {self._family.name}: leave it out.")
            depth = self._family.depth(dit)  # of the double blocks: from the end of all blocks they are others
            blocks = max(0, depth + blocks[0]), depth + blocks[1]
            self._family = Flux1Whole()
        if why := self._family.why_not_for_pictures(model.model, dit):
            raise ValueError(why)
        source = Path(inspect.getfile(type(self._family)))
        self.family: dict[str, Any] = {
            "name": self._family.name,
            "file": "/".join(("conceptattention_core", *source.parts[-4:])),
            "depth": self._family.depth(dit),
            "temperature": self._family.temperature,
            "blocks": blocks,
            "projections": tuple(self._family.projections),
        }
        first = next(weight for weight in dit.parameters() if weight.ndim > 1)
        self.weights = f"{first.float().abs().mean().item():.6g}"
        self.dtype = str(model.model.get_dtype_inference()).removeprefix("torch.")
        self.device = model.load_device.type
        self._prepared: tuple[tuple[Any, ...], tuple[torch.Tensor, list[Any]]] | None = None

    def encode_word(self, name: str, pooling: TokenPooling) -> Concepts:
        return encode_concepts(self._clip, (name,), 0, pooling, self._model)

    @torch.no_grad()
    def read(self, image: np.ndarray, look: Any, readings: Sequence[Any]) -> list[ConceptAttentionMaps]:
        family, last = self._family, self._family.depth(transformer_of(self._model)) - 1
        latent, positive = self._prepare(image, look)
        noises = [seeded_noise(latent.shape[1:], seed)[None] for seed in look.seeds]
        forwards = [
            NoisedForward(
                family, self._model, positive, one.concepts, one.projection, look.noise_level, last, one.attend_to
            )
            for one in readings
        ]
        return read_together(forwards, latent, noises, look.size, lambda: None)

    def _prepare(self, image: np.ndarray, look: Any) -> tuple[torch.Tensor, list[Any]]:
        """A picture's latent and its prompt's conditioning, which several noise levels share."""
        key = id(image), look.prompt, look.size, look.guidance
        if self._prepared is None or self._prepared[0] != key:
            picture = image_batch(picture_tensor(image), 1, look.size)
            pooled = self._family.pooled_width(transformer_of(self._model))
            positive = encode_prompt(self._clip, look.prompt, look.guidance, pooled)
            (latent,) = encode_latents(self._vae, picture, self._family, self._model)
            self._prepared = key, (latent, positive)
        return self._prepared[1]

    def rest(self) -> None:
        """ComfyUI moves its models by itself."""
        self._prepared = None


def load_files(
    unet: Path | None,
    clip: Sequence[Path],
    clip_type: str,
    vae: Path | None,
    checkpoint: Path | None,
    all_blocks: bool = False,
) -> Any:
    """A host from files: a checkpoint that holds everything, or a diffusion model, text encoders and a VAE.

    clip_type: as CLIPLoader's choice has it. Raises ValueError, in one line, for what is unknown.
    """
    if checkpoint is not None:
        model, text, decoder, *_ = comfy.sd.load_checkpoint_guess_config(
            str(checkpoint), output_clip=True, output_vae=True
        )
    else:
        kind = getattr(comfy.sd.CLIPType, clip_type.upper(), None)
        if kind is None:
            known = ", ".join(one.name.lower() for one in comfy.sd.CLIPType)
            raise ValueError(f"There is no text encoder type '{clip_type}': choose {known}.")
        model = comfy.sd.load_diffusion_model(str(unet))
        text = comfy.sd.load_clip([str(path) for path in clip], clip_type=kind)
        decoder = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(vae)))
    if text is None or decoder is None:
        raise ValueError(f"{checkpoint} has no text encoder or no VAE. Give --unet, --clip and --vae instead.")
    return ComfyHost(model, text, decoder, all_blocks)


def load_demo(all_blocks: bool = False) -> ComfyHost:
    """The demo model that comes with the pack. all_blocks: as in `ComfyHost`."""
    from .demo import load_demo_flux

    return ComfyHost(*load_demo_flux(), all_blocks)
