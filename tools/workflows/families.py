"""One workflow for each model family, with ComfyUI's stock loaders: the usual files, steps and guidance.

File names, addresses and settings are those of ComfyUI's own templates; the front end offers the files for download.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .plan import Item, Plan, file_of, loader
from .reading import BACKGROUND, CONCEPTS, PROMPT

HUB = "https://huggingface.co/Comfy-Org/"
SPLIT = "resolve/main/split_files/"
T5 = "https://huggingface.co/comfyanonymous/flux_text_encoders/resolve/main/t5xxl_fp8_e4m3fn_scaled.safetensors"
QWEN = f"{HUB}Qwen-Image_ComfyUI/{SPLIT}"
Z_IMAGE = f"{HUB}z_image_turbo/{SPLIT}"
WAN = f"{HUB}Wan_2.1_ComfyUI_repackaged/{SPLIT}"
HIDREAM = f"{HUB}HiDream-I1_ComfyUI/{SPLIT}"


@dataclass(frozen=True)
class Setup:
    """How a family is sampled.

    unet, clips, vae: addresses of files; a checkpoint has all three and stands for them. clip_type: CLIPLoader's. zero:
    the negative prompt is the positive one zeroed. shift: ModelSamplingAuraFlow's or ...SD3's, by the node's name.
    scheduler: KSampler's, or the name of a node that makes sigmas, with its inputs; then the advanced sampler runs.
    projection: what Apply Concept Attention compares in. video: width, height and pictures of one, for video models.
    """

    unet: str = ""
    clips: tuple[str, ...] = ()
    clip_type: str = ""
    vae: str = ""
    checkpoint: str = ""
    latent: str = "EmptySD3LatentImage"
    side: int = 1024
    steps: int = 20
    cfg: float = 1.0
    sampler: str = "euler"
    scheduler: str = "simple"
    sigmas: dict[str, Any] = field(default_factory=dict)
    zero: bool = False
    shift: tuple[str, float] | None = None
    guidance: float | None = None
    projection: str = "output"
    video: tuple[int, int, int] | None = None


AURA, SD3 = "ModelSamplingAuraFlow", "ModelSamplingSD3"
SETUPS = {
    "Z-Image": Setup(
        *(f"{Z_IMAGE}diffusion_models/z_image_turbo_bf16.safetensors",),
        *((f"{Z_IMAGE}text_encoders/qwen_3_4b.safetensors",), "lumina2", f"{Z_IMAGE}vae/ae.safetensors"),
        steps=8,
        sampler="res_multistep",
        zero=True,
        shift=(AURA, 3.0),
    ),
    "FLUX.2 Klein": Setup(
        *(f"{HUB}flux2-klein/{SPLIT}diffusion_models/flux-2-klein-4b.safetensors",),
        *((f"{HUB}flux2-klein/{SPLIT}text_encoders/qwen_3_4b.safetensors",), "flux2"),
        f"{HUB}flux2-dev/{SPLIT}vae/flux2-vae.safetensors",
        latent="EmptyFlux2LatentImage",
        scheduler="Flux2Scheduler",
        sigmas={"steps": 4, "width": 1024, "height": 1024},
        zero=True,
    ),
    "Krea 2": Setup(
        *(f"{HUB}Krea-2/resolve/main/diffusion_models/krea2_turbo_fp8_scaled.safetensors",),
        *((f"{HUB}Krea-2/resolve/main/text_encoders/qwen3vl_4b_fp8_scaled.safetensors",), "krea2"),
        f"{HUB}Krea-2/resolve/main/vae/qwen_image_vae.safetensors",
        steps=8,
        zero=True,
    ),
    "Qwen-Image": Setup(
        *(f"{QWEN}diffusion_models/qwen_image_2512_fp8_e4m3fn.safetensors",),
        *((f"{QWEN}text_encoders/qwen_2.5_vl_7b_fp8_scaled.safetensors",), "qwen_image"),
        f"{QWEN}vae/qwen_image_vae.safetensors",
        side=1328,
        steps=50,
        cfg=4.0,
        shift=(AURA, 3.1),
    ),
    "Chroma": Setup(
        *(f"{HUB}Chroma1-HD_repackaged/{SPLIT}diffusion_models/Chroma1-HD-fp8mixed.safetensors",),
        *((T5,), "chroma", f"{HUB}Lumina_Image_2.0_Repackaged/{SPLIT}vae/ae.safetensors"),
        steps=26,
        cfg=3.5,
        scheduler="beta",
        shift=(AURA, 1.0),
    ),
    "Chroma Radiance": Setup(
        *(f"{HUB}Chroma1-Radiance_Repackaged/{SPLIT}diffusion_models/chroma-radiance-x0.safetensors",),
        *((T5,), "chroma", "pixel_space"),
        latent="EmptyChromaRadianceLatentImage",
        steps=30,
        cfg=3.5,
        scheduler="beta",
        shift=(AURA, 1.0),
    ),
    "Stable Diffusion 3": Setup(
        checkpoint=f"{HUB}stable-diffusion-3.5-fp8/resolve/main/sd3.5_large_fp8_scaled.safetensors",
        cfg=4.0,
        scheduler="sgm_uniform",
    ),
    "HiDream I1": Setup(
        *(f"{HIDREAM}diffusion_models/hidream_i1_full_fp8.safetensors",),
        tuple(
            f"{HIDREAM}text_encoders/{name}.safetensors"
            for name in (
                *("clip_l_hidream", "clip_g_hidream"),
                *("t5xxl_fp8_e4m3fn_scaled", "llama_3.1_8b_instruct_fp8_scaled"),
            )
        ),
        *("", f"{HIDREAM}vae/ae.safetensors"),
        steps=50,
        cfg=5.0,
        sampler="uni_pc",
        shift=(SD3, 3.0),
    ),
    "LongCat-Image": Setup(
        *(f"{HUB}LongCat-Image/{SPLIT}diffusion_models/longcat_image_bf16.safetensors",),
        *((f"{QWEN}text_encoders/qwen_2.5_vl_7b_fp8_scaled.safetensors",), "longcat_image"),
        f"{Z_IMAGE}vae/ae.safetensors",
        cfg=4.0,
        guidance=4.0,
    ),
    "Ovis-Image": Setup(
        *(f"{HUB}Ovis-Image/{SPLIT}diffusion_models/ovis_image_bf16.safetensors",),
        *((f"{HUB}Ovis-Image/{SPLIT}text_encoders/ovis_2.5.safetensors",), "ovis", f"{Z_IMAGE}vae/ae.safetensors"),
        cfg=5.0,
        shift=(AURA, 3.0),
    ),
    "Lumina 2": Setup(
        checkpoint="https://huggingface.co/duongve/NetaYume-Lumina-Image-2.0/resolve/main/"
        "NetaYumev35_pretrained_all_in_one.safetensors",
        steps=30,
        cfg=4.0,
        sampler="res_multistep",
        shift=(AURA, 4.0),
    ),
    "PixelDiT": Setup(
        *(f"{HUB}PixelDiT/resolve/main/diffusion_models/pixeldit_1300m_1024px_bf16.safetensors",),
        *((f"{HUB}PixelDiT/resolve/main/text_encoders/gemma_2_2b_it_elm_bf16.safetensors",), "pixeldit", "pixel_space"),
        latent="EmptyChromaRadianceLatentImage",
        steps=30,
        cfg=4.0,
        sampler="er_sde",
    ),
    "Boogu": Setup(
        *(f"{HUB}Boogu-Image/resolve/main/diffusion_models/boogu_image_turbo_fp8_scaled.safetensors",),
        *((f"{HUB}Boogu-Image/resolve/main/text_encoders/qwen3vl_8b_fp8_scaled.safetensors",), "boogu"),
        f"{HIDREAM}vae/ae.safetensors",
        steps=4,
        sampler="lcm",
        scheduler="sgm_uniform",
        zero=True,
    ),
    "SDXL": Setup(
        checkpoint="https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/resolve/main/"
        "sd_xl_base_1.0.safetensors",
        latent="EmptyLatentImage",
        steps=25,
        cfg=8.0,
        scheduler="normal",
        projection="cross_attention",
    ),
    "Stable Diffusion 1.5": Setup(
        checkpoint=f"{HUB}stable-diffusion-v1-5-archive/resolve/main/v1-5-pruned-emaonly-fp16.safetensors",
        latent="EmptyLatentImage",
        side=512,
        cfg=8.0,
        scheduler="normal",
        projection="cross_attention",
    ),
    "Wan": Setup(
        *(f"{WAN}diffusion_models/wan2.1_t2v_1.3B_fp16.safetensors",),
        *((f"{WAN}text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors",), "wan", f"{WAN}vae/wan_2.1_vae.safetensors"),
        latent="EmptyHunyuanLatentVideo",
        video=(832, 480, 33),
        steps=30,
        cfg=6.0,
        sampler="uni_pc",
        shift=(SD3, 8.0),
        projection="gram",
    ),
}
NOTE = """## On {name}

The usual files, steps and guidance. Missing files are offered for download when the workflow opens.

Write what to look for in **Apply Concept Attention**, look at it in the **Concept Explorer**, and use its mask like any
other."""


def loaders(setup: Setup) -> tuple[list[Item], dict[str, Any]]:
    """The nodes that load a family, and the sockets of its model, clip and vae."""
    if setup.checkpoint:
        inputs = {"ckpt_name": file_of(setup.checkpoint)}
        one = loader("model", "CheckpointLoaderSimple", inputs, "checkpoints", (setup.checkpoint,))
        return [one], {"model": ("model", 0), "clip": ("model", 1), "vae": ("model", 2)}
    kinds = {1: "CLIPLoader", 2: "DualCLIPLoader", 3: "TripleCLIPLoader", 4: "QuadrupleCLIPLoader"}
    if len(setup.clips) == 1:
        clips = {"clip_name": file_of(setup.clips[0]), "type": setup.clip_type}
    else:
        clips = {f"clip_name{number}": file_of(one) for number, one in enumerate(setup.clips, start=1)}
    return [
        loader("model", "UNETLoader", {"unet_name": file_of(setup.unet)}, "diffusion_models", (setup.unet,)),
        loader("clip", kinds[len(setup.clips)], clips, "text_encoders", setup.clips),
        loader("vae", "VAELoader", {"vae_name": file_of(setup.vae)}, "vae", (setup.vae,)),
    ], {"model": ("model", 0), "clip": ("clip", 0), "vae": ("vae", 0)}


def sampling(setup: Setup, positive: Any) -> tuple[list[Item], list[str]]:
    """The sampler's nodes, and the order in which they stand; the last is called ``sampler``."""
    sockets = {"positive": positive, "negative": ("negative", 0)}
    if not setup.sigmas:
        inputs = {"model": ("apply", 0), **sockets, "latent_image": ("latent", 0), "steps": setup.steps}
        inputs |= {"cfg": setup.cfg, "sampler_name": setup.sampler, "scheduler": setup.scheduler, "denoise": 1.0}
        inputs |= {"seed": 0, "control_after_generate": "fixed"}
        return [Item("sampler", "KSampler", inputs, size=(270, 0))], ["sampler"]
    parts = {"noise": ("noise", 0), "guider": ("guider", 0), "sampler": ("solver", 0), "sigmas": ("sigmas", 0)}
    items = [
        Item("noise", "RandomNoise", {"noise_seed": 0, "control_after_generate": "fixed"}, size=(270, 0)),
        Item("guider", "CFGGuider", {"model": ("apply", 0), **sockets, "cfg": setup.cfg}, size=(270, 0)),
        Item("solver", "KSamplerSelect", {"sampler_name": setup.sampler}, size=(270, 0)),
        Item("sigmas", setup.scheduler, setup.sigmas, size=(270, 0)),
        Item("sampler", "SamplerCustomAdvanced", {**parts, "latent_image": ("latent", 0)}, size=(270, 0)),
    ]
    return items, ["noise", "guider", "solver", "sigmas", "sampler"]


def family(name: str) -> Plan:
    """The workflow of a family: load, prompt, apply, sample, look."""
    setup = SETUPS[name]
    load, sockets = loaders(setup)
    model, positive, more = sockets["model"], ("prompt", 0), []
    if setup.shift:
        kind, shift = setup.shift
        more.append(Item("shift", kind, {"model": model, "shift": shift}, size=(270, 0)))
        model = ("shift", 0)
    if setup.guidance is not None:
        guidance = {"conditioning": ("prompt", 0), "guidance": setup.guidance}
        more.append(Item("guidance", "FluxGuidance", guidance, size=(270, 0)))
        positive = ("guidance", 0)
    negative = ("ConditioningZeroOut", {"conditioning": ("prompt", 0)}) if setup.zero else (
        "CLIPTextEncode", {"clip": sockets["clip"], "text": ""}
    )  # fmt: skip
    concepts = {"concepts": "\n".join(CONCEPTS), "background": BACKGROUND, "projection": setup.projection}
    sampler, order = sampling(setup, positive)
    size = {"width": setup.side, "height": setup.side}
    if setup.video:
        size = dict(zip(("width", "height", "length"), setup.video, strict=True))
    seen = {"maps": ("apply", 1), "samples": ("sampler", 0), "image": ("decode", 0)}
    items = [
        *load,
        Item("prompt", "CLIPTextEncode", {"clip": sockets["clip"], "text": PROMPT}, "Prompt", (290, 100)),
        Item("negative", *negative, "No negative prompt", (290, 90 if not setup.zero else 0)),
        Item("latent", setup.latent, size, "Size", (270, 0)),
        *more,
        Item("apply", "ConceptAttentionApply", {"model": model, "clip": sockets["clip"], **concepts}, size=(290, 300)),
        *sampler,
        Item("decode", "VAEDecode", {"samples": ("sampler", 0), "vae": sockets["vae"]}, size=(270, 0)),
        Item("explorer", "ConceptAttentionExplorer", seen, size=(450, 700)),
        Item("note", "MarkdownNote", {"": NOTE.format(name=name)}, "What this is", (270, 225)),
    ]
    left, right = (["latent"], []) if setup.sigmas else ([], ["latent"])  # an advanced sampler fills its column
    first = [["note", *(item.name for item in load), *left], ["prompt", "negative", "apply"]]
    second = [[*right, *(item.name for item in more), *order, "decode"], ["explorer"]]
    return Plan(items, [{"1  A model, and what to draw and to find": first, "2  Sample, look, touch": second}])


FAMILIES = {f"Mask things on {name.replace('.', '')}": name for name in SETUPS}
"""File names, without their ends, and the families that they are for."""
