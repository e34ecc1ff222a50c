"""Concept Attention Heatmap: what the maps hold, as pictures."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..conceptattention_core.maps import ConceptAttentionMaps
from ..conceptattention_core.pictures.colormaps import COLOR_MAPS
from ..conceptattention_core.pictures.layouts import (
    LAYOUTS,
    SCALES,
    HeatmapStyle,
    Layout,
    Scale,
    choose_concepts,
    draw_heatmaps,
)
from ..conceptattention_core.record import RunStore
from .checked import checked
from .inputs import block_range, maps_inputs, maps_of, own_reading, saliency_inputs
from .seen import seen
from .types import CATEGORY


@checked
class ConceptAttentionHeatmap(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptAttentionHeatmap",
            display_name="Concept Attention Heatmap",
            category=CATEGORY,
            description=(
                "Draws the concepts' maps: a labelled grid of heat maps, a heat map per concept, or all concepts over "
                "the picture."
            ),
            search_aliases=["heat map", "saliency map", "attention map", "visualize attention", "overlay", "legend"],
            is_output_node=True,  # it shows what it found, also where nothing is connected to it
            inputs=[
                *maps_inputs(),
                io.String.Input(
                    "concept",
                    default="",
                    tooltip="What to draw, separated by commas; several as one with + and -: tree + house, sky. Empty: "
                    "all concepts, background last.",
                ),
                io.Combo.Input(
                    "layout",
                    options=list(LAYOUTS),
                    default="grid",
                    tooltip="grid: all heat maps in one picture, with names, highest shares and the colour scale. "
                    "pictures: a plain heat map per concept, as a batch. overlay: each place in the colour of its "
                    "strongest concept, the stronger the surer it is, with a legend.",
                ),
                io.Combo.Input(
                    "colors",
                    options=list(COLOR_MAPS),
                    default="heat",
                    tooltip="Colours of grid and pictures, from low to high; equal steps of share look equal. ocean "
                    "suits every kind of colour vision, gray is for printing. The overlay has a colour per concept.",
                ),
                io.Combo.Input(
                    "scale",
                    options=list(SCALES),
                    default="shared",
                    tooltip="shared: one scale, from 0 to the highest share of any concept, so that a concept that is "
                    "not in the picture stays dark. per concept: each map from its own lowest to its own highest "
                    "share, which shows the most detail and makes absent concepts look present.",
                ),
                io.Float.Input(
                    "alpha",
                    default=0.6,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How opaque the colours are over the image. Without an image it does nothing.",
                ),
                *saliency_inputs(),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The decoded picture: the heat maps are drawn over it and take its size.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="heatmap",
                    tooltip="One picture for each picture of the batch; with pictures, one for each concept of each.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        maps: ConceptAttentionMaps | RunStore,
        concept: str,
        layout: Layout,
        colors: str,
        scale: Scale,
        alpha: float,
        first_block: int,
        last_block: int,
        softmax_temperature: float,
        reading: str = "paper",
        image: Tensor | None = None,
        samples: dict[str, Tensor] | None = None,
    ) -> io.NodeOutput:
        maps = maps_of(maps, samples)
        shares = maps.shares(own_reading(reading), *block_range(first_block, last_block), softmax_temperature)
        style = HeatmapStyle(layout, colors, scale, alpha)
        drawn = draw_heatmaps(maps, shares, choose_concepts(concept, maps), style, image)
        return io.NodeOutput(drawn, ui=seen("Concept Attention Heatmap", maps, drawn))
