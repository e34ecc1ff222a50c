"""How each model family is sampled: its usual files, steps and guidance.

File names, addresses and settings are those of ComfyUI's own templates, or AuraFlow's own page.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

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
