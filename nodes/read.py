"""Concept Attention: a mask, a heat map and an overlay from what the sampler recorded."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..conceptattention_core.expression import combine_shares, parse_expression
from ..conceptattention_core.images import image_batch
from ..conceptattention_core.maps import resize_maps
from ..conceptattention_core.masks.methods import concept_mask
from ..conceptattention_core.pictures.heatmap import heatmap_picture, overlay_picture
from ..conceptattention_core.record import RunStore
from .checked import checked
from .inputs import block_range, own_reading, saliency_inputs
from .seen import seen
from .types import CATEGORY, ConceptAttentionMapsType, ConceptAttentionType


@checked
class ConceptAttention(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptAttention",
            display_name="Concept Attention",
            category=CATEGORY,
            description=(
                "Shows where the concepts are in the picture that a sampler has just made: a mask and a heat map of "
                "one concept, and an overlay of all of them."
            ),
            search_aliases=["saliency", "segment by words", "text mask", "attention map", "flux mask", "heatmap"],
            is_output_node=True,  # it shows what it found, also where nothing is connected to it
            inputs=[
                ConceptAttentionType.Input("concept_attention", tooltip="From Apply Concept Attention."),
                io.Latent.Input(
                    "samples",
                    tooltip="The sampler's own LATENT output, with no node in between: it tells which run to read. "
                    "Either output of SamplerCustomAdvanced will do.",
                ),
                io.String.Input(
                    "concept",
                    default="",
                    tooltip="What the mask and the heat map are for: one of the concepts, or several: tree + house - "
                    "door. Empty: the first.",
                ),
                io.Float.Input(
                    "threshold",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Share of the competition that a concept must win to be inside the mask: the middle of the "
                    "mask's ramp. Lower it for a larger mask.",
                ),
                io.Float.Input(
                    "softness",
                    default=0.1,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Width of the mask's ramp from 0 to 1. 0 cuts hard.",
                ),
                *saliency_inputs(),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The decoded picture: the overlay is drawn on it, and the outputs take its size. Without "
                    "it the overlay is a plain label map.",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    display_name="mask", tooltip="The concept: exactly 0 outside, exactly 1 inside, one per picture."
                ),
                io.Image.Output(
                    display_name="heatmap", tooltip="The concept's share of the competition, from 0 (dark) to 1 (pale)."
                ),
                io.Image.Output(
                    display_name="overlay", tooltip="Each place in the colour of its strongest concept, with a legend."
                ),
                ConceptAttentionMapsType.Output(
                    display_name="maps", tooltip="The raw scores, for this pack's other nodes and for scripts."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        concept_attention: RunStore,
        samples: dict[str, Tensor],
        concept: str,
        threshold: float,
        softness: float,
        first_block: int,
        last_block: int,
        softmax_temperature: float,
        reading: str = "paper",
        image: Tensor | None = None,
    ) -> io.NodeOutput:
        maps = concept_attention.find(samples["samples"])
        size = maps.image_size if image is None else (image.shape[1], image.shape[2])
        expression = parse_expression(concept, maps.concepts)
        saliency = maps.shares(own_reading(reading), *block_range(first_block, last_block), softmax_temperature)
        shares = resize_maps(saliency, maps.image_size, size, maps.token_pixels)
        share = combine_shares(shares, expression.signs(shares.shape[1]).expand(len(shares), -1))
        picture = None if image is None else image_batch(image, len(shares), size)
        overlay = overlay_picture(shares, maps.concepts, maps.background_count, picture)
        return io.NodeOutput(
            concept_mask(share, threshold, softness),
            heatmap_picture(share),
            overlay,
            maps,
            ui=seen("Concept Attention", maps, overlay),
        )
