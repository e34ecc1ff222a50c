"""Apply Concept Attention: concepts ride along while an ordinary sampler runs."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..conceptattention_core.adapters.comfy.demo import unknown_words
from ..conceptattention_core.adapters.comfy.sampling import apply_concept_attention
from ..conceptattention_core.adapters.comfy.text import encode_concepts
from ..conceptattention_core.concepts import TOKEN_POOLINGS, TokenPooling, parse_concepts
from ..conceptattention_core.record import RunStore
from ..conceptattention_core.scores import PROJECTIONS, Projection
from .checked import checked
from .said import said, unknown
from .types import CATEGORY, ConceptAttentionType


@checked
class ConceptAttentionApply(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptAttentionApply",
            display_name="Apply Concept Attention",
            category=CATEGORY,
            description=(
                "Prepares a model so that a sampler also finds out where each named concept is in the picture. "
                "The picture itself does not change. Read the result with Concept Attention."
            ),
            search_aliases=[
                *("saliency", "segment by words", "text mask", "attention map", "flux mask", "heatmap"),
                *("region", "daam"),
            ],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="Any model of the README's table: FLUX.1, FLUX.2, Z-Image, Krea 2, SD3, "
                    "HiDream and others, or the demo Flux.",
                ),
                io.Clip.Input(
                    "clip", tooltip="The CLIP that encodes the prompt. Each concept is encoded with it, alone."
                ),
                io.String.Input(
                    "concepts",
                    multiline=True,
                    dynamic_prompts=True,
                    default="",
                    tooltip="What to look for, one per line or separated by commas: house, palm tree, sky. They need "
                    "not occur in the prompt. Concepts see each other, so adding one changes the others a little.",
                ),
                io.String.Input(
                    "background",
                    default="background",
                    tooltip="Concepts that only compete, so that what you did not name has somewhere to go. May be "
                    "empty when there are two concepts or more.",
                ),
                io.Combo.Input(
                    "token_pooling",
                    options=list(TOKEN_POOLINGS),
                    default="mean",
                    tooltip="How a word of several text pieces becomes one vector. mean: the average of its pieces. "
                    "first: the first piece only, which is the paper's choice and loses the rest of 'lighthouse'. "
                    "last: the last piece, which has read the others where the text encoder is a language model.",
                ),
                io.Combo.Input(
                    "projection",
                    options=[*PROJECTIONS, "gram"],
                    default="output",
                    advanced=True,
                    tooltip="The space in which concepts and picture are compared. output: the attention outputs, the "
                    "paper's method. cross_attention and value: its comparisons, usually less sharp. gram: for Wan "
                    "and LTX, how alike places are to the one that asks for the concept most.",
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip="Where in the sampling schedule recording begins: 0 = at the first step.",
                ),
                io.Float.Input(
                    "end_percent",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip="Where in the sampling schedule recording ends: 1 = after the last step.",
                ),
                ConceptAttentionType.Input(
                    "first_part",
                    optional=True,
                    tooltip="For the second of two models that share a run, as Wan 2.2's for low noise: the "
                    "concept_attention of the first one's Apply Concept Attention, with the same concepts. The output "
                    "then holds both, and the maps are those of the whole run.",
                ),
            ],
            outputs=[
                io.Model.Output(tooltip="The model to sample with."),
                ConceptAttentionType.Output(
                    display_name="concept_attention",
                    tooltip="What the sampler recorded. Connect it to Concept Attention, with the sampler's LATENT.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        clip: Any,
        concepts: str,
        background: str,
        token_pooling: TokenPooling,
        projection: Projection,
        start_percent: float,
        end_percent: float,
        first_part: RunStore | None = None,
    ) -> io.NodeOutput:
        names, background_count = parse_concepts(concepts, background)
        encoded = encode_concepts(clip, names, background_count, token_pooling, model)
        return io.NodeOutput(
            *apply_concept_attention(model, encoded, projection, start_percent, end_percent, runs=first_part),
            ui=said("Apply Concept Attention", unknown(unknown_words(clip, names))),
        )
