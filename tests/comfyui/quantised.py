"""Layers as GGUF nodes make them: no one but the layer knows how to read its weight."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def quantised_operations() -> Any:
    """ComfyUI's operations, but for linear layers whose weight is packed into 8 bits."""
    import comfy.ops

    class Quantised(comfy.ops.manual_cast):
        class Linear(comfy.ops.manual_cast.Linear):
            def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *_: Any, **__: Any) -> None:
                weight, bias = state[prefix + "weight"], state.get(prefix + "bias")
                self.scale = weight.abs().max() / 127
                packed = (weight / self.scale).round().to(torch.int8).flatten()
                self.weight = torch.nn.Parameter(packed, requires_grad=False)
                self.bias = None if bias is None else torch.nn.Parameter(bias, requires_grad=False)

            def forward(self, x: Tensor) -> Tensor:
                weight = self.weight.view(self.out_features, -1).to(x.dtype) * self.scale.to(x.dtype)
                bias = None if self.bias is None else self.bias.to(x.dtype)
                return torch.nn.functional.linear(x, weight, bias)

    return Quantised
