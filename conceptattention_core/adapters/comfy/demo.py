"""The demo model that ships with the pack, as ComfyUI's own MODEL, CLIP and VAE."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import comfy.sd
import comfy.utils
import torch
from comfy.supported_models_base import ClipTarget
from comfy.text_encoders.flux import FluxClipModel, FluxTokenizer
from torch import Tensor

DEMO_FOLDER = Path(__file__).resolve().parents[3] / "demo_model"
FLUX_FILE, TEXT_FILE, VAE_FILE = "demo_flux.safetensors", "demo_text_encoders.safetensors", "demo_vae.safetensors"


class DemoTokenizer(FluxTokenizer):
    """Flux's tokenizers for a model that has seen small letters only. known: T5's pieces that it was taught."""

    known: frozenset[int] = frozenset()

    def tokenize_with_weights(self, text: str, *args: Any, **more: Any) -> dict[str, Any]:
        return super().tokenize_with_weights(text.lower(), *args, **more)


def unknown_words(clip: Any, texts: Iterable[str]) -> list[str]:
    """The words of these texts that the demo model was never told: it cannot paint or find them. Other models: none."""
    tokenizer = getattr(clip, "tokenizer", None)
    if not isinstance(tokenizer, DemoTokenizer):
        return []
    words = dict.fromkeys(word.strip(".,!?") for text in texts for word in text.split())
    pieces = {word: [piece for piece, *_ in tokenizer.t5xxl.tokenize_with_weights(word.lower())[0]] for word in words}
    return [word for word in words if word and not tokenizer.known.issuperset(pieces[word])]


def load_demo_flux(folder: Path = DEMO_FOLDER) -> tuple[Any, comfy.sd.CLIP, comfy.sd.VAE]:
    """A ModelPatcher, a CLIP and a VAE from the three files in `folder`, through ComfyUI's own classes.

    Raises FileNotFoundError, naming what is missing and what to do.
    """
    missing = [name for name in (FLUX_FILE, TEXT_FILE, VAE_FILE) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"The demo model is incomplete: {', '.join(missing)} not found in {folder}. Install the pack again, "
            "or make the files with 'python -m tools.demo.train' from its repository."
        )
    return (
        comfy.sd.load_diffusion_model(str(folder / FLUX_FILE)),
        _load_clip(folder / TEXT_FILE),
        _load_vae(folder / VAE_FILE),
    )


def _load_clip(path: Path) -> comfy.sd.CLIP:
    weights, config = _read(path)
    known: frozenset[int] = frozenset()
    for encoder in config["sparse_embeddings"]:
        rows, ids = weights.pop(f"{encoder['name']}.rows"), weights.pop(f"{encoder['name']}.ids")
        weights[encoder["name"]] = spread_rows(rows, ids, encoder["vocabulary"])
        if encoder["name"].startswith("t5xxl"):
            known = frozenset(ids.tolist())
    options = {"t5xxl_model_config": config["t5xxl_model_config"], "clip_l_model_config": config["clip_l_model_config"]}
    clip = comfy.sd.CLIP(
        ClipTarget(DemoTokenizer, FluxClipModel),
        parameters=sum(tensor.numel() for tensor in weights.values()),
        state_dict=weights,
        model_options=options,
    )
    clip.tokenizer.known = known
    clip.set_tokenizer_option("t5xxl_min_length", config["t5xxl_min_length"])
    return clip


def spread_rows(rows: Tensor, ids: Tensor, vocabulary: int) -> Tensor:
    """Embedding table `(vocabulary, width)`: row k + 1 for token `ids[k]`, row 0 for every other token."""
    row_of = torch.zeros(vocabulary, dtype=torch.long)
    row_of[ids.long()] = torch.arange(1, len(rows))
    return rows[row_of]


def _load_vae(path: Path) -> comfy.sd.VAE:
    weights, config = _read(path)
    vae = comfy.sd.VAE(sd=weights, config={"params": config})
    # ComfyUI reads this from a full-size checkpoint only; tiled encoding needs it.
    vae.latent_channels = config["embed_dim"]
    return vae


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A file's tensors, and the sizes that its metadata holds."""
    weights, metadata = comfy.utils.load_torch_file(str(path), safe_load=True, return_metadata=True)
    return weights, json.loads(metadata["config"])
