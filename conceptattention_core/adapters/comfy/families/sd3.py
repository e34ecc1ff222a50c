"""Stable Diffusion 3 and 3.5: joint blocks with a text stream of their own, text without places before the picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from comfy.model_base import BaseModel
from einops import rearrange
from torch import Tensor

from ....concepts import Concepts
from ....stream import Entry
from ..call import Call
from ..pieces import TextEncoder, t5_pieces, template_pieces
from .base import Family, Layout, is_a, placed

HINT = "TripleCLIPLoader with a CLIP-L, a CLIP-G and a T5-XXL file, or DualCLIPLoader with type 'sd3'"


class StableDiffusion3(Family):
    name = "Stable Diffusion 3"
    models = "SD3 medium, SD3.5 large, large turbo and medium"
    text = TextEncoder(("t5xxl",), HINT, t5_pieces, beside=frozenset({"l", "g"}), alone=True)
    # The authors read SD3.5 large turbo by all of its blocks.
    default_blocks = (0, -1)
    block_name = "Joint block"
    vae = "SD3's VAE (the one inside its checkpoint, by Load Checkpoint)"

    def owns(self, model: BaseModel, dit: Any) -> bool:
        # A context processor mixes the prompt's tokens; no published model has one, and it was never checked.
        return is_a(dit, "comfy.ldm.modules.diffusionmodules.mmdit.MMDiT") and dit.context_processor is None

    def encoder(self, clip: Any) -> TextEncoder:
        """Each of the three text encoders may be missing: T5's rows if there are any, else CLIP-L's beside CLIP-G's."""
        loaded = clip.cond_stage_model
        if getattr(loaded, "t5xxl", loaded) is not None:
            return self.text
        key = "l" if loaded.clip_l is not None else "g"
        others = frozenset({"l", "g", "t5xxl"} - {key})
        return replace(self.text, reads=(key,), own=template_pieces, beside=others, causal=True, alone=False)

    def depth(self, dit: Any) -> int:
        return len(dit.joint_blocks)

    def context_width(self, dit: Any) -> int:
        return dit.context_embedder.in_features

    def pooled_width(self, dit: Any) -> int:
        return dit.y_embedder.mlp[0].in_features

    def layout(self, call: Call, count: int) -> Layout:
        # SD3.5 medium's second attention sees the picture alone: its sequence is shorter, and not counted.
        return Layout(call.text_tokens, count, calls=self.depth(call.dit))

    def tokens(self, call: Call, concepts: Concepts) -> Tensor:
        # Pooling before a linear layer is the same as behind it.
        return call.dit.context_embedder(placed(concepts.embeddings, call))

    def stream(self, call: Call, concepts: Concepts) -> Callable[[int], JointText]:
        """Concepts have the prompt's time, and zero for its pooled text."""
        vec = call.dit.t_embedder(call.timestep(), dtype=call.dtype)
        vec = vec + call.dit.y_embedder(vec.new_zeros(len(vec), self.pooled_width(call.dit)))
        return lambda index: JointText(call.dit.joint_blocks[index].context_block, vec)

    def replaced_after(self, dit: Any, last_block: int) -> list[tuple[str, int]]:
        # ComfyUI checkpoints a block that a replacement calls. These replacements call none.
        return [("double_block", index) for index in range(last_block + 1, self.depth(dit))]


@dataclass(frozen=True)
class JointText:
    """The text stream of one joint block, by the host's own two halves; the model's last block ends it.

    vec: time and pooled text, ``(B, D)``.
    """

    block: Any
    vec: Tensor

    def enter(self, tokens: Tensor) -> Entry:
        parts, carry = self.block.pre_attention(tokens, self.vec)
        # Query and key come with their heads merged, values with theirs apart.
        merged = (part.flatten(2) for part in parts)
        query, key, value = (rearrange(one, "b c (h d) -> b h c d", h=self.block.attn.num_heads) for one in merged)
        return Entry(query, key, value, carry)

    def leave(self, tokens: Tensor, entry: Entry, output: Tensor) -> Tensor:
        return tokens if self.block.pre_only else self.block.post_attention(output, *entry.carry)
