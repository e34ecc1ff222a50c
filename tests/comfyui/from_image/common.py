"""What the tests of Concept Attention from Image share: its settings, pictures, and the same maps by a sampler."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..graphs import TINY
from ..helpers import APPLY, READ, conditioning

WORDS = ["", "house", "sky", "background", "a house"]
SETTINGS = {
    "background": "background",
    "prompt": "",
    "token_pooling": "mean",
    "projection": "output",
    "noise_level": 0.5,
    "noise_samples": 1,
    "seed": 0,
    "guidance": 3.5,
    "last_block": -1,
}


def pictures(count: int = 1, height: int = 48, width: int = 80, channels: int = 3) -> Tensor:
    return torch.rand(count, height, width, channels, generator=torch.Generator().manual_seed(3))


def noise(latent: Tensor, seed: int) -> Tensor:
    return torch.randn(latent.shape[1:], generator=torch.Generator().manual_seed(seed))[None]


def sampler_maps(pack: dict[str, Any], model: Any, clip: Any, latent: Tensor, seed: int = 0, **changes: Any) -> Any:
    """What Apply Concept Attention records in a sampler's step from this noise level, by the ordinary nodes."""
    from comfy_extras.nodes_custom_sampler import BasicGuider, KSamplerSelect, SamplerCustomAdvanced

    class Noise:
        seed = 0

        def generate_noise(self, latent: dict[str, Tensor]) -> Tensor:
            return noise(latent["samples"], seed)

    options = {**SETTINGS, **changes}
    applied, attention = pack["ConceptAttentionApply"].execute(
        model, clip, "house, sky", **{**APPLY, "background": "background", "projection": options["projection"]}
    )
    context = clip.encode_from_tokens(clip.tokenize(options["prompt"]))
    positive = conditioning(context, torch.zeros(1, TINY["vec_in_dim"]), guidance=options["guidance"])
    out = SamplerCustomAdvanced.execute(
        Noise(),
        BasicGuider.execute(applied, positive)[0],
        KSamplerSelect.execute("euler")[0],
        torch.tensor([options["noise_level"], 0.0]),
        {"samples": latent},
    )
    return pack["ConceptAttention"].execute(attention, out[0], **READ)[3]
