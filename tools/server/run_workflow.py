"""Run the demo workflow on a ComfyUI server, and bring its pictures home under clear names.

`python3 dev.py demo` calls this with the environment's Python. By convention the workflow's SaveImage nodes have the
`filename_prefix` "demo/<kind>", and the kinds are picture, heatmap (one for each concept, in order: as a batch or from
a node each), overlay, mask and labels (the overlay without an image: plain colours).
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import re
import shutil
import sys
import uuid
from pathlib import Path
from typing import Any

import aiohttp
from PIL import Image

from conceptattention_core.concepts import parse_concepts
from conceptattention_core.pictures.colors import concept_colors

Workflow = dict[str, dict[str, Any]]

KINDS = ("picture", "heatmap", "overlay", "mask", "labels")


async def run(url: str, workflow: Workflow) -> dict[str, Any]:
    """Queue the workflow, show its progress, and return what its output nodes reported."""
    client = uuid.uuid4().hex
    async with aiohttp.ClientSession(url) as session, session.ws_connect("/ws", params={"clientId": client}) as events:
        async with session.post("/prompt", json={"prompt": workflow, "client_id": client}) as answer:
            report = await answer.json()
            if answer.status != 200:
                sys.exit(f"ComfyUI refused the workflow: {reasons(report)}")
        await follow(events, report["prompt_id"], workflow)
        async with session.get(f"/history/{report['prompt_id']}") as answer:
            result = (await answer.json())[report["prompt_id"]]
    if result["status"]["status_str"] != "success":
        kind, details = result["status"]["messages"][-1]
        message = " ".join(details.get("exception_message", kind).split())
        sys.exit(f"the workflow failed in {details.get('node_type', 'ComfyUI')}: {message}")
    return result["outputs"]


async def follow(events: aiohttp.ClientWebSocketResponse[bool], prompt: str, workflow: Workflow) -> None:
    """Print a line for each node as it runs, with its steps, until the workflow has ended."""
    terminal = sys.stdout.isatty()
    title = ""
    async for message in events:
        if message.type is not aiohttp.WSMsgType.TEXT:
            continue  # previews
        event = json.loads(message.data)
        data = event["data"]
        if data.get("prompt_id") != prompt:
            continue
        if event["type"] == "executing":
            if data["node"] is None:
                print(flush=True)
                return
            node = workflow[data["node"]]
            title = "  " + node.get("_meta", {}).get("title", node["class_type"])
            print(f"\n{title}", end="", flush=True)
        elif event["type"] == "progress":
            step = f" {data['value']}/{data['max']}"
            print(f"\r{title}{step}" if terminal else step, end="", flush=True)
    sys.exit("the server closed the connection")


def reasons(report: dict[str, Any]) -> str:
    """Why ComfyUI refused a workflow: its general reason, and one for each input that it names."""
    found = [f"{report['error']['message']} {report['error']['details']}".strip()]
    for number, node in (report.get("node_errors") or {}).items():
        found += [f"{node['class_type']} ({number}): {e['message']}, {e['details']}" for e in node["errors"]]
    return "; ".join(found)


def saved_files(workflow: Workflow, outputs: dict[str, Any], saved: Path) -> dict[str, list[Path]]:
    """The files of every kind, in the workflow's order: the server reports nodes in the order they ran."""
    files: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    for number, node in workflow.items():
        kind = str(node["inputs"].get("filename_prefix", "")).rpartition("/")[2]
        if kind in files and number in outputs:
            files[kind] += [saved / image["subfolder"] / image["filename"] for image in outputs[number]["images"]]
    missing = [kind for kind in KINDS if not files[kind]]
    if missing:
        sys.exit(f"the workflow saved no {', no '.join(missing)}: its SaveImage nodes need the prefixes demo/<kind>")
    return files


def concept_shares(labels: Path, height: int, count: int, background_count: int) -> list[float]:
    """The part of the picture that each concept wins, counted on the label map without the legend below it."""
    with Image.open(labels) as image:
        area = image.convert("RGB").crop((0, 0, image.width, height))
    pixels = {color: number for number, color in area.getcolors(area.width * area.height) or []}
    palette = [tuple(color) for color in (concept_colors(count, background_count) * 255).int().tolist()]
    return [pixels.get(color, 0) / (area.width * area.height) for color in palette]


def collect(workflow: Workflow, files: dict[str, list[Path]], output: Path) -> None:
    """Copy the pictures to `output` and print one line for each concept, background included."""
    apply = next(node for node in workflow.values() if node["class_type"] == "ConceptAttentionApply")
    names, background_count = parse_concepts(apply["inputs"]["concepts"], apply["inputs"].get("background", ""))
    with Image.open(files["picture"][0]) as picture:
        shares = concept_shares(files["labels"][0], picture.height, len(names), background_count)
    output.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        if kind != "heatmap":
            shutil.copy(files[kind][0], output / f"{kind}.png")
    for index, (name, share) in enumerate(zip(names, shares, strict=True)):
        slug = re.sub(r"\W+", "-", name)[:40]
        target = output / f"heatmap_{index + 1}_{slug}.png"
        if index < len(files["heatmap"]):
            shutil.copy(files["heatmap"][index], target)
        role = target.name if target.exists() else "(only competes)"
        print(f"  {name:20} {share:6.1%} of the picture   {role}")
    print(f"Pictures: {output}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workflow", type=Path, help="a workflow in API format")
    parser.add_argument("--url", default="http://127.0.0.1:8188", help="the server, default %(default)s")
    parser.add_argument("--saved", type=Path, required=True, help="the server's output folder")
    parser.add_argument("--output", type=Path, required=True, help="where the pictures go")
    arguments = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a concept may hold what a Windows console cannot show
    try:
        workflow = json.loads(arguments.workflow.read_text(encoding="utf-8"))
        outputs = asyncio.run(run(arguments.url, workflow))
        collect(workflow, saved_files(workflow, outputs, arguments.saved), arguments.output)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
