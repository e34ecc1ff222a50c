"""What the in-process tests share: a CLIP that says given vectors, and shorthands for ComfyUI's own samplers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class TableTokenizer:
    """Tokenizer of a test CLIP: every text is one T5 piece, numbered by its place in the table, and an end token."""

    words: tuple[str, ...] = ()

    def __init__(self, **_: Any) -> None: ...

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **_: Any) -> dict[str, Any]:
        return {"l": [[(0, 1.0)]], "t5xxl": [[(100 + self.words.index(text), 1.0), (1, 1.0)]]}


class TableEncoder(torch.nn.Module):
    """Text encoder of a test CLIP: looks the vector of each piece up."""

    def __init__(self, table: Tensor, **_: Any) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(table, requires_grad=False)
        self.dtypes = {torch.float32}

    def set_clip_options(self, options: dict[str, Any]) -> None: ...

    def reset_clip_options(self) -> None: ...

    def encode_token_weights(self, tokens: dict[str, Any]) -> tuple[Tensor, Tensor]:
        pieces = [piece - 100 for piece, _ in tokens["t5xxl"][0][:-1]]
        return torch.cat([self.table[pieces], torch.full((1, self.table.shape[1]), 7.0)])[None], torch.zeros(1, 8)


def table_clip(words: list[str], vectors: Tensor) -> Any:
    """A comfy.sd.CLIP whose T5 gives `vectors` ``(C, context_dim)`` for `words`, so that a golden case's concepts enter
    through the public node."""
    import comfy.sd
    import comfy.supported_models_base

    tokenizer = type("Tokenizer", (TableTokenizer,), {"words": tuple(words)})
    encoder = type("Encoder", (TableEncoder,), {"__init__": lambda self, **_: TableEncoder.__init__(self, vectors)})
    return comfy.sd.CLIP(comfy.supported_models_base.ClipTarget(tokenizer, encoder))


def conditioning(context: Tensor, pooled: Tensor, **extra: Any) -> list[Any]:
    """A CONDITIONING of one prompt: context ``(B, T, context_dim)``, pooled ``(B, vec)``."""
    return [[context, {"pooled_output": pooled, **extra}]]


def run_sampler(
    model: Any,
    positive: list[Any],
    x: Tensor,
    sigmas: list[float],
    negative: list[Any] | None = None,
    cfg: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """SamplerCustomAdvanced, Euler, from a model input `x` ``(B, 16, h, w)`` at ``sigmas[0]``: both its LATENTs."""
    from comfy_extras.nodes_custom_sampler import BasicGuider, CFGGuider, KSamplerSelect, SamplerCustomAdvanced

    class GivenNoise:
        seed = 0

        def generate_noise(self, latent: dict[str, Tensor]) -> Tensor:
            return x / sigmas[0]

    if negative is None:
        guider = BasicGuider.execute(model, positive)[0]
    else:
        guider = CFGGuider.execute(model, positive, negative, cfg)[0]
    sampler = KSamplerSelect.execute("euler")[0]
    latent = {"samples": torch.zeros_like(x)}
    out = SamplerCustomAdvanced.execute(GivenNoise(), guider, sampler, torch.tensor(sigmas), latent)
    return out[0]["samples"], out[1]["samples"]


APPLY = {"background": "", "token_pooling": "mean", "projection": "output", "start_percent": 0.0, "end_percent": 1.0}
READ = {
    "concept": "",
    "threshold": 0.5,
    "softness": 0.1,
    "first_block": -10,
    "last_block": -1,
    "softmax_temperature": 1.0,
}
