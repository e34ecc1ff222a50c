"""The demo, and the same graph with stock Flux loaders: sample, and read every concept."""

from __future__ import annotations

from typing import Any

from .plan import Item, Plan, file_of, loader, saved

PROMPT = "boat, sea, sky"
CONCEPTS = ("boat", "sea", "sky")
MASKED = "boat"
"""Whose mask is shown."""
BACKGROUND = "background"
DEMO_SEED = 4
STEPS = 20
DEMO_CFG = 7.0
"""The demo Flux is not distilled: it needs real guidance, and knows the empty prompt."""

DEV = "https://huggingface.co/Comfy-Org/flux1-dev/resolve/main/flux1-dev.safetensors"
AE = "https://huggingface.co/Comfy-Org/Lumina_Image_2.0_Repackaged/resolve/main/split_files/vae/ae.safetensors"
TEXT = "https://huggingface.co/comfyanonymous/flux_text_encoders/resolve/main/"

DEMO_NOTE = """## Press Run

It takes seconds, even without a GPU: a tiny Flux draws a cartoon, and your **concepts** ride along without changing it.

In the **Concept Explorer**, point at the picture, click on a thing, move the threshold, paint. Its mask goes on to
whatever takes one.

Concepts compete for every place; what you do not name goes to *background*."""

FLUX_NOTE = """## On your own Flux

Choose your files in the three loaders: FLUX.1 schnell (4 steps), dev, Krea, Fill, Kontext; fp8, GGUF or with LoRAs.

Write what to look for in **Apply Concept Attention**, look at it in the **Concept Explorer**, and use its mask like any
other."""


def plan(
    loaders: list[Item],
    prompt: list[Item],
    sources: dict[str, Any],
    negative: Item,
    cfg: float,
    note: str,
    pixels: int,
    seed: int,
) -> Plan:
    """What `dev.py demo` runs: a reader for every concept, and every picture in a file.

    sources: the sockets where model, clip, vae and positive come from. negative: what makes the negative prompt.
    """
    apply = Item(
        "apply",
        "ConceptAttentionApply",
        {"model": sources["model"], "clip": sources["clip"], "concepts": "\n".join(CONCEPTS), "background": BACKGROUND},
        size=(340, 300),
    )
    sampling = {"steps": STEPS, "cfg": cfg, "sampler_name": "euler", "scheduler": "simple"}
    seeding = {"seed": seed, "control_after_generate": "fixed"}
    sockets = {"positive": sources["positive"], "negative": ("negative", 0), "latent_image": ("latent", 0)}
    items = [
        *loaders,
        *prompt,
        negative,
        Item("latent", "EmptySD3LatentImage", {"width": pixels, "height": pixels}, "Size", (340, 0)),
        apply,
        Item("sampler", "KSampler", {"model": ("apply", 0), **sockets, **seeding, **sampling}, size=(270, 0)),
        Item("decode", "VAEDecode", {"samples": ("sampler", 0), "vae": sources["vae"]}, size=(300, 0)),
        saved("picture", ("decode", 0), "Picture"),
    ]
    record = {"concept_attention": ("apply", 1), "samples": ("sampler", 0)}
    for concept in (*CONCEPTS, BACKGROUND):
        inputs = {**record, "image": ("decode", 0), "concept": concept}
        items.append(Item(concept, "ConceptAttention", inputs, f"Concept Attention: {concept}", (300, 0)))
        items.append(saved(f"heatmap {concept}", (concept, 1), f"Heat map: {concept}"))
    items.append(saved("overlay", (CONCEPTS[0], 2), "Overlay of all concepts"))
    cut = {"maps": ("apply", 1), "samples": ("sampler", 0), "image": ("decode", 0), "concept": MASKED, "method": "soft"}
    items.append(Item("cut out", "ConceptAttentionMask", cut, f"Mask of the {MASKED}", (300, 0)))
    items.append(Item("mask as image", "MaskToImage", {"mask": ("cut out", 0)}))
    items.append(saved("mask", ("mask as image", 0), f"Mask: {MASKED}"))
    items.append(Item("label map", "ConceptAttention", record, "Concept Attention without an image", (300, 0)))
    items.append(saved("labels", ("label map", 2), "Label map of all concepts"))
    items.append(Item("note", "MarkdownNote", {"": note}, "What this is", (340, 360)))
    rows = [
        {
            "1  A Flux, and what it is to draw": [
                ["note", *(item.name for item in loaders)],
                [*(item.name for item in prompt), "negative", "latent"],
            ],
            "2  Sample, while the concepts ride along": [["apply", "sampler"], ["decode", "picture"]],
        },
        {
            "3  Read: one node a concept": [
                *([concept, f"heatmap {concept}"] for concept in (*CONCEPTS, BACKGROUND)),
                ["cut out", "mask as image"],
                ["overlay", "mask"],
                ["label map", "labels"],
            ],
        },
    ]
    return Plan(items, rows)


def explored(
    loaders: list[Item],
    prompt: list[Item],
    sources: dict[str, Any],
    negative: Item,
    cfg: float,
    note: str,
    pixels: int,
    seed: int,
) -> Plan:
    """The same, to look at: one explorer reads all concepts. As few nodes as it takes, on one screen."""
    applied = {"model": sources["model"], "clip": sources["clip"], "concepts": "\n".join(CONCEPTS)}
    sampling = {"steps": STEPS, "cfg": cfg, "sampler_name": "euler", "scheduler": "simple"}
    sockets = {"positive": sources["positive"], "negative": ("negative", 0), "latent_image": ("latent", 0)}
    seeding = {"seed": seed, "control_after_generate": "fixed"}
    seen = {"maps": ("apply", 1), "samples": ("sampler", 0), "image": ("decode", 0)}
    items = [
        *loaders,
        *prompt,
        negative,
        Item("latent", "EmptySD3LatentImage", {"width": pixels, "height": pixels}, "Size", (270, 0)),
        Item("apply", "ConceptAttentionApply", {**applied, "background": BACKGROUND}, size=(290, 320)),
        Item("sampler", "KSampler", {"model": ("apply", 0), **sockets, **seeding, **sampling}, size=(270, 0)),
        Item("decode", "VAEDecode", {"samples": ("sampler", 0), "vae": sources["vae"]}, size=(270, 0)),
        Item("explorer", "ConceptAttentionExplorer", seen, size=(450, 700)),
        Item("mask", "MaskPreview", {"mask": ("explorer", 0)}, "Mask", (270, 300)),
        Item("note", "MarkdownNote", {"": note}, "What this is", (270, 225)),
    ]
    rows = [
        {
            "1  A model, and what to draw and to find": [
                ["note", *(item.name for item in loaders), "latent"],
                [*(item.name for item in prompt), "negative", "apply"],
            ],
            "2  Sample, look, touch": [["sampler", "decode", "mask"], ["explorer"]],
        }
    ]
    return Plan(items, rows)


def text(inputs: dict[str, Any]) -> Item:
    return Item("prompt", "CLIPTextEncode", {"text": PROMPT, **inputs}, "Prompt", (290, 100))


def demo(save: bool = False) -> Plan:
    """The workflow that runs anywhere, on the demo model."""
    loaders = [Item("model", "ConceptAttentionDemoModel", size=(270, 0))]
    sources = {"model": ("model", 0), "clip": ("model", 1), "vae": ("model", 2), "positive": ("prompt", 0)}
    negative = Item("negative", "CLIPTextEncode", {"clip": ("model", 1), "text": ""}, "No negative prompt", (290, 90))
    prompt = [text({"clip": ("model", 1)})]
    if not save:
        return explored(loaders, prompt, sources, negative, DEMO_CFG, DEMO_NOTE, 256, DEMO_SEED)
    return plan(loaders, prompt, sources, negative, DEMO_CFG, DEMO_NOTE, 256, DEMO_SEED)


def flux() -> Plan:
    """The same on a full Flux, with the stock loaders."""
    t5, clip_l = (f"{TEXT}{name}.safetensors" for name in ("t5xxl_fp8_e4m3fn_scaled", "clip_l"))
    clips = {"clip_name1": file_of(t5), "clip_name2": file_of(clip_l), "type": "flux"}
    loaders = [
        loader("model", "UNETLoader", {"unet_name": file_of(DEV)}, "diffusion_models", (DEV,)),
        loader("clip", "DualCLIPLoader", clips, "text_encoders", (t5, clip_l)),
        loader("vae", "VAELoader", {"vae_name": file_of(AE)}, "vae", (AE,)),
    ]
    guidance = Item("guidance", "FluxGuidance", {"conditioning": ("prompt", 0), "guidance": 3.5}, size=(290, 0))
    sources = {"model": ("model", 0), "clip": ("clip", 0), "vae": ("vae", 0), "positive": ("guidance", 0)}
    negative = Item("negative", "ConditioningZeroOut", {"conditioning": ("prompt", 0)}, "No negative prompt", (290, 0))
    prompt = [text({"clip": ("clip", 0)}), guidance]
    return explored(loaders, prompt, sources, negative, 1.0, FLUX_NOTE, 1024, 0)
