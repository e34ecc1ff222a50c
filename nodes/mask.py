"""Concept Attention Mask: a clean mask of one or several concepts, ready for inpainting and compositing."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..conceptattention_core.expression import parse_expression
from ..conceptattention_core.images import image_batch
from ..conceptattention_core.maps import ConceptAttentionMaps
from ..conceptattention_core.masks.recipe import MaskRecipe, make_mask
from ..conceptattention_core.masks.regions import each_region
from ..conceptattention_core.masks.segments import segments
from ..conceptattention_core.pictures.preview import mask_preview
from ..conceptattention_core.record import RunStore
from .checked import checked
from .inputs import block_range, maps_inputs, maps_of, own_reading, saliency_inputs
from .said import absent
from .seen import seen
from .types import CATEGORY


@checked
class ConceptAttentionMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptAttentionMask",
            display_name="Concept Attention Mask",
            category=CATEGORY,
            description=(
                "Makes a clean mask of one or several concepts, ready for inpainting, and says how sure it is that the "
                "concept is in the picture."
            ),
            search_aliases=[
                "text mask",
                "text to mask",
                "mask from text",
                "object mask",
                "clipseg",
                "matting",
                "region",
                "segment by words",
                "select object",
                "inpaint mask",
                "cut out",
                "saliency",
                "otsu",
                "grow mask",
                "blur mask",
            ],
            # A choice that is misspelt or linked arrives, too, to be named in an error: see `checked`.
            accept_all_inputs=True,
            is_output_node=True,  # it shows what it found, also where nothing is connected to it
            inputs=[
                *maps_inputs(),
                io.String.Input(
                    "concept",
                    default="",
                    tooltip="What to mask: one of the concepts, or several: tree + house - door. What is taken away "
                    "must beat the rest to be cut out. Empty: the first concept.",
                ),
                io.DynamicCombo.Input(
                    "method",
                    options=METHODS,
                    tooltip="How the concept's map becomes a mask. soft: levels, for soft edges. mean: above the map's "
                    "mean, the paper's. otsu: the best cut into two groups. percentile: the strongest part of the "
                    "picture. threshold: above a fixed share. argmax: where it is the strongest of all concepts.",
                ),
                io.Int.Input(
                    "grow",
                    default=0,
                    min=-512,
                    max=512,
                    tooltip="Grow the mask by this many pixels, with round corners. Negative: shrink it.",
                ),
                io.Int.Input(
                    "blur",
                    default=0,
                    min=0,
                    max=512,
                    tooltip="Fade the edge over this many pixels to each side. Further away the mask stays 0 or 1.",
                ),
                io.Boolean.Input(
                    "fill_holes", default=False, tooltip="Also mask the places that the mask surrounds on all sides."
                ),
                io.DynamicCombo.Input(
                    "keep",
                    options=[
                        io.DynamicCombo.Option("all", []),
                        io.DynamicCombo.Option("largest", []),
                        io.DynamicCombo.Option(
                            "several",
                            [
                                io.Int.Input(
                                    "regions", default=2, min=1, max=1000, tooltip="How many of the largest to keep."
                                )
                            ],
                        ),
                        io.DynamicCombo.Option(
                            "one",
                            [
                                io.Int.Input(
                                    "region",
                                    default=1,
                                    min=1,
                                    max=1000,
                                    tooltip="Which one, by size: 1 is the largest, 2 the next.",
                                )
                            ],
                        ),
                    ],
                    tooltip="Which separate regions of the mask to keep: all, the largest, several of the largest, or "
                    "one by its number.",
                ),
                io.Float.Input(
                    "min_area",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="Drop regions that cover less than this percentage of the picture.",
                ),
                io.Boolean.Input("invert", default=False, tooltip="Mask everything but the concept."),
                io.Boolean.Input(
                    "refine_edges",
                    default=True,
                    tooltip="Move the mask's edges to those of the picture. Needs image; without it nothing happens.",
                ),
                io.Float.Input(
                    "min_presence",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="A concept whose presence is below this is not in the picture: its mask is empty. 0: "
                    "make a mask, though it be a guess, unless it is surely not there. 0.5: as likely there as not.",
                ),
                *saliency_inputs(),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The decoded picture: it guides the mask's edges, the mask takes its size, and the preview "
                    "is drawn on it.",
                ),
                io.Int.Input(
                    "smooth_frames",
                    optional=True,
                    default=0,
                    min=0,
                    max=16,
                    advanced=True,
                    tooltip="For video, against flicker: so many pictures before and behind each one count as much as "
                    "itself. 0: none.",
                ),
                io.Boolean.Input(
                    "through_time",
                    optional=True,
                    default=False,
                    advanced=True,
                    tooltip="For video: keep and min_area look at regions of the whole video, connected from picture "
                    "to picture, so that a thing is kept or dropped in all of them alike.",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    display_name="mask", tooltip="Exactly 0 outside, exactly 1 inside, one for each picture."
                ),
                io.Image.Output(display_name="preview", tooltip="The mask over the picture, or over plain grey."),
                io.Float.Output(
                    display_name="presence",
                    tooltip="How sure the maps are that the concept is there, from 0 to 1. Of several concepts or "
                    "pictures: the highest.",
                ),
                io.Mask.Output(
                    "regions",
                    display_name="regions",
                    is_output_list=True,
                    tooltip="A list: every separate region of the mask as a mask of its own, a picture's largest "
                    "first.",
                ),
                io.Custom("SEGS").Output(
                    "segs",
                    display_name="segs",
                    is_output_list=True,
                    tooltip="A list: the regions of each picture as the detailers of the Impact Pack and others take "
                    "them, labelled with the concept.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        maps: ConceptAttentionMaps | RunStore,
        concept: str,
        method: dict[str, Any],
        grow: int,
        blur: int,
        fill_holes: bool,
        keep: dict[str, Any],
        min_area: float,
        invert: bool,
        refine_edges: bool,
        min_presence: float,
        first_block: int,
        last_block: int,
        softmax_temperature: float,
        reading: str = "paper",
        image: Tensor | None = None,
        samples: dict[str, Tensor] | None = None,
        smooth_frames: int = 0,
        through_time: bool = False,
    ) -> io.NodeOutput:
        maps = maps_of(maps, samples)
        first, last = block_range(first_block, last_block)
        recipe = MaskRecipe(
            concept=concept,
            min_presence=min_presence,
            first_block=first,
            last_block=last,
            temperature=softmax_temperature,
            reading=own_reading(reading),
            refine_edges=refine_edges,
            **method,
            min_area=min_area,
            keep=keep["regions"] if keep["keep"] == "several" else int(keep["keep"] == "largest"),
            region=keep["region"] if keep["keep"] == "one" else 0,
            fill_holes=fill_holes,
            grow=grow,
            blur=blur,
            invert=invert,
            smooth_frames=smooth_frames,
            through_time=through_time,
        )
        made = make_mask(maps, recipe, image)
        picture = None if image is None else image_batch(image, len(made.mask), (image.shape[1], image.shape[2]))
        preview = mask_preview(made.mask, picture)
        inside = 1 - made.mask if invert else made.mask
        return io.NodeOutput(
            made.mask,
            preview,
            made.presence.max().item(),
            each_region(inside),
            segments(inside, parse_expression(concept, maps.concepts).text(maps.concepts), made.presence),
            ui=seen("Concept Attention Mask", maps, preview, absent(concept, made.presence, min_presence)),
        )


def _part(name: str, default: float, tooltip: str) -> io.Input:
    return io.Float.Input(name, default=default, min=0.0, max=1.0, step=0.01, tooltip=tooltip)


METHODS = [
    io.DynamicCombo.Option("argmax", []),
    io.DynamicCombo.Option(
        "soft",
        [
            _part("low", 0.3, "Black point: 0 up to here, on the way from the map's lowest value (0) to its highest."),
            _part("high", 0.7, "White point: 1 from here on. Closer to low, the edge is harder."),
            io.Float.Input(
                "gamma",
                default=1.0,
                min=0.1,
                max=10.0,
                step=0.05,
                tooltip="Bends the ramp between low and high: above 1 widens the mask, below 1 narrows it.",
            ),
        ],
    ),
    io.DynamicCombo.Option("mean", []),
    io.DynamicCombo.Option("otsu", []),
    io.DynamicCombo.Option(
        "percentile",
        [
            io.Float.Input(
                "percentile",
                default=80.0,
                min=0.0,
                max=100.0,
                step=0.5,
                tooltip="How much of the picture stays outside, in percent: 80 masks the strongest fifth.",
            )
        ],
    ),
    io.DynamicCombo.Option(
        "threshold",
        [
            _part(
                "threshold",
                0.5,
                "Share of the competition that the concept must win. With - : by how much it must beat what is taken "
                "away.",
            )
        ],
    ),
]
"""The methods of `MaskRecipe`, each with just its own knobs. The first is the default: of all it masks least in vain
(`tools/benchmarks/masks.py`)."""
