"""Chroma: Flux's double blocks, every modulation from one small network, and no pooled text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from comfy.ldm.flux.layers import timestep_embedding
from comfy.ldm.flux.math import apply_rope
from comfy.model_base import BaseModel
from torch import Tensor

from ....concepts import Concepts
from ..call import Call
from ..pieces import TextEncoder, t5_pieces
from .base import is_a
from .flux import VAE, FluxFamily, Rotate, text_stream

RADIANCE = "comfy.ldm.chroma_radiance.model.ChromaRadiance"
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
        return is_a(dit, "comfy.ldm.chroma.model.Chroma") and not is_a(dit, RADIANCE)

    def why_not_for_pictures(self, model: BaseModel, dit: Any) -> str:
        return ""

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
        table, dit, rotate = self.modulations(call), call.dit, self.own_places(call, concepts)

        def block(index: int) -> Any:
            return text_stream(dit.double_blocks[index], dit.get_modulations(table, "double_txt", idx=index), rotate)

        return block

    def own_places(self, call: Call, concepts: Concepts) -> Rotate:
        """Text has no places here: its ids are 0, where the rotary embedding is the identity."""
        return lambda query, key: (query, key)


class ChromaRadiance(Chroma):
    """Chroma on pixels. Its newer checkpoints number the text on the first axis."""

    name = "Chroma Radiance"
    models = "Radiance, on pixels"
    vae = "the VAE named pixel_space (Load VAE)"

    def owns(self, model: BaseModel, dit: Any) -> bool:
        return is_a(dit, RADIANCE)

    def own_places(self, call: Call, concepts: Concepts) -> Rotate:
        overridden = call.options.get("chroma_radiance_options") or {}
        if not call.dit.radiance_get_override_params(overridden).use_sequential_txt_ids:
            return super().own_places(call, concepts)
        ids = torch.zeros(1, len(concepts.captions), 3, device=call.device, dtype=call.dtype)
        ids[0, :, 0] = torch.tensor([float(one.position) for one in concepts.captions], device=call.device)
        pe = call.dit.pe_embedder(ids)
        return lambda query, key: apply_rope(query, key, pe)
