"""Stage 5: write the trained parts as the files that the pack ships, in half precision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from .flux import Flux
from .text import CLIP_SIZES, T5_SIZES, TextEncoders, Vocabulary
from .train_flow import DemoModel
from .vae import DECODER, ENCODER, LATENT_CHANNELS, SHARED, Autoencoder, full_state

T5_EMBEDDING = "t5xxl.transformer.shared.weight"
CLIP_EMBEDDING = "clip_l.transformer.text_model.embeddings.token_embedding.weight"
VOCABULARY_SIZES = {T5_EMBEDDING: 32128, CLIP_EMBEDDING: 49408}


def export(folder: Path, vae: Autoencoder, model: DemoModel, vocabulary: Vocabulary, record: dict[str, Any]) -> int:
    """Write the three files with `record` in their metadata; returns their size in bytes together."""
    folder.mkdir(parents=True, exist_ok=True)
    vae_config = {"embed_dim": LATENT_CHANNELS, "ddconfig": SHARED | ENCODER, "decoder_ddconfig": SHARED | DECODER}
    text_config = {
        "t5xxl_model_config": T5_SIZES,
        "clip_l_model_config": CLIP_SIZES,
        "t5xxl_min_length": 1,
        "sparse_embeddings": [{"name": name, "vocabulary": size} for name, size in VOCABULARY_SIZES.items()],
    }
    parts = {
        "demo_flux": (flux_state(model.flux), {}),
        "demo_text_encoders": (text_state(model.text, vocabulary), {"config": json.dumps(text_config)}),
        "demo_vae": (full_state(vae), {"config": json.dumps(vae_config)}),
    }
    for name, (state, metadata) in parts.items():
        halved = {key: _half(tensor) for key, tensor in state.items()}
        save_file(halved, folder / f"{name}.safetensors", metadata=metadata | {"made_by": json.dumps(record)})
    return sum((folder / f"{name}.safetensors").stat().st_size for name in parts)


def flux_state(flux: Flux) -> dict[str, Tensor]:
    """The weights with the text streams' queries written out."""
    for block in flux.double_blocks:
        block.txt_attn.tie()
    return flux.state_dict()


def text_state(text: TextEncoders, vocabulary: Vocabulary) -> dict[str, Tensor]:
    """Both encoders under ComfyUI's names, their embedding tables as rows and the token ids that own them."""
    t5 = {name: tensor for name, tensor in text.t5.state_dict().items() if name != "encoder.embed_tokens.weight"}
    clip = {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in text.clip.state_dict().items()}
    clip = {name: tensor for name, tensor in clip.items() if not name.endswith("position_ids")}
    state = {f"t5xxl.transformer.{name}": tensor for name, tensor in t5.items()}
    state |= {f"clip_l.transformer.{name}": tensor for name, tensor in clip.items()}
    state["clip_l.transformer.text_projection.weight"] = torch.eye(CLIP_SIZES["hidden_size"])
    for name, ids in ((T5_EMBEDDING, vocabulary.t5), (CLIP_EMBEDDING, vocabulary.clip)):
        state[f"{name}.rows"] = state.pop(name)
        state[f"{name}.ids"] = torch.tensor(ids, dtype=torch.int32)
    return state


def _half(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().contiguous()
    return tensor.half() if tensor.is_floating_point() else tensor
