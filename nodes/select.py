"""Concept Select: a mask of what a click lies on, without a name."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..conceptattention_core.images import image_batch
from ..conceptattention_core.maps import ConceptAttentionMaps
from ..conceptattention_core.masks.select import select
from ..conceptattention_core.pictures.marked import marked_picture
from ..conceptattention_core.pictures.preview import mask_preview
from ..conceptattention_core.points import read_clicks
from ..conceptattention_core.record import RunStore
from .checked import checked
from .inputs import maps_inputs, maps_of
from .seen import seen
from .types import CATEGORY


@checked
class ConceptAttentionSelect(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptAttentionSelect",
            display_name="Concept Select",
            category=CATEGORY,
            description=(
                "Masks the thing that a point lies on, without a name: by what the model itself made of each place. "
                "More points, on it and off it, correct the mask."
            ),
            search_aliases=["click", "points", "segment anything", "sam", "magic wand", "select object", "point mask"],
            is_output_node=True,  # it shows what it found, also where nothing is connected to it
            inputs=[
                *maps_inputs(),
                io.String.Input(
                    "points",
                    default="",
                    multiline=True,
                    tooltip="Where the thing is: x, y in pixels, a point a line; or JSON, as points editors, "
                    "Concept Explorer and Concept Attention Boxes write it. Numbers between 0 and 1 are parts of width "
                    "and height.",
                ),
                io.String.Input(
                    "negative_points",
                    default="",
                    multiline=True,
                    tooltip="What is not the thing, in the same form: put a point where the mask holds too much. "
                    "Empty: none.",
                ),
                io.Float.Input(
                    "tolerance",
                    default=0.5,
                    min=0.01,
                    max=0.99,
                    step=0.01,
                    tooltip="How alike a place must be: above 0.5 more is selected, below 0.5 less.",
                ),
                io.Int.Input(
                    "batch_index",
                    default=0,
                    min=0,
                    max=4095,
                    advanced=True,
                    tooltip="Which picture of a batch the points lie on, counted from 0.",
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The decoded picture that the points were put on: the mask follows its edges and takes its "
                    "size. Without it masks are much coarser.",
                ),
            ],
            outputs=[
                io.Mask.Output(display_name="mask", tooltip="What was selected, 1, and the rest, 0: of one picture."),
                io.Image.Output(display_name="preview", tooltip="The mask and the points over the picture."),
            ],
        )

    @classmethod
    def execute(
        cls,
        maps: ConceptAttentionMaps | RunStore,
        points: str,
        negative_points: str,
        tolerance: float,
        batch_index: int,
        image: Tensor | None = None,
        samples: dict[str, Tensor] | None = None,
    ) -> io.NodeOutput:
        maps = maps_of(maps, samples)
        one = maps.picture(batch_index)
        size = maps.image_size if image is None else (image.shape[1], image.shape[2])
        picture = None if image is None else image_batch(image, maps.pictures, size)[batch_index][None]
        on, off = read_clicks(points, negative_points, size)
        made = select(one, on, off, picture, size, tolerance)
        film = mask_preview(made.mask, picture).expand(1, *size, 3)
        green, red = ([(int(x), int(y)) for x, y in some] for some in (on, off))
        preview = marked_picture(film[0], size, [], green, red, "")[None]
        return io.NodeOutput(made.mask, preview, ui=seen("Concept Select", one, preview))
