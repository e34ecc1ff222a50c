"""Check this pack inside your own ComfyUI, with whatever other packs are there. Prints a report for a bug report.

    python -m tools.check_install --comfyui ~/ComfyUI

Run it from a clone of the pack (the registry's package has no tools), with the Python that runs your ComfyUI. It starts
that ComfyUI once more on a free port, with your custom nodes, and makes the demo's picture with the pack and without:
nothing is downloaded, and nothing is written into your folders. The exit status is 0 where every check is passed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tools.server.comfy_server import PACK, ROOT, Graph, Node, Refused, Server
from tools.server.environment import Failure, check_comfyui

PACKAGES = ("torch", "safetensors", "transformers", "numpy", "pillow", "einops", "comfyui-frontend-package")
NODES = sorted(path.stem for path in (ROOT / "web" / "docs").glob("*.md"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, required=True, help="the folder that has main.py")
    parser.add_argument("--without-others", action="store_true", help="leave your other packs out, to compare")
    parser.add_argument("--gpu", action="store_true", help="run on the GPU, beside a server that may hold it already")
    options = parser.parse_args()
    try:
        comfyui = check_comfyui(options.comfyui.expanduser().resolve())
    except Failure as failure:
        parser.error(str(failure).replace("COMFYUI_PATH", "--comfyui"))
    lines = list(report(comfyui, not options.without_others, options.gpu))
    print("\n".join(["```", *lines, "```"]))
    sys.exit(any(line.startswith("FAILED") for line in lines))


def report(comfyui: Path, others: bool, gpu: bool) -> Iterator[str]:
    """The report's lines; checks begin with "ok" or "FAILED"."""
    version = re.findall(r"[\d.]+\d", (comfyui / "comfyui_version.py").read_text(encoding="utf-8"))
    yield f"Concept Attention {pack_version()}, ComfyUI {(version or ['unknown'])[0]}"
    yield f"{platform.platform()}, Python {platform.python_version()}"
    yield ", ".join(f"{name} {installed(name)}" for name in PACKAGES)
    packs = other_packs(comfyui) if others else []
    yield f"other packs: {', '.join(pack.name for pack in packs) or 'none'}"
    with tempfile.TemporaryDirectory() as folder:
        server = Server(comfyui, Path(folder), packs=packs)
        if gpu:
            server.command.remove("--cpu")
        try:
            with server:
                yield "ok: the server starts"
                yield from check(server)
        except (RuntimeError, TimeoutError, OSError, Refused) as error:
            yield f"FAILED: {' '.join(str(error).split())[-600:]}"
        said = server.log_text() if server.log.is_file() else ""
        yield from (f"log: {line}" for line in telling(said))


def check(server: Server) -> Iterator[str]:
    """What must hold: every node is there, the picture is the same with the pack, the maps are maps."""
    missing = [name for name in NODES if not server.json(f"/object_info/{name}")]
    yield f"FAILED: not loaded: {', '.join(missing)}" if missing else f"ok: all {len(NODES)} nodes are loaded"
    if missing:
        return
    made = {}
    for with_pack in (False, True):
        graph, picture, mask = demo(with_pack)
        result = server.run(graph, timeout=900)
        if not result.ok:
            name = "with" if with_pack else "without"
            yield f"FAILED: the run {name} the pack ended in {result.failed_node}: {result.error}"
            return
        made[with_pack] = result.pictures(picture), result.pictures(mask) if mask is not None else None
    (plain, _), (patched, masked) = made[False], made[True]
    same = plain.shape == patched.shape and np.array_equal(plain, patched)
    difference = "" if same else f" (by up to {int(np.abs(plain.astype(int) - patched.astype(int)).max())} of 255)"
    yield "ok: the picture is the same with the pack" if same else f"FAILED: the pack changed the picture{difference}"
    area = float(masked.mean() / 255)
    found = 0.005 < area < 0.5
    yield f"{'ok' if found else 'FAILED'}: the mask of the boat covers {area:.1%} of the picture"


def demo(with_pack: bool) -> tuple[Graph, Node, Node | None]:
    """A boat on the sea, sampled with concepts or without; the nodes that save the picture and the boat's mask."""
    graph, mask = Graph(), None
    loaded = graph.add("ConceptAttentionDemoModel")
    model, clip, vae = loaded[0], loaded[1], loaded[2]
    patched = None
    if with_pack:
        patched = graph.add(
            "ConceptAttentionApply",
            model=model,
            clip=clip,
            concepts="boat, sea, sky",
            background="background",
            token_pooling="mean",
            projection="output",
            start_percent=0.0,
            end_percent=1.0,
        )
    sampled = graph.add(
        "KSampler",
        model=patched[0] if patched else model,
        positive=graph.add("CLIPTextEncode", clip=clip, text="boat, sea, sky")[0],
        negative=graph.add("CLIPTextEncode", clip=clip, text="")[0],
        latent_image=graph.add("EmptySD3LatentImage", width=256, height=256, batch_size=1)[0],
        seed=4,
        steps=20,
        cfg=7.0,
        sampler_name="euler",
        scheduler="simple",
        denoise=1.0,
    )
    decoded = graph.add("VAEDecode", samples=sampled[0], vae=vae)
    picture = graph.add("SaveImage", images=decoded[0], filename_prefix="picture")
    if patched:
        read = graph.add(
            "ConceptAttention",
            concept_attention=patched[1],
            samples=sampled[0],
            concept="boat",
            threshold=0.5,
            softness=0.1,
            first_block=-65,
            last_block=-65,
            softmax_temperature=1.0,
        )
        mask = graph.add("SaveImage", images=graph.add("MaskToImage", mask=read[0])[0], filename_prefix="mask")
    return graph, picture, mask


def other_packs(comfyui: Path) -> list[Path]:
    """The user's custom nodes, but for disabled ones and this pack under whatever name."""
    folders = sorted((comfyui / "custom_nodes").glob("*"))
    packs = (one for one in folders if one.is_dir() or one.suffix == ".py")
    ours = {"ConceptAttentionApply"}
    return [
        one
        for one in packs
        if not one.name.endswith(".disabled") and one.name not in ("__pycache__", PACK) and not _is_ours(one, ours)
        and one.name != "example_node.py.example"
    ]  # fmt: skip


def _is_ours(pack: Path, ids: set[str]) -> bool:
    apply = pack / "nodes" / "apply.py"
    return apply.is_file() and any(name in apply.read_text(encoding="utf-8", errors="replace") for name in ids)


def telling(log: str) -> list[str]:
    """The last lines of a log that name an error, or say how long packs took or that they failed to load."""
    lines = (re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in log.splitlines())
    wanted = r"IMPORT FAILED|Cannot import|Error\b|Concept Attention|Traceback|conceptattention"
    return [line[:300] for line in lines if re.search(wanted, line)][-30:]


def pack_version() -> str:
    found = re.search(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    return found[1] if found else "unknown"


def installed(package: str) -> Any:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
