"""LTX-Video: videos whose tokens, of 32 pixels, read the prompt by cross attention."""

from __future__ import annotations

import math
from typing import Any

from comfy.model_base import BaseModel
from torch import Tensor

from ....concepts import Concepts
from ....cross import VIDEO_PROJECTIONS, Place
from ..call import Call
from ..pieces import TextEncoder, t5_pieces
from .base import is_a, pool_behind
from .cross import CrossFamily

MODULE = "comfy.ldm.lightricks.model"


class LTXVideo(CrossFamily):
    name = "LTX-Video"
    models = "LTX-Video 0.9 to 0.9.8, text and image to video"
    text = TextEncoder(("t5xxl",), "CLIPLoader with type 'ltxv' and a T5-XXL file", t5_pieces)
    projections = VIDEO_PROJECTIONS
    frames = True
    video = True
    pictures_of_a_frame = 8
    vae = "LTX-Video's VAE (the one inside its checkpoint, by Load Checkpoint)"

    def owns(self, model: BaseModel, dit: Any) -> bool:
        # LTX-2 has sound, another text path, and keys that depend on the timestep.
        projection = getattr(dit, "caption_projection", None)
        return is_a(model, "comfy.model_base.LTXV") and is_a(projection, f"{MODULE}.PixArtAlphaTextProjection")

    def depth(self, dit: Any) -> int:
        return len(dit.transformer_blocks)

    def patch(self, dit: Any) -> int:
        return 1

    def context_width(self, dit: Any) -> int:
        return dit.caption_projection.linear_1.in_features

    def tokens(self, call: Call, concepts: Concepts) -> Tensor:
        return pool_behind(concepts, call, call.dit.caption_projection)

    def earlier(self, call: Call, queries: int) -> int:
        # Guiding pictures part the self attention into several calls, together one of all tokens.
        tokens = math.prod(call.x.shape[2:])
        return tokens if tokens == call.text_tokens else 0

    def options(self, call: Call, options: dict[str, Any]) -> dict[str, Any]:
        """Each block stands between brackets that write its number into its own options, around other nodes' own."""
        others = options.get("patches_replace", {})
        blocks = others.get("dit", {})
        names = [("double_block", index) for index in range(self.depth(call.dit))]
        numbered = {name: _numbered(name[1], blocks.get(name)) for name in names}
        return {**options, "patches_replace": {**others, "dit": {**blocks, **numbered}}}

    def read(self, call: Call, place: Place, tokens: Tensor, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
        attention = call.dit.transformer_blocks[place[0]].attn2
        return attention.k_norm(attention.to_k(tokens)), attention.to_v(tokens)


def _numbered(index: int, inner: Any) -> Any:
    """A block replacement that runs the block, or what another node has put in its place, with its number.

    And with what LTX-2.3 modulates the prompt's rows by.
    """

    def bracket(args: dict[str, Any], extra: dict[str, Any]) -> Any:
        named = {"block_index": index, "prompt_timestep": args.get("v_prompt_timestep")}
        given = {**args, "transformer_options": {**args["transformer_options"], **named}}
        return extra["original_block"](given) if inner is None else inner(given, extra)

    return bracket
