"""One workflow for each model family, with ComfyUI's stock loaders: the usual files, steps and guidance.

File names, addresses and settings are those of ComfyUI's own templates; the front end offers the files for download.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .plan import Item, Plan, file_of, loader
from .reading import BACKGROUND, CONCEPTS, PROMPT
from .recipes import PICTURE

HUB = "https://huggingface.co/Comfy-Org/"
SPLIT = "resolve/main/split_files/"
T5 = "https://huggingface.co/comfyanonymous/flux_text_encoders/resolve/main/t5xxl_fp8_e4m3fn_scaled.safetensors"
QWEN = f"{HUB}Qwen-Image_ComfyUI/{SPLIT}"
Z_IMAGE = f"{HUB}z_image_turbo/{SPLIT}"
HIDREAM = f"{HUB}HiDream-I1_ComfyUI/{SPLIT}"
WAN_21, WAN_22 = f"{HUB}Wan_2.1_ComfyUI_repackaged/{SPLIT}", f"{HUB}Wan_2.2_ComfyUI_Repackaged/{SPLIT}"
HUNYUAN = f"{HUB}HunyuanVideo_repackaged/{SPLIT}"
HUNYUAN_15 = f"{HUB}HunyuanVideo_1.5_repackaged/{SPLIT}"
ANIMA = f"https://huggingface.co/circlestone-labs/Anima/{SPLIT}"
UMT5 = f"{WAN_21}text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors"


@dataclass(frozen=True)
class Setup:
    """How a family is sampled.

    unet, clips, vae: addresses of files; a checkpoint has all three, or those that are not named. clip_type:
    CLIPLoader's. zero: the negative prompt is the positive one zeroed. encoder: the node that encodes a prompt, where
    it is the family's own; it is shown a picture then. patch: a node that the model goes through, and its inputs.
    scheduler: KSampler's, or the name of a node that makes sigmas, with its inputs; then the advanced sampler runs.
    size: the latent's inputs. second: the file of a model that samples the second half of the steps.
    fps: of a video, pictures a second. projection: what Apply Concept Attention compares in.
    """

    unet: str = ""
    clips: tuple[str, ...] = ()
    clip_type: str = ""
    vae: str = ""
    checkpoint: str = ""
    latent: str = "EmptySD3LatentImage"
    size: tuple[tuple[str, int], ...] = (("width", 1024), ("height", 1024))
    steps: int = 20
    cfg: float = 1.0
    sampler: str = "euler"
    scheduler: str = "simple"
    sigmas: dict[str, Any] = field(default_factory=dict)
    zero: bool = False
    encoder: str = ""
    patch: tuple[str, dict[str, Any]] | None = None
    guidance: float | None = None
    second: str = ""
    fps: int = 0
    projection: str = "output"


def aura(shift: float) -> tuple[str, dict[str, Any]]:
    return "ModelSamplingAuraFlow", {"shift": shift}


def sd3(shift: float) -> tuple[str, dict[str, Any]]:
    return "ModelSamplingSD3", {"shift": shift}


def square(side: int) -> tuple[tuple[str, int], ...]:
    return ("width", side), ("height", side)


SETUPS = {
    "Z-Image": Setup(
        *(f"{Z_IMAGE}diffusion_models/z_image_turbo_bf16.safetensors",),
        *((f"{Z_IMAGE}text_encoders/qwen_3_4b.safetensors",), "lumina2", f"{Z_IMAGE}vae/ae.safetensors"),
        steps=8,
        sampler="res_multistep",
        zero=True,
        patch=aura(3.0),
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
        size=square(1328),
        steps=50,
        cfg=4.0,
        patch=aura(3.1),
    ),
    "Chroma": Setup(
        *(f"{HUB}Chroma1-HD_repackaged/{SPLIT}diffusion_models/Chroma1-HD-fp8mixed.safetensors",),
        *((T5,), "chroma", f"{HUB}Lumina_Image_2.0_Repackaged/{SPLIT}vae/ae.safetensors"),
        steps=26,
        cfg=3.5,
        scheduler="beta",
        patch=aura(1.0),
    ),
    "Chroma Radiance": Setup(
        *(f"{HUB}Chroma1-Radiance_Repackaged/{SPLIT}diffusion_models/chroma-radiance-x0.safetensors",),
        *((T5,), "chroma", "pixel_space"),
        latent="EmptyChromaRadianceLatentImage",
        steps=30,
        cfg=3.5,
        scheduler="beta",
        patch=aura(1.0),
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
        patch=sd3(3.0),
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
        patch=aura(3.0),
    ),
    "Lumina 2": Setup(
        checkpoint="https://huggingface.co/duongve/NetaYume-Lumina-Image-2.0/resolve/main/"
        "NetaYumev35_pretrained_all_in_one.safetensors",
        steps=30,
        cfg=4.0,
        sampler="res_multistep",
        patch=aura(4.0),
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
        size=square(512),
        cfg=8.0,
        scheduler="normal",
        projection="cross_attention",
    ),
    "Lens": Setup(
        *(f"{HUB}Lens/resolve/main/diffusion_models/lens_turbo_bf16.safetensors",),
        *((f"{HUB}Lens/resolve/main/text_encoders/gpt_oss_20b_nvfp4.safetensors",), "lens"),
        f"{HUB}Lens/resolve/main/vae/flux2-vae.safetensors",
        latent="EmptyFlux2LatentImage",
        size=square(1440),
        steps=4,
        zero=True,
        patch=("ModelSamplingFlux", {"max_shift": 1.15, "base_shift": 0.5, "width": 1440, "height": 1440}),
    ),
    "Mage-Flow": Setup(
        *(f"{HUB}Mage-Flow/resolve/main/diffusion_models/mage_flow_int8_convrot.safetensors",),
        *((f"{HUB}Mage-Flow/resolve/main/text_encoders/qwen3vl_4b_bf16.safetensors",), "mage"),
        f"{HUB}Mage-Flow/resolve/main/vae/mage_flow_vae_bf16.safetensors",
        latent="EmptyFlux2LatentImage",
        steps=30,
        cfg=5.0,
    ),
    "JoyImage": Setup(
        *(f"{HUB}JoyAI-Image-Edit/resolve/main/diffusion_models/joyai_image_edit_int8_convrot.safetensors",),
        (f"{HUB}JoyAI-Image-Edit/resolve/main/text_encoders/qwen3vl_8b_joyimage_edit_int8_convrot.safetensors",),
        *("joyimage", f"{HUB}JoyAI-Image-Edit/resolve/main/vae/wan_2.1_vae.safetensors"),
        steps=40,
        cfg=4.0,
        scheduler="normal",
        encoder="TextEncodeJoyImageEdit",
        patch=("CFGNorm", {"strength": 1.0}),
    ),
    "AuraFlow": Setup(
        checkpoint="https://huggingface.co/fal/AuraFlow-v0.3/resolve/main/aura_flow_0.3.safetensors",
        steps=25,
        cfg=3.5,
        sampler="uni_pc",
        patch=aura(1.73),
    ),
    "Wan 2.2": Setup(
        *(f"{WAN_22}diffusion_models/wan2.2_ti2v_5B_fp16.safetensors", (UMT5,), "wan"),
        f"{WAN_22}vae/wan2.2_vae.safetensors",
        latent="Wan22ImageToVideoLatent",
        size=(("width", 1280), ("height", 704), ("length", 121)),
        cfg=5.0,
        sampler="uni_pc",
        patch=sd3(8.0),
        fps=24,
        projection="gram",
    ),
    "Wan 2.2 14B": Setup(
        *(f"{WAN_22}diffusion_models/wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors", (UMT5,), "wan"),
        f"{WAN_22}vae/wan_2.1_vae.safetensors",
        latent="EmptyHunyuanLatentVideo",
        size=(("width", 640), ("height", 640), ("length", 81)),
        cfg=3.5,
        patch=sd3(5.0),
        second=f"{WAN_22}diffusion_models/wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors",
        fps=16,
        projection="gram",
    ),
    "Anima": Setup(
        *(f"{ANIMA}diffusion_models/anima-preview3-base.safetensors",),
        *((f"{ANIMA}text_encoders/qwen_3_06b_base.safetensors",), "stable_diffusion"),
        f"{ANIMA}vae/qwen_image_vae.safetensors",
        latent="EmptyLatentImage",
        steps=30,
        cfg=4.0,
        sampler="er_sde",
        projection="cross_attention",
    ),
    "HunyuanVideo": Setup(
        *(f"{HUNYUAN}diffusion_models/hunyuan_video_t2v_720p_bf16.safetensors",),
        (
            "https://huggingface.co/comfyanonymous/flux_text_encoders/resolve/main/clip_l.safetensors",
            f"{HUNYUAN}text_encoders/llava_llama3_fp8_scaled.safetensors",
        ),
        *("hunyuan_video", f"{HUNYUAN}vae/hunyuan_video_vae_bf16.safetensors"),
        latent="EmptyHunyuanLatentVideo",
        size=(("width", 848), ("height", 480), ("length", 73)),
        zero=True,
        patch=sd3(7.0),
        guidance=6.0,
        fps=24,
    ),
    "HunyuanVideo 1.5": Setup(
        *(f"{HUNYUAN_15}diffusion_models/hunyuanvideo1.5_720p_t2v_fp16.safetensors",),
        (
            f"{HUNYUAN_15}text_encoders/qwen_2.5_vl_7b_fp8_scaled.safetensors",
            f"{HUNYUAN_15}text_encoders/byt5_small_glyphxl_fp16.safetensors",
        ),
        *("hunyuan_video_15", f"{HUNYUAN_15}vae/hunyuanvideo15_vae_fp16.safetensors"),
        latent="EmptyHunyuanVideo15Latent",
        size=(("width", 1280), ("height", 720), ("length", 121)),
        cfg=6.0,
        patch=sd3(7.0),
        fps=24,
    ),
    "LTX-Video": Setup(
        checkpoint="https://huggingface.co/Lightricks/LTX-Video/resolve/main/ltx-video-2b-v0.9.safetensors",
        clips=("https://huggingface.co/comfyanonymous/flux_text_encoders/resolve/main/t5xxl_fp16.safetensors",),
        clip_type="ltxv",
        latent="EmptyLTXVLatentVideo",
        size=(("width", 768), ("height", 512), ("length", 97)),
        cfg=3.0,
        scheduler="LTXVScheduler",
        sigmas={"steps": 30, "max_shift": 2.05, "base_shift": 0.95, "stretch": True, "terminal": 0.1},
        fps=24,
        projection="cross_attention",
    ),
}
EDIT, EDITED = "Turn the day into a sunset.", ("cloud", "sky", "grass")
"""What an editing model is asked for on the pack's own picture, and what is in it."""

NOTE = """## On {name}

The usual files, steps and guidance. Missing files are offered for download when the workflow opens.

Write what to look for in **Apply Concept Attention**, look at it in the **Concept Explorer**, and use its mask like any
other."""


def loaders(setup: Setup) -> tuple[list[Item], dict[str, Any]]:
    """The nodes that load a family, and the sockets of its model, clip and vae."""
    items: list[Item] = []
    sockets: dict[str, Any] = {}
    if setup.checkpoint:
        inputs = {"ckpt_name": file_of(setup.checkpoint)}
        items.append(loader("model", "CheckpointLoaderSimple", inputs, "checkpoints", (setup.checkpoint,)))
        sockets = {"model": ("model", 0), "clip": ("model", 1), "vae": ("model", 2)}
    if setup.unet:
        inputs = {"unet_name": file_of(setup.unet)}
        items.append(loader("model", "UNETLoader", inputs, "diffusion_models", (setup.unet,)))
        sockets["model"] = ("model", 0)
    if setup.second:
        inputs = {"unet_name": file_of(setup.second)}
        items.append(loader("second model", "UNETLoader", inputs, "diffusion_models", (setup.second,)))
    if setup.clips:
        kinds = {1: "CLIPLoader", 2: "DualCLIPLoader", 3: "TripleCLIPLoader", 4: "QuadrupleCLIPLoader"}
        if len(setup.clips) == 1:
            clips = {"clip_name": file_of(setup.clips[0]), "type": setup.clip_type}
        else:
            clips = {f"clip_name{number}": file_of(one) for number, one in enumerate(setup.clips, start=1)}
            if len(setup.clips) == 2:
                clips["type"] = setup.clip_type
        items.append(loader("clip", kinds[len(setup.clips)], clips, "text_encoders", setup.clips))
        sockets["clip"] = ("clip", 0)
    if setup.vae:
        items.append(loader("vae", "VAELoader", {"vae_name": file_of(setup.vae)}, "vae", (setup.vae,)))
        sockets["vae"] = ("vae", 0)
    return items, sockets


def sampling(setup: Setup, positive: Any, negative: Any) -> tuple[list[Item], list[str]]:
    """The sampler's nodes, and the order in which they stand; the last is called ``sampler``."""
    sockets = {"positive": positive, "negative": negative}
    steps = {"steps": setup.steps, "cfg": setup.cfg, "sampler_name": setup.sampler, "scheduler": setup.scheduler}
    if setup.second:  # each of two models samples half of the steps
        half = setup.steps // 2
        given = {**sockets, **steps, "noise_seed": 0, "control_after_generate": "fixed"}
        first = {"model": ("apply", 0), "latent_image": ("latent", 0), "start_at_step": 0, "end_at_step": half}
        first |= {"add_noise": "enable", "return_with_leftover_noise": "enable"}
        last = {"model": ("second apply", 0), "latent_image": ("first sampler", 0), "start_at_step": half}
        last |= {"end_at_step": 10000, "add_noise": "disable", "return_with_leftover_noise": "disable"}
        return [
            Item("first sampler", "KSamplerAdvanced", given | first, "High noise", (270, 0)),
            Item("sampler", "KSamplerAdvanced", given | last, "Low noise", (270, 0)),
        ], ["first sampler", "sampler"]
    if not setup.sigmas:
        inputs = {"model": ("apply", 0), **sockets, "latent_image": ("latent", 0), **steps, "denoise": 1.0}
        inputs |= {"seed": 0, "control_after_generate": "fixed"}
        return [Item("sampler", "KSampler", inputs, size=(270, 0))], ["sampler"]
    made = [
        Item("solver", "KSamplerSelect", {"sampler_name": setup.sampler}, size=(270, 0)),
        Item("sigmas", setup.scheduler, setup.sigmas, size=(270, 0)),
    ]
    if setup.fps:
        given = {"model": ("apply", 0), **sockets, "sampler": ("solver", 0), "sigmas": ("sigmas", 0)}
        given |= {"latent_image": ("latent", 0), "add_noise": True, "noise_seed": 0, "control_after_generate": "fixed"}
        sampler = Item("sampler", "SamplerCustom", {**given, "cfg": setup.cfg}, size=(270, 0))
        return [*made, sampler], ["solver", "sigmas", "sampler"]
    parts = {"noise": ("noise", 0), "guider": ("guider", 0), "sampler": ("solver", 0), "sigmas": ("sigmas", 0)}
    items = [
        Item("noise", "RandomNoise", {"noise_seed": 0, "control_after_generate": "fixed"}, size=(270, 0)),
        Item("guider", "CFGGuider", {"model": ("apply", 0), **sockets, "cfg": setup.cfg}, size=(270, 0)),
        *made,
        Item("sampler", "SamplerCustomAdvanced", {**parts, "latent_image": ("latent", 0)}, size=(270, 0)),
    ]
    return items, ["noise", "guider", "solver", "sigmas", "sampler"]


def encoded(setup: Setup, sockets: dict[str, Any]) -> list[Item]:
    """The nodes that encode the prompt, and no negative one."""
    if setup.encoder:  # an editing model's, which reads the picture, too
        shown = {"clip": sockets["clip"], "vae": sockets["vae"], "images.image0": ("photo", 0)}
        return [
            Item("photo", "LoadImage", {"image": PICTURE}, "Your picture", (270, 260)),
            Item("prompt", setup.encoder, {**shown, "prompt": EDIT}, "Prompt", (290, 130)),
            Item("negative", setup.encoder, {**shown, "prompt": ""}, "No negative prompt", (290, 110)),
        ]
    negative = ("ConditioningZeroOut", {"conditioning": ("prompt", 0)}) if setup.zero else (
        "CLIPTextEncode", {"clip": sockets["clip"], "text": ""}
    )  # fmt: skip
    return [
        Item("prompt", "CLIPTextEncode", {"clip": sockets["clip"], "text": PROMPT}, "Prompt", (290, 100)),
        Item("negative", *negative, "No negative prompt", (270, 90 if not setup.zero else 0)),
    ]


def conditioned(setup: Setup) -> tuple[list[Item], Any, Any]:
    """What conditioning goes through before it is sampled with, and the sockets of positive and negative."""
    positive, negative = ("prompt", 0), ("negative", 0)
    if setup.guidance is not None:
        guidance = {"conditioning": positive, "guidance": setup.guidance}
        return [Item("guidance", "FluxGuidance", guidance, size=(270, 0))], ("guidance", 0), negative
    if setup.latent == "EmptyLTXVLatentVideo":
        rate = {"positive": positive, "negative": negative, "frame_rate": float(setup.fps)}
        return [Item("rate", "LTXVConditioning", rate, size=(270, 0))], ("rate", 0), ("rate", 1)
    return [], positive, negative


def patched(setup: Setup, model: Any, name: str) -> tuple[list[Item], Any]:
    """The node that a model goes through before it is sampled with, if any, and the model's socket behind it."""
    if setup.patch is None:
        return [], model
    kind, inputs = setup.patch
    return [Item(name, kind, {"model": model, **inputs}, size=(270, 0))], (name, 0)


def family(name: str) -> Plan:
    """The workflow of a family: load, prompt, apply, sample, look."""
    setup = SETUPS[name]
    load, sockets = loaders(setup)
    texts = encoded(setup, sockets)
    more, model = patched(setup, sockets["model"], "patch")
    conditions, positive, negative = conditioned(setup)
    more += conditions
    things = (CONCEPTS, EDITED)[bool(setup.encoder)]
    concepts = {"concepts": "\n".join(things), "background": BACKGROUND, "projection": setup.projection}
    apply = {"clip": sockets["clip"], **concepts}
    room = (290, 230 if setup.encoder or setup.second else 300)
    applied = [Item("apply", "ConceptAttentionApply", {"model": model, **apply}, size=room)]
    if setup.second:
        second, model = patched(setup, ("second model", 0), "second patch")
        more += second
        joined = {"model": model, **apply, "first_part": ("apply", 1)}
        applied.append(Item("second apply", "ConceptAttentionApply", joined, "For the second model", room))
    sampler, order = sampling(setup, positive, negative)
    if setup.latent == "Wan22ImageToVideoLatent":
        latent = {"vae": sockets["vae"], **dict(setup.size)}
    else:
        latent = dict(setup.size)
    decoded = [Item("decode", "VAEDecode", {"samples": ("sampler", 0), "vae": sockets["vae"]}, size=(270, 0))]
    films: list[Item] = []
    if setup.fps:
        video = {"images": ("explorer", 3), "fps": float(setup.fps)}
        saved = {"video": ("video", 0), "filename_prefix": "video/concepts"}
        films = [
            Item("video", "CreateVideo", video, "Every picture's concepts", (270, 0)),
            Item("save", "SaveVideo", saved, size=(270, 0)),
        ]
    note = (290, 105) if setup.encoder else (270, 150 if setup.second else 200)
    read = {"maps": (applied[-1].name, 1), "samples": ("sampler", 0), "image": ("decode", 0)}
    items = [
        *load,
        *texts,
        Item("latent", setup.latent, latent, "Size", (270, 0)),
        *more,
        *applied,
        *sampler,
        *decoded,
        *films,
        Item("explorer", "ConceptAttentionExplorer", read, size=(450, 480 if setup.fps and not setup.second else 700)),
        Item("note", "MarkdownNote", {"": NOTE.format(name=name)}, "What this is", note),
    ]
    return Plan(items, [columns(setup, load, texts, applied, more, conditions, order, films)])


def columns(setup: Setup, *parts: Any) -> dict[str, list[list[str]]]:
    """Where each node stands: on one screen, but for two models, which need a column more."""
    load, texts, applied, more, conditions, order, films = (
        [getattr(one, "name", one) for one in part] for part in parts
    )
    photo, texts = [name for name in texts if name == "photo"], [name for name in texts if name != "photo"]
    patches = [name for name in more if name not in conditions]
    heads = "1  A model, and what to draw and to find", "2  Sample, look, touch"
    if setup.second:
        first = [["note", *load, texts.pop()], [*texts, *applied]]
        return dict(zip(heads, (first, [[*patches, "latent", "decode", *films], order, ["explorer"]]), strict=True))
    crowded = bool(setup.sigmas or setup.fps)  # the sampler's column is full
    left, right = (["latent"], []) if crowded else ([], ["latent"])
    beside, before = (conditions, []) if setup.sigmas and setup.fps else ([], conditions)
    first = [["note", *load, *left], [*texts, *applied, *beside]]
    if photo:
        first = [[*load, *photo], ["note", *texts, *applied]]
    second = [[*right, *patches, *before, *order, "decode", *films[:1]], ["explorer", *films[1:]]]
    return dict(zip(heads, (first, second), strict=True))


FAMILIES = {f"Mask things on {name.replace('.', '')}": name for name in SETUPS}
"""File names, without their ends, and the families that they are for."""
