"""Concept Segmentation: every pixel to its strongest concept."""

from __future__ import annotations

import math

import torch
from comfy_api.latest import io
from einops import rearrange
from torch import Tensor

from ..conceptattention_core.expression import combine_shares, parse_expression
from ..conceptattention_core.images import image_batch
from ..conceptattention_core.maps import ConceptAttentionMaps, resize_maps
from ..conceptattention_core.masks.edges import refine_maps
from ..conceptattention_core.masks.regions import fill_label_holes, merge_small
from ..conceptattention_core.pictures.heatmap import overlay_picture
from ..conceptattention_core.record import RunStore
from .checked import checked
from .inputs import block_range, maps_inputs, maps_of, own_reading, saliency_inputs
from .seen import seen
from .types import CATEGORY


@checked
class ConceptAttentionSegmentation(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptAttentionSegmentation",
            display_name="Concept Segmentation",
            category=CATEGORY,
            description=(
                "Parts the picture among the concepts: each pixel goes to the one that is strongest there. Gives a "
                "coloured label map, a hard mask of every concept, and the mask of one by name."
            ),
            search_aliases=["segment by words", "semantic segmentation", "label map", "segmentation map", "seg mask"],
            is_output_node=True,  # it shows what it found, also where nothing is connected to it
            inputs=[
                *maps_inputs(),
                io.String.Input(
                    "concept",
                    default="",
                    tooltip="What the output `mask` is for: one of the concepts, or several: tree + house. Empty: the "
                    "first. A background concept can be named, too.",
                ),
                io.Boolean.Input(
                    "refine_edges",
                    default=True,
                    tooltip="Let the borders follow the edges in `image`. Without an image, or switched off, they come "
                    "from the maps alone, which know 16-pixel patches.",
                ),
                io.Float.Input(
                    "min_area",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="Regions that cover less than this percentage of the picture go to the strongest concept "
                    "beside them. 0 keeps all.",
                ),
                io.Boolean.Input(
                    "fill_holes",
                    default=False,
                    tooltip="Give patches of background that lie wholly inside one concept to that concept. Concepts "
                    "inside one another, the sun in the sky, stay.",
                ),
                *saliency_inputs(
                    "Above 1 evens the blocks and steps out, below 1 lets the surest of them decide. 1 is the paper's."
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The picture that the maps belong to: the borders follow its edges, the labels are drawn "
                    "on it, and the outputs take its size.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="labels",
                    tooltip="Each pixel in the colour of its concept, with a legend. Over `image` if there is one, "
                    "where background lets it show through.",
                ),
                io.Mask.Output(
                    display_name="masks",
                    tooltip="A mask for each concept, in the order in which you named them, without the background's. "
                    "Of several pictures: all masks of the first picture, then all of the second.",
                ),
                io.Mask.Output(
                    display_name="mask",
                    tooltip="The named concept: exactly 0 outside, exactly 1 inside, one per picture.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        maps: ConceptAttentionMaps | RunStore,
        concept: str,
        refine_edges: bool,
        min_area: float,
        fill_holes: bool,
        first_block: int,
        last_block: int,
        softmax_temperature: float,
        reading: str = "paper",
        image: Tensor | None = None,
        samples: dict[str, Tensor] | None = None,
    ) -> io.NodeOutput:
        maps = maps_of(maps, samples)
        expression, named = parse_expression(concept, maps.concepts), len(maps.concepts) - maps.background_count
        tokens = maps.shares(own_reading(reading), *block_range(first_block, last_block), softmax_temperature)
        picture = None if image is None else image_batch(image, len(tokens), (image.shape[1], image.shape[2]))
        if picture is None or not refine_edges:
            size = maps.image_size if picture is None else (picture.shape[1], picture.shape[2])
            shares = resize_maps(tokens, maps.image_size, size, maps.token_pixels)
        else:
            # One picture at a time: a video has many.
            pairs = zip(tokens.split(1), picture.split(1), strict=True)
            shares = torch.cat([refine_maps(one, guide, maps.image_size, maps.token_pixels) for one, guide in pairs])
        labels = shares.argmax(dim=1)
        if fill_holes:
            labels = fill_label_holes(labels, named)
        labels = merge_small(labels, shares, math.ceil(min_area / 100 * labels[0].numel()))
        won = (labels[:, None] == torch.arange(len(maps.concepts))[:, None, None]).float()
        painted = overlay_picture(won, maps.concepts, maps.background_count, picture)
        return io.NodeOutput(
            painted,
            rearrange(won[:, :named], "b c h w -> (b c) h w").contiguous(),
            combine_shares(won, expression.signs(won.shape[1]).expand(len(won), -1)),
            ui=seen("Concept Segmentation", maps, painted),
        )
