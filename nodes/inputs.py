"""The inputs that every node has which reads maps: which blocks to average, and how concepts compete in them."""

from __future__ import annotations

from typing import Any, cast

from comfy_api.latest import io

from ..conceptattention_core.maps import READINGS, ConceptAttentionMaps, Reading
from .types import ConceptAttentionMapsType, ConceptAttentionType

TEMPERATURE = (
    "Above 1 softens the competition between concepts, below 1 sharpens it. 1 is the model family's own (of FLUX.1 the "
    "paper's)."
)

FROM_MAPS = -65
"""What the two block inputs hold until somebody changes them: the maps know which blocks suit their model."""


def maps_inputs() -> list[io.Input]:
    """What a node reads: maps, or what a sampler has recorded with the LATENT that tells which run."""
    return [
        io.MultiType.Input(
            "maps",
            types=[ConceptAttentionMapsType, ConceptAttentionType],
            tooltip="The maps of another node; or the concept_attention output of Apply Concept Attention, with the "
            "sampler's LATENT in samples.",
        ),
        io.Latent.Input(
            "samples",
            optional=True,
            tooltip="With concept_attention: the sampler's own LATENT output, with no node in between. Not needed with "
            "maps.",
        ),
    ]


def maps_of(given: Any, samples: dict[str, Any] | None) -> ConceptAttentionMaps:
    """The maps that `maps_inputs` are given. Raises ValueError, saying what to connect, where there are none.

    Told by what they can do: another pack may bring the core along, whose classes are not these.
    """
    if hasattr(given, "saliency") and hasattr(given, "scores"):
        return given
    if not hasattr(given, "find") or isinstance(given, str):
        raise ValueError("`maps` takes the maps of another node, or Apply Concept Attention's concept_attention.")
    if samples is None:
        raise ValueError("`samples` is not connected: the sampler's LATENT tells which of its runs to read.")
    return given.find(samples["samples"])


def saliency_inputs(temperature_tooltip: str = TEMPERATURE) -> list[io.Input]:
    """The arguments of `ConceptAttentionMaps.shares`, for experts, the last widgets of a node: first_block, last_block,
    softmax_temperature, reading."""
    return [
        io.Int.Input(
            "first_block",
            default=FROM_MAPS,
            min=FROM_MAPS,
            max=63,
            advanced=True,
            tooltip="First block of the model to average. -65: as suits the model (FLUX.1: the last ten double blocks, "
            "the paper's choice). Other negative numbers count from the end: -10 to -1 are the last ten.",
        ),
        io.Int.Input(
            "last_block",
            default=FROM_MAPS,
            min=FROM_MAPS,
            max=63,
            advanced=True,
            tooltip="Last block of the model to average. -65: as suits the model. -1 is the last one of the model.",
        ),
        io.Float.Input(
            "softmax_temperature",
            default=1.0,
            min=0.01,
            max=1000.0,
            step=0.1,
            advanced=True,
            tooltip=temperature_tooltip,
        ),
        io.Combo.Input(
            "reading",
            options=["maps", *READINGS],
            default="maps",
            optional=True,  # files in API format that are older have none
            advanced=True,
            tooltip="How blocks and steps count. maps: as suits the model, or as was chosen in the Concept Explorer. "
            "paper: those that are chosen above, all alike. auto: each by what it shows itself, of all blocks unless "
            "some are chosen: for models whose blocks nobody has measured.",
        ),
    ]


def own_reading(reading: str) -> Reading | None:
    """The reading as the core takes it: None for what the maps say themselves."""
    return None if reading == "maps" else cast(Reading, reading)


def block_range(first_block: int, last_block: int) -> tuple[int | None, int | None]:
    """Both ends as the core takes them: None for what the maps say themselves."""
    return (
        None if first_block == FROM_MAPS else first_block,
        None if last_block == FROM_MAPS else last_block,
    )
