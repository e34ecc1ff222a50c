"""The demo, and the same graph with stock Flux loaders: sample, and read every concept."""

from __future__ import annotations

from typing import Any

from .plan import Item, Plan, shown

PROMPT = "boat, sea, sky"
CONCEPTS = ("boat", "sea", "sky")
MASKED = "boat"
"""Whose mask is shown."""
BACKGROUND = "background"
DEMO_SEED = 4
STEPS = 20
DEMO_CFG = 7.0
"""The demo Flux is not distilled: it needs real guidance, and knows the empty prompt."""

DEMO_NOTE = """## Concept Attention: the demo

*Press Run (Ctrl + Enter): it takes seconds, even without a GPU.*

1. **Load Demo Flux** brings a tiny Flux that draws cartoon scenes.
2. **Apply Concept Attention**: your concepts ride along while the sampler makes the picture. It does not change it.
3. Each **Concept Attention** reads one concept: a heat map, a mask, and an overlay of all concepts.

Change a `threshold` and run again: nothing is sampled again.

Concepts compete for every place in the picture. What you do not name goes to `background`.

Help: select a node and press **i** above it."""

FLUX_NOTE = """## Concept Attention on Flux

Any FLUX.1 model will do: schnell, dev, Krea, Fill, Kontext; fp8, GGUF or with LoRAs. Choose your files in the three
loaders on the left. For schnell 4 steps are enough.

- diffusion_models/**flux1-dev.safetensors**
- text_encoders/**t5xxl_fp8_e4m3fn.safetensors** and **clip_l.safetensors**
- vae/**ae.safetensors**

Write what to look for in Apply Concept Attention; each Concept Attention node reads one of the concepts. Use `mask` for
inpainting or regional edits like any other mask."""


def plan(
    loaders: list[Item],
    prompt: list[Item],
    sources: dict[str, Any],
    negative: Item,
    cfg: float,
    note: str,
    pixels: int,
    seed: int,
    save: bool,
) -> Plan:
    """What both workflows have in common, behind the nodes that load a model and encode the prompt.

    sources: the sockets where model, clip, vae and positive come from. negative: what makes the negative prompt.
    save: pictures to files instead of previews.
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
        Item("sampler", "KSampler", {"model": ("apply", 0), **sockets, **seeding, **sampling}, size=(340, 0)),
        Item("decode", "VAEDecode", {"samples": ("sampler", 0), "vae": sources["vae"]}, size=(300, 0)),
        shown("picture", ("decode", 0), "Picture", save),
    ]
    record = {"concept_attention": ("apply", 1), "samples": ("sampler", 0)}
    for concept in (*CONCEPTS, BACKGROUND):
        inputs = {**record, "image": ("decode", 0), "concept": concept}
        items.append(Item(concept, "ConceptAttention", inputs, f"Concept Attention: {concept}", (300, 0)))
        items.append(shown(f"heatmap {concept}", (concept, 1), f"Heat map: {concept}", save))
    items.append(shown("overlay", (CONCEPTS[0], 2), "Overlay of all concepts", save))
    if save:
        items.append(Item("mask as image", "MaskToImage", {"mask": (MASKED, 0)}))
        items.append(shown("mask", ("mask as image", 0), f"Mask: {MASKED}", save))
    else:
        items.append(Item("mask", "MaskPreview", {"mask": (MASKED, 0)}, f"Mask: {MASKED}", (300, 340)))
    items.append(Item("label map", "ConceptAttention", record, "Concept Attention without an image", (300, 0)))
    items.append(shown("labels", ("label map", 2), "Label map of all concepts", save))
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
                ["overlay", "mask"],
                ["label map", "labels"],
            ],
        },
    ]
    return Plan(items, rows)


def text(inputs: dict[str, Any]) -> Item:
    return Item("prompt", "CLIPTextEncode", {"text": PROMPT, **inputs}, "Prompt", (340, 140))


def demo(save: bool = False) -> Plan:
    """The workflow that runs anywhere, on the demo model."""
    loaders = [Item("model", "ConceptAttentionDemoModel", size=(340, 0))]
    sources = {"model": ("model", 0), "clip": ("model", 1), "vae": ("model", 2), "positive": ("prompt", 0)}
    negative = Item("negative", "CLIPTextEncode", {"clip": ("model", 1), "text": ""}, "No negative prompt", (340, 120))
    prompt = [text({"clip": ("model", 1)})]
    return plan(loaders, prompt, sources, negative, DEMO_CFG, DEMO_NOTE, 256, DEMO_SEED, save)


def flux() -> Plan:
    """The same on a full Flux, with the stock loaders."""
    clips = {"clip_name1": "t5xxl_fp8_e4m3fn.safetensors", "clip_name2": "clip_l.safetensors", "type": "flux"}
    loaders = [
        Item("model", "UNETLoader", {"unet_name": "flux1-dev.safetensors"}, size=(340, 0)),
        Item("clip", "DualCLIPLoader", clips, size=(340, 0)),
        Item("vae", "VAELoader", {"vae_name": "ae.safetensors"}, size=(340, 0)),
    ]
    guidance = Item("guidance", "FluxGuidance", {"conditioning": ("prompt", 0), "guidance": 3.5}, size=(340, 0))
    sources = {"model": ("model", 0), "clip": ("clip", 0), "vae": ("vae", 0), "positive": ("guidance", 0)}
    negative = Item("negative", "ConditioningZeroOut", {"conditioning": ("prompt", 0)}, "No negative prompt", (340, 0))
    prompt = [text({"clip": ("clip", 0)}), guidance]
    return plan(loaders, prompt, sources, negative, 1.0, FLUX_NOTE, 1024, 0, save=False)
