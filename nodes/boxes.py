"""Concept Attention Boxes: a concept as boxes and points, to prompt SAM with."""

from __future__ import annotations

import json
from dataclasses import asdict

from comfy_api.latest import io
from torch import Tensor

from ..conceptattention_core.expression import parse_expression
from ..conceptattention_core.images import image_batch
from ..conceptattention_core.letters import quoted
from ..conceptattention_core.maps import ConceptAttentionMaps, resize_maps
from ..conceptattention_core.masks.boxes import REGION_METHODS, RegionMethod, concept_prompt, padded_region
from ..conceptattention_core.pictures.marked import marked_picture
from ..conceptattention_core.record import RunStore
from .checked import checked
from .inputs import block_range, maps_inputs, maps_of, own_reading, saliency_inputs
from .seen import seen
from .types import CATEGORY


@checked
class ConceptAttentionBoxes(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptAttentionBoxes",
            display_name="Concept Attention Boxes",
            category=CATEGORY,
            description=(
                "Finds a concept's bounding boxes, and points on and off it, in the form that SAM3 Detect takes: SAM "
                "then cuts out exactly what the concept names. Also gives one region around it all, to crop to."
            ),
            search_aliases=[
                "bounding box",
                "bbox",
                "detect",
                "sam",
                "grounding dino",
                "where is",
                "find object",
                "segment anything",
                "points",
                "object detection",
                "crop",
            ],
            is_output_node=True,  # it shows what it found, also where nothing is connected to it
            inputs=[
                *maps_inputs(),
                io.String.Input(
                    "concept",
                    default="",
                    tooltip="What to find: one of the concepts, or several: tree + house - door. Empty: the first.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(REGION_METHODS),
                    default="argmax",
                    tooltip="Where the concept is. argmax: where it is stronger than every other concept. threshold: "
                    "where its share is above the threshold.",
                ),
                io.Float.Input(
                    "threshold",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="For the method threshold: the share of the competition that the concept must win.",
                ),
                io.Float.Input(
                    "min_area",
                    default=0.2,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="Leave out regions that cover less than this percentage of the picture: 0.2 is 46 x 46 "
                    "pixels of 1024 x 1024.",
                ),
                io.Int.Input(
                    "max_boxes",
                    default=10,
                    min=1,
                    max=100,
                    tooltip="How many regions to keep, the largest and surest first.",
                ),
                io.Int.Input(
                    "padding",
                    default=16,
                    min=0,
                    max=4096,
                    tooltip="How many pixels to leave around the boxes in `region`.",
                ),
                io.Int.Input(
                    "positive_count",
                    default=3,
                    min=0,
                    max=50,
                    tooltip="How many points to put on the concept: well inside its regions, far from each other.",
                ),
                io.Int.Input(
                    "negative_count",
                    default=3,
                    min=0,
                    max=50,
                    tooltip="How many points to put on what is surely something else.",
                ),
                io.Int.Input(
                    "batch_index",
                    default=0,
                    min=0,
                    max=4095,
                    advanced=True,
                    tooltip="Which picture of a batch the points and the region are for, counted from 0: SAM3 Detect "
                    "uses the same points for every picture. Boxes are found for each picture.",
                ),
                *saliency_inputs(),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The picture that goes to SAM3 Detect: boxes and points are in its pixels. Without it they "
                    "are in those of the latent's size times 8.",
                ),
            ],
            outputs=[
                io.BoundingBox.Output(
                    display_name="boxes",
                    tooltip="A list for each picture of x, y, width, height, label and score. For bboxes of SAM3 "
                    "Detect, or Draw BBoxes.",
                ),
                io.String.Output(
                    display_name="positive_points",
                    tooltip="Points on the concept, as JSON pixel coordinates. For positive_coords of SAM3 Detect.",
                ),
                io.String.Output(
                    display_name="negative_points",
                    tooltip="Points on other concepts, as JSON pixel coordinates. For negative_coords of SAM3 Detect.",
                ),
                io.BoundingBox.Output(
                    display_name="region",
                    tooltip="One box around all of them, with padding. For crop_region of Crop Image. The whole "
                    "picture where the concept is not found.",
                ),
                io.Int.Output(display_name="x", tooltip="Left edge of the region, in pixels: to paste a crop back."),
                io.Int.Output(display_name="y", tooltip="Top edge of the region, in pixels."),
                io.Int.Output(display_name="width", tooltip="Width of the region, in pixels, a multiple of 16."),
                io.Int.Output(display_name="height", tooltip="Height of the region, in pixels, a multiple of 16."),
            ],
        )

    @classmethod
    def execute(
        cls,
        maps: ConceptAttentionMaps | RunStore,
        concept: str,
        method: RegionMethod,
        threshold: float,
        min_area: float,
        max_boxes: int,
        padding: int,
        positive_count: int,
        negative_count: int,
        batch_index: int,
        first_block: int,
        last_block: int,
        softmax_temperature: float,
        reading: str = "paper",
        image: Tensor | None = None,
        samples: dict[str, Tensor] | None = None,
    ) -> io.NodeOutput:
        maps = maps_of(maps, samples)
        expression = parse_expression(concept, maps.concepts)
        size = maps.image_size if image is None else (image.shape[1], image.shape[2])
        saliency = maps.shares(own_reading(reading), *block_range(first_block, last_block), softmax_temperature)
        shares = resize_maps(saliency, maps.image_size, size, maps.token_pixels)
        prompt = concept_prompt(
            shares,
            expression,
            method,
            threshold,
            min_area / 100,
            max_boxes,
            (positive_count, negative_count),
            batch_index,
        )
        name, regions = expression.text(maps.concepts), prompt.regions[batch_index]
        x, y, width, height = padded_region(regions, padding, size)
        picture = None if image is None else image_batch(image, len(shares), size)[batch_index]
        boxes = [(one.x, one.y, one.width, one.height, one.score) for one in regions]
        drawn = marked_picture(picture, size, boxes, prompt.positive, prompt.negative, name)
        missing = "" if regions else f"{quoted(name)} was not found in picture {batch_index + 1}: there are no boxes."
        return io.NodeOutput(
            [[{**asdict(region), "label": name} for region in regions] for regions in prompt.regions],
            *(json.dumps([{"x": x, "y": y} for x, y in points]) for points in (prompt.positive, prompt.negative)),
            {"x": x, "y": y, "width": width, "height": height},
            x,
            y,
            width,
            height,
            ui=seen("Concept Attention Boxes", maps, drawn[None], missing),
        )
