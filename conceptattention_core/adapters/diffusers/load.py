"""diffusers: load the demo model, or any supported one from a folder or the hub, by one name."""

from __future__ import annotations

from typing import Any, Literal, get_args

import diffusers
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from .demo import load_demo_pipeline
from .families import family_of_pipeline

DEMO = "demo"
Dtype = Literal["float32", "bfloat16", "float16"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)


def default_device(model: str) -> str:
    """The best device that there is; the demo is small enough for the CPU."""
    if model == DEMO:
        return "cpu"
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def load_pipeline(model: str, device: str | None = None, dtype: Dtype | None = None, offload: bool = False) -> Any:
    """A text-to-image pipeline, ready to run; its family is told by the model's index file.

    model: "demo", a folder, or a hub name such as "black-forest-labs/FLUX.1-schnell". device: "cuda", "cuda:1", "mps"
    or "cpu"; by default the best that there is, and the CPU for the demo. dtype: bfloat16 by default, float32 on the
    CPU and for the demo. offload: keep only the part that works on the device (needs accelerate).
    Raises OSError where there is no such model, and ValueError, before anything is loaded, for one of no known family,
    and for one that makes videos.
    """
    device = device or default_device(model)
    if model == DEMO:
        pipe: Any = load_demo_pipeline()
        if dtype not in (None, "float32"):
            pipe.to(getattr(torch, dtype))
    else:
        chosen = dtype or ("float32" if device == "cpu" else "bfloat16")
        index: Any = DiffusionPipeline.load_config(model)
        kind = index["_class_name"]
        family = family_of_pipeline(kind)
        if family.video:
            raise ValueError(
                f"{family.name} makes videos, and this looks at pictures. Record a video from Python, "
                "`with ConceptAttention(pipe, ...)`; docs/api.md has an example."
            )
        plain = getattr(diffusers, family.loaded_as(kind))
        pipe = plain.from_pretrained(model, torch_dtype=getattr(torch, chosen))
    if offload:
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.to(device)
    return pipe
