"""Concept Explorer: maps to look at and to touch; what is seen is what the node gives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from comfy_api.latest import io, ui
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ..conceptattention_core.adapters.comfy.routes import Shown, shelf_of_server
from ..conceptattention_core.explore import (
    colors_of,
    maps_key,
    masks_of,
    pixels_of,
    reading,
    stacks,
)
from ..conceptattention_core.images import image_batch
from ..conceptattention_core.maps import ConceptAttentionMaps
from ..conceptattention_core.masks.presence import presence
from ..conceptattention_core.pictures.heatmap import overlay_picture
from ..conceptattention_core.record import RunStore
from ..conceptattention_core.state import clicks_of, parse_state
from .checked import checked
from .inputs import maps_inputs, maps_of
from .said import absent
from .said import said as noted
from .types import CATEGORY, ConceptAttentionMapsType


@checked
class ConceptAttentionExplorer(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptAttentionExplorer",
            display_name="Concept Explorer",
            category=CATEGORY,
            description=(
                "Shows the maps inside the node: hover to read every concept's share, click to choose one, move the "
                "threshold, blocks and steps and see the mask follow, paint what is missing, or select a thing without "
                "a name. The outputs are what you see."
            ),
            search_aliases=[
                *("interactive mask", "mask editor", "text to mask", "where is", "find object", "daam"),
                *("click", "points editor"),
            ],
            is_output_node=True,
            inputs=[
                *maps_inputs(),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The decoded picture: it is shown under the maps, the masks follow its edges and take its "
                    "size.",
                ),
                io.String.Input(
                    "state",
                    default="",
                    socketless=True,
                    extra_dict={"widgetType": "CONCEPT_EXPLORER"},
                    tooltip="What was chosen, painted and clicked on in the explorer, as it keeps it.",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    display_name="mask", tooltip="The chosen concept with what was painted: 0 or 1, one per picture."
                ),
                io.Mask.Output(
                    "masks",
                    display_name="masks",
                    is_output_list=True,
                    tooltip="A list: the mask of each concept at the same threshold, without the background's and "
                    "without strokes.",
                ),
                io.String.Output(
                    "names", display_name="names", is_output_list=True, tooltip="A list: the concepts, as in masks."
                ),
                io.Image.Output(
                    "overlay", display_name="overlay", tooltip="Each place in the colour of its strongest concept."
                ),
                ConceptAttentionMapsType.Output(
                    "maps_read",
                    display_name="maps",
                    tooltip="The maps with the blocks, steps and temperature that were chosen here.",
                ),
                io.String.Output(
                    "points",
                    display_name="points",
                    tooltip="Where was clicked with Select +, in pixels as JSON: for Concept Select or SAM3 Detect. "
                    "While there are none, nodes that take them wait.",
                ),
                io.String.Output(
                    "negative_points",
                    display_name="negative_points",
                    tooltip="Where was clicked with Select -: what is not the thing.",
                ),
                io.Int.Output(
                    "batch_index",
                    display_name="batch_index",
                    tooltip="The picture of the batch that the points lie on, counted from 0.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        maps: ConceptAttentionMaps | RunStore,
        samples: dict[str, Tensor] | None = None,
        image: Tensor | None = None,
        state: str = "",
    ) -> io.NodeOutput:
        raw, view = maps_of(maps, samples), parse_state(state)
        size = raw.image_size if image is None else (image.shape[1], image.shape[2])
        picture = None if image is None else image_batch(image, raw.pictures, size)
        colors = None if picture is None else colors_of(raw, picture)
        key = maps_key(raw, size, colors)
        shelf_of_server().put(key, shown := Shown(raw, size, colors, picture))
        read, there, named = reading(raw, view), presence(raw), len(raw.concepts) - raw.background_count
        strokes = view.on(key)
        clicks = clicks_of(strokes, size, raw.pictures)
        grids = stacks(read, colors if view.edges else None)
        masks = [
            masks_of(grids[:, at], view.threshold, there[:, at] > 0, shown.covered, size) for at in range(named)
        ]
        try:
            index = raw.index(view.concept)
            sure, grid, said = there[:, index], grids[:, index], absent(raw.concepts[index], there[:, index], 0.0)
        except ValueError as error:  # the concepts were renamed: the explorer must open all the same, to choose anew
            sure, grid, said = torch.zeros(len(grids)), grids[:, 0], f"{error} Choose another in the explorer."
        mask = masks_of(grid, view.threshold, sure > 0, shown.covered, size, strokes)
        told: dict[str, Any] = {"explorer": [key], **(noted("Concept Explorer", said) or {})}
        if picture is not None:
            told["explorer_pictures"] = ui.PreviewImage(picture, cls=cls).values
        return io.NodeOutput(
            mask,
            masks,
            list(raw.concepts[:named]),
            overlay_picture(pixels_of(grids, shown.covered, size), raw.concepts, raw.background_count, picture),
            read,
            written(clicks.on) if clicks.on else ExecutionBlocker(None),  # before the first click there is no error
            written(clicks.off),
            clicks.picture,
            ui=told,
        )


def written(points: Sequence[tuple[int, int]]) -> str:
    """Points as points editors write them."""
    return json.dumps([{"x": x, "y": y} for x, y in points])
