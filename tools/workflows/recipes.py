"""What people do with masks: inpainting in three ways, compositing, prompts for regions, crop and stitch.

All run on the demo Flux as they are; each begins with the same nodes: a picture, its maps, the mask of one thing.
"""

from __future__ import annotations

import json
from typing import Any

from .plan import Item, Plan, shown
from .reading import DEMO_CFG, STEPS

SCENE = "cloud, sky, grass"
CONCEPTS = ("cloud", "sky", "grass")
THING = "cloud"
SEED, REDO_SEED = 5, 6
PIXELS = 256
CLICK = (0.5, 0.3)
"""On the thing, in parts of the picture."""
VOYAGE = "concept_attention_voyage.webp"
"""Twelve pictures, by `tools.demo.voyage`; it comes with the pack, too."""
PICTURE = "concept_attention_scene.png"
"""Made by the demo Flux; the pack brings it along for Load Image (workflows/input)."""
WIDE, GAP = 260, 16
"""Width of a column, and what lies between two."""
LOADER = Item("model", "ConceptAttentionDemoModel", size=(WIDE, 0))
MODEL, CLIP, VAE = ("model", 0), ("model", 1), ("model", 2)
LOOKED_AT = {
    "model": MODEL,
    "clip": CLIP,
    "vae": VAE,
    "background": "background",
    "token_pooling": "mean",
    "projection": "output",
    "noise_level": 0.5,
    "noise_samples": 1,
    "seed": 0,
    "guidance": 3.5,
    "last_block": -1,
}
"""How Concept Attention from Image looks at a picture."""
USING_FLUX = """

To use your own Flux, put its loaders in the place of **Load Demo Flux**: they are in the workflow *Mask things on
FLUX1*. Set cfg to 1 there, and put a FluxGuidance node behind each prompt."""


def prompt(name: str, text: str, title: str = "") -> Item:
    return Item(name, "CLIPTextEncode", {"clip": CLIP, "text": text}, title or "Prompt", (WIDE, 90))


def sampler(name: str, model: Any, positive: Any, latent: Any, seed: int = SEED, **changes: Any) -> Item:
    inputs = {
        "model": model,
        "positive": positive,
        "negative": ("negative", 0),
        "latent_image": latent,
        "seed": seed,
        "control_after_generate": "fixed",
        "steps": STEPS,
        "cfg": DEMO_CFG,
        "sampler_name": "euler",
        "scheduler": "simple",
        "denoise": 1.0,
    }
    return Item(name, "KSampler", inputs | changes, size=(WIDE, 0))


def picture(name: str, samples: Any, title: str = "") -> Item:
    return Item(name, "VAEDecode", {"samples": samples, "vae": VAE}, title, (WIDE, 0))


def first_picture(text: str, concepts: tuple[str, ...], seed: int = SEED) -> list[Item]:
    """Sample a picture while the concepts ride along."""
    applied = {"model": MODEL, "clip": CLIP, "concepts": "\n".join(concepts), "background": "background"}
    return [
        LOADER,
        prompt("prompt", text),
        prompt("negative", "", "No negative prompt"),
        Item("latent", "EmptySD3LatentImage", {"width": PIXELS, "height": PIXELS}, "Size", (WIDE, 0)),
        Item("apply", "ConceptAttentionApply", applied, size=(WIDE, 290)),
        sampler("sampler", ("apply", 0), ("prompt", 0), ("latent", 0), seed),
        picture("picture", ("sampler", 0), "Picture"),
    ]


FIRST_COLUMNS = [["note", "model", "latent", "prompt", "negative"], ["apply", "sampler", "picture"]]


RECORD = {"maps": ("apply", 1), "samples": ("sampler", 0)}
"""What the sampler has recorded, as every reader takes it."""


def mask(concept: str, record: dict[str, Any] = RECORD, **changes: Any) -> list[Item]:
    """The mask of a concept, which shows itself over the picture: there is room for that."""
    recipe = {"method": "argmax", "grow": 32, "blur": 16, "fill_holes": True, "keep": "largest"}
    inputs = {**record, "image": ("picture", 0), "concept": concept, **recipe, **changes}
    return [Item("mask", "ConceptAttentionMask", inputs, f"Mask of the {concept}", (WIDE, 790))]


def pasted(source: Any, destination: Any = ("picture", 0), **place: Any) -> list[Item]:
    """The new pixels inside the mask, the old ones outside: not one of them changes."""
    inputs = {"destination": destination, "source": source, "mask": ("mask", 0), "resize_source": False}
    return [
        Item("paste", "ImageCompositeMasked", inputs | place, size=(WIDE, 0)),
        shown("result", ("paste", 0), "Result", WIDE),
    ]


def note(text: str) -> Item:
    return Item("note", "MarkdownNote", {"": text + USING_FLUX}, "What this is", (WIDE, 270))


def recipe(text: str, items: list[Item], middle: list[list[str]], last: list[list[str]], title: str) -> Plan:
    """The usual three groups, from left to right, on one screen."""
    rows = [{"1  A picture, and where its things are": FIRST_COLUMNS, "2  The mask": middle, title: last}]
    return Plan([note(text), *items], rows, GAP)


def inpaint() -> Plan:
    """SetLatentNoiseMask: draw another thing in the mask's place."""
    items = [
        *first_picture(SCENE, CONCEPTS),
        *mask(THING),
        prompt("new prompt", "sun, sky, grass", "What to draw instead"),
        Item("noise mask", "SetLatentNoiseMask", {"samples": ("sampler", 0), "mask": ("mask", 0)}, size=(WIDE, 0)),
        sampler("redo", MODEL, ("new prompt", 0), ("noise mask", 0), REDO_SEED),
        picture("redone", ("redo", 0)),
        *pasted(("redone", 0)),
    ]
    text = """## Inpaint what you name

Makes a picture with a cloud, finds the cloud, and draws a sun in its place.

**Concept Attention Mask** gives the largest region, without holes, grown so that there is room, with an edge that
fades, so that no outline stays. **Set Latent Noise Mask** lets the second sampler draw inside it only; **Image
Composite Masked** keeps every pixel outside it."""
    return recipe(
        text,
        items,
        [["mask"]],
        [["new prompt", "noise mask", "redo", "redone"], ["paste", "result"]],
        "3  Draw something else inside it",
    )


def inpaint_differential() -> Plan:
    """DifferentialDiffusion with a soft mask: the edge is redrawn less than the core."""
    items = [
        *first_picture(SCENE, CONCEPTS),
        *mask(THING),
        prompt("new prompt", "sun, sky, grass", "What to draw instead"),
        Item("differential", "DifferentialDiffusion", {"model": MODEL}, size=(WIDE, 0)),
        Item("noise mask", "SetLatentNoiseMask", {"samples": ("sampler", 0), "mask": ("mask", 0)}, size=(WIDE, 0)),
        sampler("redo", ("differential", 0), ("new prompt", 0), ("noise mask", 0), REDO_SEED),
        picture("redone", ("redo", 0)),
        *pasted(("redone", 0)),
    ]
    text = """## Inpaint with a soft mask

As *Replace a thing*, but **Differential Diffusion** redraws each place as much as the mask says:
the new thing grows into its surroundings without a seam."""
    return recipe(
        text,
        items,
        [["mask"]],
        [["new prompt", "differential", "noise mask", "redo", "redone"], ["paste", "result"]],
        "3  Redraw each place as much as the mask says",
    )


def inpaint_conditioning() -> Plan:
    """InpaintModelConditioning, as Flux Fill wants it."""
    inpainting = {
        "positive": ("new prompt", 0),
        "negative": ("negative", 0),
        "vae": VAE,
        "pixels": ("picture", 0),
        "mask": ("mask", 0),
        "noise_mask": True,
    }
    items = [
        *first_picture(SCENE, CONCEPTS),
        *mask(THING),
        prompt("new prompt", "sun, sky, grass", "What to draw instead"),
        Item("inpainting", "InpaintModelConditioning", inpainting, size=(WIDE, 0)),
        sampler("redo", MODEL, ("inpainting", 0), ("inpainting", 2), REDO_SEED, negative=("inpainting", 1)),
        picture("redone", ("redo", 0)),
        *pasted(("redone", 0)),
    ]
    text = """## Inpaint with an inpainting model

**Inpaint Model Conditioning** shows the model the picture with a hole where the mask is. Flux Fill is made for that;
the demo Flux does not look at the hole, and only draws inside the mask."""
    return recipe(
        text,
        items,
        [["mask"]],
        [["new prompt", "inpainting", "redo", "redone"], ["paste", "result"]],
        "3  Fill the hole",
    )


def composite() -> Plan:
    """Cut a thing out, and paste it onto another picture."""
    items = [
        *first_picture(SCENE, CONCEPTS),
        *mask(THING, grow=0, blur=0),
        prompt("other prompt", "mountain, grass, sunset", "Prompt of another picture"),
        sampler("other", MODEL, ("other prompt", 0), ("latent", 0), 17),
        picture("other picture", ("other", 0), "Another picture"),
        *pasted(("picture", 0), ("other picture", 0)),
    ]
    text = """## Cut out and composite

Makes two pictures, cuts the cloud out of the first one with its mask, and pastes it onto the second."""
    return recipe(
        text,
        items,
        [["mask"]],
        [["other prompt", "other", "other picture"], ["paste", "result"]],
        "3  Paste it onto another picture",
    )


def regional_prompt() -> Plan:
    """ConditioningSetMask: a second prompt that counts in one region only."""
    region = {"conditioning": ("region prompt", 0), "mask": ("mask", 0), "strength": 1.0, "set_cond_area": "default"}
    rest = {"conditioning": ("prompt", 0), "mask": ("rest", 0), "strength": 1.0, "set_cond_area": "default"}
    items = [
        *first_picture(SCENE, CONCEPTS),
        *mask("sky", grow=0, blur=0),
        prompt("region prompt", "sunset", "A prompt for the sky alone"),
        Item("rest", "InvertMask", {"mask": ("mask", 0)}, "Everything else", (WIDE, 0)),
        Item("in region", "ConditioningSetMask", region, size=(WIDE, 0)),
        Item("in rest", "ConditioningSetMask", rest, "The first prompt elsewhere", (WIDE, 0)),
        Item(
            "both",
            "ConditioningCombine",
            {"conditioning_1": ("in region", 0), "conditioning_2": ("in rest", 0)},
            size=(WIDE, 0),
        ),
        sampler("redo", MODEL, ("both", 0), ("latent", 0)),
        picture("redone", ("redo", 0)),
        shown("result", ("redone", 0), "Result", WIDE),
    ]
    text = """## A prompt for one region

Makes a picture, finds its sky, and makes the picture once more with the same seed: with *sunset* as the prompt for the
sky, and the first prompt for the rest."""
    return recipe(
        text,
        items,
        [["mask"]],
        [["region prompt", "rest", "in region", "in rest", "both"], ["redo", "redone", "result"]],
        "3  The same picture, with its own prompt for the sky",
    )


def crop_and_stitch() -> Plan:
    """Crop around the mask, redo the crop at a larger size, put it back."""
    region = {**RECORD, "image": ("picture", 0), "concept": THING, "padding": 96}
    place = {"x": ("region", 4), "y": ("region", 5)}
    size = {"width": ("region", 6), "height": ("region", 7)}
    large = {"width": PIXELS, "height": PIXELS, "upscale_method": "lanczos", "crop": "disabled"}
    items = [
        *first_picture(SCENE, CONCEPTS),
        *mask(THING),
        Item("region", "ConceptAttentionBoxes", region, "Where the cloud is", (WIDE, 790)),
        Item("crop", "ImageCropV2", {"image": ("picture", 0), "crop_region": ("region", 3)}, size=(WIDE, 390)),
        Item("larger", "ImageScale", {"image": ("crop", 0), **large}, "Larger", (WIDE, 0)),
        Item("encode", "VAEEncode", {"pixels": ("larger", 0), "vae": VAE}, size=(WIDE, 0)),
        prompt("new prompt", "cloud, sky, grass", "What is in the crop"),
        sampler("redo", MODEL, ("new prompt", 0), ("encode", 0), denoise=0.6),
        picture("redone", ("redo", 0)),
        Item(
            "back",
            "ImageScale",
            {"image": ("redone", 0), "upscale_method": "area", "crop": "disabled", **size},
            "Back to its size",
            (300, 0),
        ),
        Item("mask crop", "CropMask", {"mask": ("mask", 0), **place, **size}, "The crop's mask", (WIDE, 0)),
        *pasted(("back", 0), mask=("mask crop", 0), **place),
    ]
    text = """## Crop, redo, stitch

Crops the picture around the cloud (region of **Concept Attention Boxes**), redoes the crop at full size, where small
things get more detail, and puts it back through the mask."""
    return recipe(
        text,
        items,
        [["mask"]],
        [
            ["region"],
            ["new prompt", "crop", "larger", "encode"],
            ["redo", "redone", "back", "mask crop"],
            ["paste", "result"],
        ],
        "3  Crop around it, redo the crop, put it back",
    )


def existing_picture() -> Plan:
    """A picture that is there already: its maps, a mask, inpainting."""
    found = {**LOOKED_AT, "image": ("picture", 0), "concepts": "\n".join(CONCEPTS), "prompt": SCENE}
    items = [
        LOADER,
        prompt("negative", "", "No negative prompt"),
        Item("picture", "LoadImage", {"image": PICTURE}, "Picture", (WIDE, 314)),
        Item("read", "ConceptAttentionFromImage", found, size=(WIDE, 0)),
        *mask(THING, {"maps": ("read", 0)}),
        Item("encode", "VAEEncode", {"pixels": ("picture", 0), "vae": VAE}, size=(WIDE, 0)),
        prompt("new prompt", "sun, sky, grass", "What to draw instead"),
        Item("noise mask", "SetLatentNoiseMask", {"samples": ("encode", 0), "mask": ("mask", 0)}, size=(WIDE, 0)),
        sampler("redo", MODEL, ("new prompt", 0), ("noise mask", 0), REDO_SEED),
        picture("redone", ("redo", 0)),
        *pasted(("redone", 0)),
    ]
    text = """## Any picture: find, mask, inpaint

**Concept Attention from Image** needs a picture only: choose your own in **Load Image**, and say in its prompt what is
to be seen, which makes better masks. (The demo Flux knows cartoons only; for photographs, put your own Flux there.)"""
    rows = [
        {
            "1  Your picture": [["note", "picture", "model"]],
            "2  Its maps and the mask": [["read", "negative"], ["mask"]],
            "3  Draw something else inside it": [
                ["new prompt", "encode", "noise mask", "redo", "redone"],
                ["paste", "result"],
            ],
        }
    ]
    return Plan([note(text), *items], rows, GAP)


def follow() -> Plan:
    """A sequence of pictures: the mask of one thing in each, and a video of it."""
    found = {**LOOKED_AT, "image": ("picture", 0), "concepts": "boat\nsea\nsky", "prompt": "boat, sea, sky"}
    items = [
        LOADER,
        Item("picture", "LoadImage", {"image": VOYAGE}, "Pictures of a boat", (WIDE, 314)),
        Item("read", "ConceptAttentionFromImage", found, size=(WIDE, 0)),
        *mask("boat", {"maps": ("read", 0)}, grow=0, blur=0),
        shown("result", ("mask", 1), "Result", WIDE),
        Item("video", "CreateVideo", {"images": ("mask", 1), "fps": 8.0}, "As a video", (WIDE, 0)),
        Item("save", "SaveVideo", {"video": ("video", 0), "filename_prefix": "video/mask"}, size=(WIDE, 420)),
    ]
    text = """## A thing on its way

Twelve pictures in which a boat crosses the sea. A batch of pictures is a batch of masks: each follows the boat.

For your own video, put **Load Video** and **Get Video Components** in the place of the pictures; while a video model
samples, **Apply Concept Attention** does the same (*Mask things on Wan 22*)."""
    rows = [
        {
            "1  Pictures in a row": [["note", "picture", "model"]],
            "2  Where the boat is, in each": [["read"], ["mask"]],
            "3  As pictures and as a video": [["result", "video"], ["save"]],
        }
    ]
    return Plan([note(text), *items], rows, GAP)


def click() -> Plan:
    """A thing that nobody named: its mask by a click in the explorer."""
    on_the_cloud = {"key": "", "picture": 0, "add": True, "radius": 0, "points": [list(CLICK)], "select": True}
    seen = {**RECORD, "image": ("picture", 0), "state": json.dumps({"strokes": [on_the_cloud]})}
    points = {"points": ("explorer", 5), "negative_points": ("explorer", 6), "batch_index": ("explorer", 7)}
    chosen = {**RECORD, **points, "image": ("picture", 0), "tolerance": 0.5}
    items = [
        *first_picture(SCENE, ("sky", "grass")),
        Item("explorer", "ConceptAttentionExplorer", seen, size=(450, 740)),
        Item("mask", "ConceptAttentionSelect", chosen, "Mask of the thing", (WIDE, 440)),
        Item("result", "MaskPreview", {"mask": ("mask", 0)}, "Result", (WIDE, WIDE)),
    ]
    text = """## Select by clicking

Nobody named the cloud: one point in the **Concept Explorer** lies on it, and **Concept Select** masks what it lies on.

*Clear* takes the point away. **Select +** puts points on a thing, **Select -** on what is too much, and the pink region
follows at once. Then **Run**: the mask goes on, as in *Replace a thing*."""
    rows = [
        {
            "1  A picture, and a few names": FIRST_COLUMNS,
            "2  Click on a thing": [["explorer"]],
            "3  Its mask": [["mask", "result"]],
        }
    ]
    return Plan([note(text), *items], rows, GAP)


RECIPES = {
    "Replace a thing": inpaint,
    "Replace a thing, soft edge": inpaint_differential,
    "Replace a thing with an inpainting model": inpaint_conditioning,
    "Cut out a thing": composite,
    "A prompt for one region": regional_prompt,
    "Redo a thing in detail": crop_and_stitch,
    "Find a thing in your picture": existing_picture,
    "Follow a thing through a video": follow,
    "Select by clicking": click,
}
"""File names, without their ends, and what makes them."""
