"""AuraFlow: a few double blocks before many single ones; eight registers before the prompt, text without places."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from comfy.model_base import BaseModel
from torch import Tensor

from ....concepts import Concepts
from ....stream import Entry, Modulation
from ..call import Call
from ..pieces import TextEncoder, template_pieces
from .base import Family, Layout, is_a, placed


class AuraFlow(Family):
    name = "AuraFlow"
    models = "AuraFlow 0.1 to 0.3, Pony V7"
    text = TextEncoder(("pile_t5xl",), "Load Checkpoint, or CLIPLoader with a Pile-T5-XL file", template_pieces)
    default_blocks = (0, -1)  # it has four
    block_name = "Double block"
    vae = "SDXL's VAE (Load VAE with sdxl_vae.safetensors)"

    def owns(self, model: BaseModel, dit: Any) -> bool:
        return is_a(dit, "comfy.ldm.aura.mmdit.MMDiT")

    def depth(self, dit: Any) -> int:
        return len(dit.double_layers)

    def context_width(self, dit: Any) -> int:
        return dit.cond_seq_linear.in_features

    def layout(self, call: Call, count: int) -> Layout:
        text = call.dit.register_tokens.shape[1] + call.text_tokens
        return Layout(text, count, calls=self.depth(call.dit) + len(call.dit.single_layers))

    def tokens(self, call: Call, concepts: Concepts) -> Tensor:
        # Pooling before a linear layer is the same as behind it.
        return call.dit.cond_seq_linear(placed(concepts.embeddings, call))

    def stream(self, call: Call, concepts: Concepts) -> Callable[[int], AuraText]:
        time = call.dit.t_embedder(call.timestep(), call.dtype)
        return lambda index: AuraText.of(call.dit.double_layers[index], time)

    def replaced_after(self, dit: Any, last_block: int) -> list[tuple[str, int]]:
        double = [("double_block", index) for index in range(last_block + 1, self.depth(dit))]
        return double + [("single_block", index) for index in range(len(dit.single_layers))]


@dataclass(frozen=True)
class AuraText:
    """The text stream of one double block. What attention makes enters the MLP, and not the residual stream."""

    block: Any
    attention: Modulation
    mlp_half: Modulation

    @classmethod
    def of(cls, block: Any, time: Tensor) -> AuraText:
        """time: the timestep's embedding, ``(B, width)``."""
        parts = block.modC(time)[:, None].chunk(6, dim=-1)
        return cls(block, Modulation(*parts[:3]), Modulation(*parts[3:]))

    def enter(self, tokens: Tensor) -> Entry:
        attn, x = self.block.attn, self.attention(self.block.normC1(tokens))
        # The norm is over one head's channels: heads come apart before it, behind the tokens' axis.
        query, key, value = (one(x).unflatten(-1, (attn.n_heads, -1)) for one in (attn.w1q, attn.w1k, attn.w1v))
        query, key = attn.q_norm1(query), attn.k_norm1(key)
        return Entry(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))

    def leave(self, tokens: Tensor, entry: Entry, output: Tensor) -> Tensor:
        block = self.block
        mixed = block.normC2(tokens + self.attention.gate * block.attn.w1o(output))
        return tokens + self.mlp_half.gate * block.mlpC(self.mlp_half(mixed))
