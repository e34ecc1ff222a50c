"""One workflow for each model family, with ComfyUI's stock loaders; the front end offers the files for download."""

from __future__ import annotations

from typing import Any

from .plan import Item, Plan, file_of, loader
from .reading import BACKGROUND, CONCEPTS, PROMPT
from .recipes import PICTURE
from .setups import SETUPS, Setup

EDIT, EDITED = "Turn the day into a sunset.", ("cloud", "sky", "grass")
"""What an editing model is asked for on the pack's own picture, and what is in it."""

NOTE = """## On {name}

The usual files, steps and guidance. Missing files are offered for download when the workflow opens.

Write what to look for in **Apply Concept Attention**, look at it in the **Concept Explorer**, and use its mask like any
other."""

SHORT_NOTE = """## On {name}

Missing files are offered for download. Write what to look for in **Apply Concept Attention**, look at it in the
**Concept Explorer**, and use its mask like any other."""
"""Where a picture takes the room."""


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
    words = SHORT_NOTE if setup.encoder else NOTE
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
        Item("note", "MarkdownNote", {"": words.format(name=name)}, "What this is", note),
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
