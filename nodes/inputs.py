"""The inputs that every node has which reads maps: which blocks to average, and how concepts compete in them."""

from __future__ import annotations

from comfy_api.latest import io

TEMPERATURE = "Above 1 softens the competition between concepts, below 1 sharpens it. 1 is the paper's."


def saliency_inputs(temperature_tooltip: str = TEMPERATURE) -> list[io.Input]:
    """The arguments of `ConceptAttentionMaps.saliency`, for experts: first_block, last_block, softmax_temperature."""
    return [
        io.Int.Input(
            "first_block",
            default=-10,
            min=-64,
            max=63,
            advanced=True,
            tooltip="First double block to average. Negative numbers count from the end: -10 to -1 are the last ten, "
            "the paper's choice for Flux.",
        ),
        io.Int.Input(
            "last_block",
            default=-1,
            min=-64,
            max=63,
            advanced=True,
            tooltip="Last double block to average. -1 is the last one of the model.",
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
    ]
