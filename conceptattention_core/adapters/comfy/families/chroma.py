"""Chroma: Flux's double blocks, every modulation from one small network, and no pooled text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from comfy.ldm.flux.layers import timestep_embedding
from comfy.model_base import BaseModel
from torch import Tensor

from ....concepts import Concepts
from ..call import Call
from ..pieces import TextEncoder, t5_pieces
from .base import is_a
from .flux import VAE, FluxFamily, text_stream

MODULATIONS = 344
"""Entries of the network's table, for a model of any depth."""


class Chroma(FluxFamily):
    name = "Chroma"
    models = "Chroma1 Base, HD, Flash"
    text = TextEncoder(
        ("t5xxl",), "CLIPLoader with type 'chroma' and a T5-XXL file", t5_pieces, beside=frozenset({"l"})
    )
    vae = VAE

    def owns(self, model: BaseModel, dit: Any) -> bool:
        # Radiance, which works on pixels, has not been checked.
        radiance = is_a(dit, "comfy.ldm.chroma_radiance.model.ChromaRadiance")
        return is_a(dit, "comfy.ldm.chroma.model.Chroma") and not radiance

    def pooled_width(self, dit: Any) -> int | None:
        return None

    def modulations(self, call: Call) -> Tensor:
        """All blocks' shifts, scales and gates, ``(B, 344, D)``, by timestep, guidance and each entry's number."""
        guidance = call.cond("guidance")
        timestep = call.timestep()
        given = [timestep, torch.zeros_like(timestep) if guidance is None else guidance]
        known = torch.cat([timestep_embedding(one, 16).to(call.device, call.dtype) for one in given], dim=1)
        number = timestep_embedding(torch.arange(MODULATIONS, device=call.device), 32).to(call.dtype)
        parts = known[:, None].expand(-1, MODULATIONS, -1), number.expand(len(known), -1, -1)
        return call.dit.distilled_guidance_layer(torch.cat(parts, dim=-1))

    def stream(self, call: Call, concepts: Concepts) -> Callable[[int], Any]:
        table, dit = self.modulations(call), call.dit

        def block(index: int) -> Any:
            # Text has no places here: its ids are 0, where the rotary embedding is the identity.
            halves = dit.get_modulations(table, "double_txt", idx=index)
            return text_stream(dit.double_blocks[index], halves, lambda query, key: (query, key))

        return block
