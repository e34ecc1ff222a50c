"""Save the workflows with ComfyUI's real front end: the demo (in API form, too), and the same with stock Flux loaders.

    python3 dev.py serve
    .venv/bin/python -m tools.save_workflows --url http://127.0.0.1:8188

A workflow is written down below; the front end makes its nodes, wires and arranges them, and exports the file. The demo
is then run, for its thumbnail and for the README's screenshot; do that again when the demo model has changed.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page

from tools.front_end import export, find_browser, fit_view, open_front_end

WORKFLOWS = Path(__file__).resolve().parent.parent / "workflows"
SCREENSHOT = WORKFLOWS.parent / "docs" / "images" / "workflow.png"
DEMO, FLUX, API = "Concept Attention Demo.json", "Concept Attention Flux.json", "api/demo.json"

PROMPT = "sea, sand and a sunset"
CONCEPTS = ("sea", "sand", "sunset")
MASKED = "sea"
"""Whose mask is shown."""
BACKGROUND = "background"
GAP = 40
TITLE = 30
"""Height of a node's title bar, which the front end draws above the node's position."""
HEAD = 60
"""Height of a group's title."""
DEMO_SEED = 1
DEMO_BLOCKS = {"first_block": 3, "last_block": 3}
"""The demo model's fourth double block alone finds things best (README, quality)."""

DEMO_NOTE = """## Concept Attention: the demo

*Press Run (Ctrl + Enter): it takes seconds, even without a GPU.*

1. **Load Demo Flux** brings a tiny Flux that draws cartoon scenes.
2. **Apply Concept Attention**: your concepts ride along while the sampler makes the picture. It does not change it.
3. Each **Concept Attention** reads one concept: a heat map, a mask, and an overlay of all concepts.

Change a `threshold` and run again: nothing is sampled again.

Concepts compete for every place in the picture. What you do not name goes to `background`.

The nodes read block 3 alone (`first_block`, `last_block`), the best one of this small model.

Help: select a node and press **i** above it."""

FLUX_NOTE = """## Concept Attention on Flux

Any FLUX.1 model will do: schnell, dev, Krea, Fill, Kontext; fp8, GGUF or with LoRAs. Choose your files in the three
loaders on the left. For schnell 4 steps are enough.

- diffusion_models/**flux1-dev.safetensors**
- text_encoders/**t5xxl_fp8_e4m3fn.safetensors** and **clip_l.safetensors**
- vae/**ae.safetensors**

Write what to look for in Apply Concept Attention; each Concept Attention node reads one of the concepts. Use `mask` for
inpainting or regional edits like any other mask."""


@dataclass(frozen=True)
class Item:
    """A node to make. inputs: values of its widgets, and for sockets `(name, output index)` of another item."""

    name: str
    type: str
    inputs: dict[str, Any] = field(default_factory=dict)
    title: str = ""
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Plan:
    """A workflow: its nodes in the order of their numbers, and their places.

    rows: in each, groups from left to right by their titles; a group is columns of nodes' names.
    """

    items: list[Item]
    rows: list[dict[str, list[list[str]]]]


def plan(
    loaders: list[Item],
    prompt: list[Item],
    sources: dict[str, Any],
    blocks: dict[str, int],
    note: str,
    pixels: int,
    seed: int,
    save: bool,
) -> Plan:
    """What both workflows have in common, behind the nodes that load a model and encode the prompt.

    sources: the sockets where model, clip, vae and positive come from. blocks: those to read, if
    not the default ones. save: pictures to files instead of previews.
    """
    apply = Item(
        "apply",
        "ConceptAttentionApply",
        {"model": sources["model"], "clip": sources["clip"], "concepts": "\n".join(CONCEPTS), "background": BACKGROUND},
        size=(340, 300),
    )
    sampling = {"steps": 20, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple"}
    seeding = {"seed": seed, "control_after_generate": "fixed"}
    sockets = {"positive": sources["positive"], "negative": ("negative", 0), "latent_image": ("latent", 0)}
    items = [
        *loaders,
        *prompt,
        Item("negative", "ConditioningZeroOut", {"conditioning": ("prompt", 0)}, "No negative prompt", (340, 0)),
        Item("latent", "EmptySD3LatentImage", {"width": pixels, "height": pixels}, "Size", (340, 0)),
        apply,
        Item("sampler", "KSampler", {"model": ("apply", 0), **sockets, **seeding, **sampling}, size=(340, 0)),
        Item("decode", "VAEDecode", {"samples": ("sampler", 0), "vae": sources["vae"]}, size=(300, 0)),
        shown("picture", ("decode", 0), "Picture", save),
    ]
    record = {"concept_attention": ("apply", 1), "samples": ("sampler", 0), **blocks}
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


def shown(name: str, source: tuple[str, int], title: str, save: bool) -> Item:
    """A picture for a person to see, or one for `dev.py demo` to find by its prefix."""
    if save:
        return Item(name, "SaveImage", {"images": source, "filename_prefix": f"demo/{name.split()[0]}"}, title)
    return Item(name, "PreviewImage", {"images": source}, title, (300, 340))


def text(inputs: dict[str, Any]) -> Item:
    return Item("prompt", "CLIPTextEncode", {"text": PROMPT, **inputs}, "Prompt", (340, 140))


def demo(save: bool = False) -> Plan:
    """The workflow that runs anywhere, on the demo model."""
    loaders = [Item("model", "ConceptAttentionDemoModel", size=(340, 0))]
    sources = {"model": ("model", 0), "clip": ("model", 1), "vae": ("model", 2), "positive": ("prompt", 0)}
    return plan(loaders, [text({"clip": ("model", 1)})], sources, DEMO_BLOCKS, DEMO_NOTE, 256, DEMO_SEED, save)


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
    return plan(loaders, [text({"clip": ("clip", 0)}), guidance], sources, {}, FLUX_NOTE, 1024, 0, save=False)


BUILD = """async ({items, rows, gap, title, head}) => {
    app.graph.clear();
    const nodes = {};
    for (const item of items) {
        const node = LiteGraph.createNode(item.type);
        if (!node) throw new Error(`the server has no node ${item.type}`);
        app.graph.add(node);
        nodes[item.name] = node;
        if (item.title) node.title = item.title;
        for (const [name, value] of Object.entries(item.inputs)) {
            if (Array.isArray(value)) continue;
            const widget = node.widgets.find((widget) => widget.name === name) ?? (name ? null : node.widgets[0]);
            if (!widget) throw new Error(`${item.type} has no widget ${name}`);
            widget.value = value;
        }
    }
    for (const item of items) {
        for (const [name, value] of Object.entries(item.inputs)) {
            if (!Array.isArray(value)) continue;
            const slot = nodes[item.name].inputs.findIndex((input) => input.name === name);
            if (slot < 0 || !nodes[value[0]].connect(value[1], nodes[item.name], slot))
                throw new Error(`cannot connect ${value} to ${name} of ${item.name}`);
        }
    }
    for (const item of items) {
        const node = nodes[item.name], least = node.computeSize();
        node.setSize(item.size ? [Math.max(item.size[0], least[0]), Math.max(item.size[1], least[1])] : least);
    }
    let top = 0;
    for (const row of rows) {
        const boxes = [];
        let x = 0, bottom = 0;
        for (const [name, columns] of Object.entries(row)) {
            const left = x;
            for (const column of columns) {
                let y = top + head + title, width = 0;
                for (const key of column) {
                    nodes[key].pos = [x, y];
                    y += nodes[key].size[1] + title + gap / 2;
                    width = Math.max(width, nodes[key].size[0]);
                }
                bottom = Math.max(bottom, y - title);
                x += width + gap;
            }
            const group = new LiteGraph.LGraphGroup(name);
            app.graph.add(group);
            boxes.push([group, left - gap / 2, x - left]);
            x += gap;
        }
        for (const [group, left, width] of boxes) {
            group.pos = [left, top];
            group.size = [width, bottom - top];
        }
        top = bottom + gap;
    }
    app.graph.setDirtyCanvas(true, true);
}"""


def build(page: Page, wanted: Plan) -> None:
    """Make the nodes in the front end, connect and arrange them."""
    items = [vars(item) for item in wanted.items]
    page.evaluate(BUILD, {"items": items, "rows": wanted.rows, "gap": GAP, "title": TITLE, "head": HEAD})


def write(name: str, content: Any) -> None:
    target = WORKFLOWS / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(target)


def run_demo(page: Page) -> None:
    """Press Run, and wait until every preview shows its picture."""
    page.click("[data-testid=queue-button]")
    while not page.evaluate(SHOWN):
        page.wait_for_timeout(500)
    page.wait_for_timeout(1000)


SHOWN = """() => app.graph.nodes.filter((node) => ['PreviewImage', 'MaskPreview'].includes(node.type))
    .every((node) => node.imgs?.[0]?.complete && node.imgs[0].naturalWidth)"""
SOURCE = "(title) => app.graph.nodes.find((node) => node.title === title).imgs[0].src"
BOUNDS = """() => {
    const scale = app.canvas.ds.scale, [x, y] = app.canvas.ds.offset;
    const groups = app.graph.groups.map((group) => [...group.pos, ...group.size]);
    const [left, top] = [0, 1].map((axis) => Math.min(...groups.map((group) => group[axis])));
    const [right, bottom] = [0, 1].map((axis) => Math.max(...groups.map((group) => group[axis] + group[axis + 2])));
    const canvas = document.querySelector('#graph-canvas').getBoundingClientRect();
    return {x: canvas.x + (left + x) * scale - 8, y: canvas.y + (top + y) * scale - 8,
            width: (right - left) * scale + 16, height: (bottom - top) * scale + 16};
}"""


def screenshot(page: Page) -> Image.Image:
    """The workflow as it stands in the window."""
    return Image.open(BytesIO(page.screenshot(clip=page.evaluate(BOUNDS)))).convert("RGB")


def result_strip(page: Page) -> Image.Image:
    """The demo's picture, a heat map and the overlay, side by side."""
    titles = ("Picture", f"Heat map: {MASKED}", "Overlay of all concepts")
    pictures = [Image.open(BytesIO(page.request.get(page.evaluate(SOURCE, title)).body())) for title in titles]
    strip = Image.new("RGB", (256 * len(pictures), 256))
    for index, picture in enumerate(pictures):
        strip.paste(picture.crop((0, 0, 256, 256)), (256 * index, 0))
    return strip


def save_picture(target: Path, picture: Image.Image) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".png":
        picture = picture.quantize(palette=picture.quantize(256))  # dithered
    picture.save(target, optimize=True, quality=85)
    print(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8188", help="a server with the pack, default %(default)s")
    url = parser.parse_args().url
    browser = find_browser()
    if not browser:
        parser.exit(1, "no Chromium found; set CHROMIUM_PATH\n")
    with open_front_end(url, browser, 2300, 1600) as page:
        for name, wanted in ((FLUX, flux()), (DEMO, demo())):
            build(page, wanted)
            fit_view(page)
            write(name, export(page)["workflow"])
            if name == FLUX:
                # The models are not on this machine, which the front end would show in red.
                page.evaluate("() => app.graph.nodes.forEach((node) => { node.strokeStyles = {} })")
                page.evaluate("() => app.canvas.setDirty(true, true)")
                page.wait_for_timeout(1000)
                picture = screenshot(page)
                picture.thumbnail((640, 640))
                save_picture(WORKFLOWS / name.replace(".json", ".jpg"), picture)
        run_demo(page)
        save_picture(WORKFLOWS / DEMO.replace(".json", ".jpg"), result_strip(page))
        save_picture(SCREENSHOT, screenshot(page))
        build(page, demo(save=True))
        nodes = export(page)["output"]
        write(API, {number: nodes[number] for number in sorted(nodes, key=int)})


if __name__ == "__main__":
    main()
