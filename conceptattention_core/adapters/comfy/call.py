"""One evaluation of a model by ComfyUI, as the model's own forward will see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from comfy.model_base import BaseModel
from torch import Tensor

Rows = slice | list[int]


@dataclass(frozen=True)
class Call:
    """What `BaseModel.apply_model` was asked, with the rows of the positive prompt picked out where there is a choice.

    x: the noised latents of all `batch` rows, ``(batch, channels, ...)``. rows: those with the positive prompt.
    conds: every conditioning by ComfyUI's own name (`y`, `guidance`, `ref_latents` ...), all rows.
    options: the call's transformer options. dtype: what the model computes in.
    """

    model: BaseModel
    x: Tensor
    sigma: Tensor
    context: Tensor | None
    conds: dict[str, Any]
    options: dict[str, Any]
    rows: Rows
    dtype: torch.dtype

    @property
    def dit(self) -> Any:
        """The transformer, without what torch.compile wraps it in."""
        return getattr(self.model.diffusion_model, "_orig_mod", self.model.diffusion_model)

    @property
    def batch(self) -> int:
        return len(self.x)

    @property
    def count(self) -> int:
        """Rows with the positive prompt."""
        return len(self.sigma[self.rows])

    @property
    def device(self) -> torch.device:
        return self.x.device

    @property
    def text_tokens(self) -> int:
        """Rows of the prompt's conditioning as the model gets it."""
        return 0 if self.context is None else self.context.shape[1]

    def timestep(self) -> Tensor:
        """``(B,)`` for the positive rows, as the model's forward takes it: `BaseModel._apply_model`'s public steps."""
        timestep = self.model.model_sampling.timestep(self.sigma).float()
        return self.model.process_timestep(timestep, x=self.x, **self.conds)[self.rows]

    def cond(self, name: str) -> Tensor | None:
        """A conditioning's positive rows on the model's device, in its dtype as ComfyUI casts it, or None."""
        value = self.conds.get(name)
        if value is None:
            return None
        value = value.to(self.device, self.dtype) if value.is_floating_point() else value.to(self.device)
        return value[self.rows] if len(value) == self.batch else value

    def references(self) -> list[Tensor]:
        """Latents of the reference pictures, in the model's order."""
        return list(self.conds.get("ref_latents") or [])
