"""Write locales/en/nodeDefs.json, the template for translations, from the nodes' own schemas.

python3 dev.py serve
.venv/bin/python -m tools.package.locales --url http://127.0.0.1:8188
"""

from __future__ import annotations

import argparse
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parents[2] / "locales" / "en" / "nodeDefs.json"
MODULE = "custom_nodes.ComfyUI-ConceptAttention"


def definition(info: dict[str, Any]) -> dict[str, Any]:
    """A node's texts, in the front end's format, from what the server says about the node."""
    inputs = dict(options_of(info["input"]))
    outputs = zip(info["output_name"], info["output_tooltips"], strict=True)
    return {
        "display_name": info["display_name"],
        "description": info["description"],
        "inputs": {name: {"name": label, "tooltip": tooltip} for name, (label, tooltip) in inputs.items()},
        "outputs": {str(index): {"name": name, "tooltip": tip} for index, (name, tip) in enumerate(outputs)},
    }


def options_of(groups: dict[str, Any], parent: str = "") -> Iterator[tuple[str, tuple[str, str]]]:
    """Inputs by the names that the front end looks their texts up under, with their own names and tooltips.

    What a choice of a dynamic combo brings along goes by the combo's name and its own.
    """
    for kind, group in groups.items():
        for name, (_, options, *_) in group.items() if kind != "hidden" else ():
            yield f"{parent}{name}", (name, options["tooltip"])
            for choice in options.get("options", ()):
                if isinstance(choice, dict):
                    yield from options_of(choice["inputs"], f"{parent}{name}_")


def definitions(infos: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """All nodes' texts, by node id."""
    return {node_id: definition(infos[node_id]) for node_id in sorted(infos)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8188", help="a server with the pack, default %(default)s")
    with urllib.request.urlopen(parser.parse_args().url + "/object_info") as answer:
        infos = {name: info for name, info in json.load(answer).items() if info["python_module"] == MODULE}
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps(definitions(infos), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{TARGET}: {', '.join(infos)}")


if __name__ == "__main__":
    main()
