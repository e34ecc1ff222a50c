"""Hundreds of mixed prompts on one server, as a day's work would be. Prints memory, failures and the drift of latency.

    python -m tools.benchmarks.soak --comfyui PATH [--prompts 300] [--seed 0]

Seeded: runs with and without the pack, cached re-runs, changed concepts, other sizes and samplers, maps of existing
pictures, bad inputs (names, numbers, damaged files), interrupts in the middle. Every prompt has one right end: a
picture, an error in the pack's words, or an interrupt; anything else is a failure. Memory: the server's resident set.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tools.server.comfy_server import Graph, Node, Refused, Server, Socket

THINGS = ("boat", "sea", "sky", "house", "grass", "tree", "sun", "moon", "mountain", "sand", "cloud", "lighthouse")
SAMPLERS = ("euler", "heun", "dpmpp_2m", "euler_ancestral")
BAD = {
    "names": {"concepts": "(boat:1.3), sea"},
    "script": {"concepts": "дерево, sea"},
    "range": {"start_percent": 0.7, "end_percent": 0.2},
    "alone": {"concepts": "boat", "background": ""},
    "many": {"concepts": ", ".join(f"thing {number}" for number in range(70))},
}


@dataclass(frozen=True)
class Task:
    """One prompt: its graph, the end that is right, and what kind it is for the table."""

    kind: str
    graph: Graph
    end: str


def base(random_: random.Random, steps: int, size: int, patched: bool, **apply: object) -> tuple[Graph, Node, Socket]:
    """A graph up to its sampler: the graph, the apply node or the loader, the LATENT."""
    graph = Graph()
    loaded = graph.add("ConceptAttentionDemoModel")
    things = random_.sample(THINGS, 4)
    model: Socket = loaded[0]
    holder = loaded
    if patched:
        given = {"concepts": ", ".join(things[:3]), "background": "background", "token_pooling": "mean"}
        given |= {"projection": "output", "start_percent": 0.0, "end_percent": 1.0, **apply}
        holder = graph.add("ConceptAttentionApply", model=loaded[0], clip=loaded[1], **given)
        model = holder[0]
    sampled = graph.add(
        "KSampler",
        model=model,
        positive=graph.add("CLIPTextEncode", clip=loaded[1], text=" ".join(things))[0],
        negative=graph.add("CLIPTextEncode", clip=loaded[1], text="")[0],
        latent_image=graph.add("EmptySD3LatentImage", width=size, height=size, batch_size=random_.choice((1, 1, 2)))[0],
        seed=random_.randrange(10**6),
        steps=steps,
        cfg=random_.choice((1.0, 7.0)),
        sampler_name=random_.choice(SAMPLERS),
        scheduler="simple",
        denoise=1.0,
    )
    picture = graph.add("VAEDecode", samples=sampled[0], vae=loaded[2])
    graph.add("PreviewImage", images=picture[0])
    return graph, holder, sampled[0]


def read(graph: Graph, apply: Node, latent: Socket, **settings: object) -> None:
    widgets = {"concept": "", "threshold": 0.5, "softness": 0.1, "first_block": -65, "last_block": -65}
    widgets |= {"softmax_temperature": 1.0, **settings}
    shown = graph.add("ConceptAttention", concept_attention=apply[1], samples=latent, **widgets)
    graph.add("PreviewImage", images=shown[2])
    cut = {"concept": "", "method": "mean", "grow": 2, "blur": 1, "min_area": 0.5, "keep": "all", "fill_holes": True}
    cut |= {"refine_edges": False, "invert": False, "first_block": -65, "last_block": -65}
    cut |= {"softmax_temperature": 1.0, "min_presence": 0.0}
    mask = graph.add("ConceptAttentionMask", maps=shown[3], **cut)
    graph.add("MaskPreview", mask=mask[0])


def task(random_: random.Random, earlier: list[Task]) -> Task:
    """The next prompt."""
    kind = random_.choices(
        ("plain", "maps", "again", "existing", "bad", "interrupt", "unknown name"), (2, 8, 3, 2, 3, 2, 1)
    )[0]
    steps, size = random_.choice((2, 4, 6)), random_.choice((128, 192, 256))
    if kind == "again" and earlier:
        return Task(kind, random_.choice(earlier).graph, "success")
    if kind == "bad":
        name = random_.choice(sorted(BAD))
        graph, apply, latent = base(random_, 2, 128, True, **BAD[name])
        read(graph, apply, latent)
        return Task(f"bad: {name}", graph, "error")
    if kind == "existing":
        graph = Graph()
        loaded = graph.add("ConceptAttentionDemoModel")
        blank = graph.add("EmptyImage", width=size, height=size, batch_size=1, color=random_.randrange(2**24))
        things = ", ".join(random_.sample(THINGS, 2))
        given = {"concepts": things, "background": "background", "token_pooling": "mean", "projection": "output"}
        given |= {"prompt": "", "noise_level": 0.5, "noise_samples": 1, "seed": random_.randrange(99), "guidance": 3.5}
        given |= {"last_block": -1}
        maps = graph.add(
            "ConceptAttentionFromImage", model=loaded[0], clip=loaded[1], vae=loaded[2], image=blank[0], **given
        )
        heat = {"concept": "", "layout": "grid", "colors": "heat", "scale": "shared", "alpha": 0.6}
        heat |= {"first_block": -65, "last_block": -65, "softmax_temperature": 1.0}
        graph.add("PreviewImage", images=graph.add("ConceptAttentionHeatmap", maps=maps[0], **heat)[0])
        return Task(kind, graph, "success")
    if kind == "plain":
        graph, _, _ = base(random_, steps, size, False)
        return Task(kind, graph, "success")
    if kind == "interrupt":
        graph, apply, latent = base(random_, 60, 256, True)
        read(graph, apply, latent)
        return Task(kind, graph, "interrupted")
    graph, apply, latent = base(random_, steps, size, True)
    if kind == "unknown name":
        read(graph, apply, latent, concept="hause")
        return Task(kind, graph, "error")
    read(graph, apply, latent)
    return Task("maps", graph, "success")


def run(server: Server, one: Task) -> tuple[str, str]:
    """How a prompt ended, and what was said."""
    try:
        prompt = server.queue(one.graph)
    except Refused as refused:
        return "refused", str(refused)[:300]
    if one.end == "interrupted":
        time.sleep(0.7)
        server.interrupt()
    result = server.wait(prompt, timeout=300)
    if result.message("execution_interrupted"):
        return "interrupted", ""
    return ("success", "") if result.ok else ("error", result.error)


def resident(process: int) -> float:
    """MiB that a process holds."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def cpu_seconds(process: int) -> float:
    """CPU time of a process so far: unlike the clock's, it hardly depends on what else the machine does."""
    user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH"))
    parser.add_argument("--prompts", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.comfyui is None or not (options.comfyui / "main.py").is_file():
        parser.error("no ComfyUI: give its folder as --comfyui, or set COMFYUI_PATH")
    random_, done, wrong = random.Random(options.seed), Counter[str](), []
    earlier: list[Task] = []
    seconds: list[tuple[int, float]] = []
    memory: list[float] = []
    with tempfile.TemporaryDirectory() as folder, Server(options.comfyui, Path(folder)) as server:
        for number in range(options.prompts):
            one, start, worked = task(random_, earlier), time.monotonic(), cpu_seconds(server.process.pid)
            end, said = run(server, one)
            took = time.monotonic() - start
            memory.append(resident(server.process.pid))
            done[one.kind] += 1
            # An interrupt may come when all is done; an error is right only in the pack's own words.
            right = end == one.end or (one.end == "interrupted" and end == "success")
            if not right or "Traceback" in said or "object has no attribute" in said:
                wrong.append(f"prompt {number}, {one.kind}: {end}: {said}")
            elif one.end == "success":
                earlier = [*earlier[-20:], one]
            if one.kind == "maps":
                steps = next(node["inputs"]["steps"] for node in one.graph.values() if "steps" in node["inputs"])
                batch = next(node["inputs"] for node in one.graph.values() if "batch_size" in node["inputs"])
                pixels = batch["batch_size"] * batch["width"] ** 2
                seconds.append((number, (cpu_seconds(server.process.pid) - worked) / steps / pixels * 2**16))
            print(f"{number}: {one.kind}, {end}, {took:.1f} s, {memory[-1]:.0f} MiB", file=sys.stderr, flush=True)
    print(f"{options.prompts} prompts: {', '.join(f'{name} {count}' for name, count in sorted(done.items()))}")
    print(f"failures: {len(wrong)}")
    print("\n".join(wrong))
    quarter = len(memory) // 4
    parts = (memory[at * quarter : (at + 1) * quarter] for at in range(4))
    print("memory, MiB, median of each quarter: " + ", ".join(f"{statistics.median(part):.0f}" for part in parts))
    half = options.prompts // 2
    first, last = ([took for at, took in seconds if (at < half) == early] for early in (True, False))
    before, after = statistics.median(first), statistics.median(last)
    print(f"CPU seconds a step of 256 x 256 with maps, median of each half: {before:.3f}, {after:.3f}")
    print(f"drift: x {after / before:.2f}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
