"""The families that the pack knows, one file each. A new one is its file and its line in this list."""

from __future__ import annotations

from typing import Any

from comfy.model_base import BaseModel
from comfy.model_patcher import ModelPatcher

from .anima import Anima
from .aura_flow import AuraFlow
from .base import Family
from .boogu import Boogu
from .chroma import Chroma, ChromaRadiance
from .cogvideo import CogVideoX
from .cosmos import CosmosPredict2, CosmosPredict2Video
from .flux import Flux1, LongCat, Ovis
from .flux2 import Flux2
from .hidream import HiDream
from .hunyuan import HunyuanImage21, HunyuanVideo, HunyuanVideo15
from .joy_image import JoyImage
from .krea2 import Krea2
from .lens import Lens
from .ltx import LTXVideo
from .ltx2 import LTX2
from .lumina import Lumina2, ZImage
from .mage_flow import MageFlow
from .pixel_dit import PixelDiT
from .qwen import QwenImage
from .sd3 import StableDiffusion3
from .unet import SDXL, StableDiffusion1
from .wan import Wan

FAMILIES: tuple[Family, ...] = (
    Flux1(),
    LongCat(),
    Ovis(),
    Flux2(),
    ZImage(),
    Lumina2(),
    Krea2(),
    QwenImage(),
    Chroma(),
    ChromaRadiance(),
    StableDiffusion3(),
    HiDream(),
    AuraFlow(),
    MageFlow(),
    Lens(),
    JoyImage(),
    PixelDiT(),
    Boogu(),
    HunyuanImage21(),
    SDXL(),
    StableDiffusion1(),
    Anima(),
    CosmosPredict2(),
    Wan(),
    CogVideoX(),
    HunyuanVideo(),
    HunyuanVideo15(),
    LTXVideo(),
    LTX2(),
    CosmosPredict2Video(),
)


def transformer_of(model: ModelPatcher) -> Any:
    """The diffusion model inside a MODEL, without what torch.compile wraps it in."""
    dit = model.get_model_object("diffusion_model")
    return getattr(dit, "_orig_mod", dit)


def find_family(base: BaseModel, dit: Any) -> Family | None:
    """The family that a model belongs to, if the pack knows it."""
    return next((family for family in FAMILIES if family.owns(base, dit)), None)


def require_family(model: ModelPatcher) -> Family:
    """The family of a MODEL. Raises ValueError, naming what it is and what would do, for any other model."""
    dit = transformer_of(model)
    family = find_family(model.model, dit)
    if family is None:
        known = ", ".join(family.name for family in FAMILIES)
        raise ValueError(
            f"Concept Attention does not know this MODEL ({type(model.model).__name__}, transformer "
            f"{type(dit).__name__}). It works on: {known}. Load one with 'Load Diffusion Model', or try 'Load Demo "
            "Flux'."
        )
    return family
