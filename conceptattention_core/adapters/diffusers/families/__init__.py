"""The families that the library knows, one file each. A new one is its file and its line in this list."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from typing import Any

from torch import nn

from .anima import Anima
from .aura_flow import AuraFlow
from .base import Family
from .chroma import Chroma
from .cogvideo import CogVideoX
from .cosmos import CosmosPredict2, CosmosPredict2Video
from .flux import Flux1
from .flux2 import Flux2
from .hidream import HiDream
from .hunyuan import HunyuanVideo, HunyuanVideo15
from .hunyuan_image import HunyuanImage
from .joy_image import JoyImage
from .krea2 import Krea2
from .ltx import LTXVideo
from .ltx2 import LTX2
from .lumina2 import Lumina2
from .placed import LongCat, Ovis
from .qwen import QwenImage
from .sd3 import StableDiffusion3
from .unet import SDXL, StableDiffusion1
from .wan import Wan
from .zimage import ZImage

FAMILIES: tuple[Family, ...] = (
    Flux1(),
    Flux2(),
    StableDiffusion3(),
    QwenImage(),
    ZImage(),
    Lumina2(),
    Krea2(),
    Chroma(),
    LongCat(),
    Ovis(),
    AuraFlow(),
    HiDream(),
    HunyuanImage(),
    JoyImage(),
    SDXL(),
    StableDiffusion1(),
    Anima(),
    CogVideoX(),
    Wan(),
    HunyuanVideo(),
    HunyuanVideo15(),
    LTXVideo(),
    LTX2(),
    CosmosPredict2(),
    CosmosPredict2Video(),
)


def find_family(transformer: nn.Module, pipelines: Collection[str] = ()) -> Family | None:
    """The family that a transformer belongs to, if the library knows it.

    pipelines: the classes of the pipeline around it, as some families share a transformer or are not all that it does.
    """
    owning = [family for family in FAMILIES if family.owns(transformer)]
    listed = [family for family in owning if any(name in family.pipelines for name in pipelines)]
    return next(iter([*listed, *(family for family in owning if not family.only_listed)]), None)


def family_of_pipeline(name: str) -> Family:
    """The family of a pipeline's class, by its name. Raises ValueError for one that is not known."""
    family = next((family for family in FAMILIES if name in family.pipelines), None)
    if family is None:
        raise ValueError(unknown(name))
    return family


def denoisers(pipe: Any) -> tuple[Any, ...]:
    """The models that take noise away in a pipeline: Wan 2.2 has one for its first steps and one for its last."""
    found = (getattr(pipe, name, None) for name in ("transformer", "transformer_2", "unet"))
    return tuple(one for one in found if one is not None)


def require_family(pipe: Any) -> Family:
    """The family of a pipeline. Raises ValueError for other pipelines, and for transformers that cannot be read."""
    transformers = denoisers(pipe)
    if not transformers:
        raise ValueError(unknown(type(pipe).__name__))
    (family, *_) = (readable(one, [kind.__name__ for kind in type(pipe).__mro__]) for one in transformers)
    return family


def readable(transformer: nn.Module, pipelines: Sequence[str]) -> Family:
    """The family of a transformer whose parts show themselves. Raises ValueError for others.

    pipelines: the class of the pipeline around it, and those that it is derived from.
    """
    if hasattr(transformer, "_orig_mod") or any(
        getattr(module, "_compiled_call_impl", None) is not None for module in transformer.modules()
    ):
        raise ValueError(
            "This transformer is compiled, and compiled code does not call the hooks that Concept Attention reads "
            "from. Use the uncompiled one: `pipe.transformer = pipe.transformer._orig_mod` undoes torch.compile; "
            "after `.compile()` or `compile_repeated_blocks()`, load the pipeline again."
        )
    family = find_family(transformer, pipelines)
    if family is None:
        raise ValueError(unknown(pipelines[0], type(transformer).__name__))
    for block in family.blocks(transformer):
        if None in family.parts(block):
            kind = type(transformer).__name__
            raise ValueError(
                f"This {kind}'s blocks are of class {type(block).__name__}, which does not show its attention as "
                f"diffusers' own do (`attn.norm_k`, `attn.to_out`), so there is nothing to read. Load the model with "
                f"diffusers' {family.transformer}."
            )
    return family


def unknown(pipeline: str, transformer: str = "") -> str:
    """What to say of a pipeline that no family has: what there is, and what comes nearest."""
    known = [name for family in FAMILIES for name in family.pipelines]
    near = difflib.get_close_matches(pipeline, known, n=1, cutoff=0.0)
    whose = f" (its transformer is a {transformer})" if transformer else ""
    families = "; ".join(f"{family.name} ({family.pipelines[0]})" for family in FAMILIES)
    return (
        f"Concept Attention does not know the pipeline {pipeline}{whose}. It works on these families of diffusers: "
        f"{families}. The nearest pipeline is {near[0]}. `ConceptAttention.supported()` lists them all."
    )
