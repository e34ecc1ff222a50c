"""Concept Attention from Image: maps of a picture that exists already."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..conceptattention_core.adapters.comfy.demo import unknown_words
from ..conceptattention_core.adapters.comfy.encode import encode_picture
from ..conceptattention_core.adapters.comfy.text import encode_concepts
from ..conceptattention_core.concepts import TOKEN_POOLINGS, TokenPooling, parse_concepts
from ..conceptattention_core.scores import PROJECTIONS, Projection
from .checked import checked
from .said import said, unknown
from .types import CATEGORY, ConceptAttentionMapsType


@checked
class ConceptAttentionFromImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptAttentionFromImage",
            display_name="Concept Attention from Image",
            category=CATEGORY,
            description=(
                "Finds out where each named concept is in pictures that exist already, such as photographs: adds "
                "noise, shows them to a model once, and reads its attention. Nothing is sampled."
            ),
            search_aliases=[
                "saliency",
                "segment image",
                "segment photo",
                "segment by words",
                "text mask",
                "attention map",
                "zero-shot segmentation",
                "heatmap",
            ],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="Any model of the README's table that needs no more than a picture (not Fill), or "
                    "the demo Flux.",
                ),
                io.Clip.Input(
                    "clip", tooltip="The CLIP that belongs to the model. Concepts and prompt are encoded with it."
                ),
                io.Vae.Input(
                    "vae", tooltip="The VAE that belongs to the model: it turns the picture into what the model sees."
                ),
                io.Image.Input(
                    "image",
                    tooltip="One picture or a batch, of any size; an alpha channel is left out. Models know pictures "
                    "of about one megapixel: scale much larger and much smaller ones first.",
                ),
                io.String.Input(
                    "concepts",
                    multiline=True,
                    dynamic_prompts=True,
                    default="",
                    tooltip="What to look for, one per line or separated by commas: house, palm tree, sky. Concepts "
                    "see each other, so adding one changes the others a little.",
                ),
                io.String.Input(
                    "background",
                    default="background",
                    tooltip="Concepts that only compete, so that what you did not name has somewhere to go. May be "
                    "empty when there are two concepts or more.",
                ),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    default="",
                    tooltip="What the model is told about the picture, such as 'a photo of a cat'. May stay empty.",
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
                    options=list(PROJECTIONS),
                    default="output",
                    advanced=True,
                    tooltip="The space in which concepts and picture are compared. output: the attention outputs, the "
                    "paper's method. cross_attention and value: its comparisons, usually less sharp.",
                ),
                io.Float.Input(
                    "noise_level",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip="How much noise the picture gets before the model looks: 0 = none, 1 = noise only. 0.5 is "
                    "the paper's choice; 0.3 found more on four small models.",
                ),
                io.Int.Input(
                    "noise_samples",
                    default=1,
                    min=1,
                    max=64,
                    advanced=True,
                    tooltip="How many different noises are tried, the scores being averaged: steadier maps, and as "
                    "many times the work.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**64 - 1,
                    control_after_generate=False,
                    advanced=True,
                    tooltip="Seed of the first noise; further samples count up from it. All pictures of a batch get "
                    "the same noise.",
                ),
                io.Float.Input(
                    "guidance",
                    default=3.5,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    advanced=True,
                    tooltip="The guidance value that a model of dev's kind is told. schnell has none.",
                ),
                io.Int.Input(
                    "last_block",
                    default=-1,
                    min=-64,
                    max=63,
                    advanced=True,
                    tooltip="Last block to run; the maps hold all up to this one. -1 is the last one of the model. An "
                    "earlier one saves time where you read early blocks only.",
                ),
            ],
            outputs=[
                ConceptAttentionMapsType.Output(
                    display_name="maps",
                    tooltip="The raw scores of every picture, concept and block, for this pack's other nodes.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        clip: Any,
        vae: Any,
        image: Tensor,
        concepts: str,
        background: str,
        prompt: str,
        token_pooling: TokenPooling,
        projection: Projection,
        noise_level: float,
        noise_samples: int,
        seed: int,
        guidance: float,
        last_block: int,
    ) -> io.NodeOutput:
        names, background_count = parse_concepts(concepts, background)
        encoded = encode_concepts(clip, names, background_count, token_pooling, model)
        return io.NodeOutput(
            encode_picture(
                model,
                clip,
                vae,
                image,
                encoded,
                prompt,
                projection,
                noise_level,
                noise_samples,
                seed,
                guidance,
                last_block,
            ),
            ui=said("Concept Attention from Image", unknown(unknown_words(clip, (*names, prompt)))),
        )
