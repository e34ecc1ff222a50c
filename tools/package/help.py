"""Write the help pages in other languages, `web/docs/<node>/<language>.md`, from the translated texts of `locales/`.

    .venv/bin/python -m tools.package.help

What a node does, its inputs and outputs. The English pages, `web/docs/<node>.md`, are written by hand and have hints.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

HEADS = {
    "zh": ("输入", "输出", "更多提示请见英文帮助页。"),
    "ja": ("入力", "出力", "ヒントは英語のヘルプページにあります。"),
    "ko": ("입력", "출력", "힌트는 영어 도움말에 있습니다."),
}
"""Inputs, outputs, and where the hints are."""


def page(texts: dict[str, Any], language: str) -> str:
    """A node's help page. texts: its entry in a language's nodeDefs.json. Inputs by the names that its labels have."""
    inputs, outputs, more = HEADS[language]
    lines = [f"# {texts['display_name']}", "", texts["description"]]
    for head, sockets in ((inputs, texts["inputs"]), (outputs, texts["outputs"])):
        own = {key: _own(key, one["name"], sockets) for key, one in sockets.items()}
        named = [f"- **{one['name']}**{own[key]} - {one['tooltip']}" for key, one in sockets.items()]
        lines += ["", f"## {head}", "", *named] if named else []
    return "\n".join([*lines, "", more, ""])


def _own(key: str, label: str, sockets: dict[str, Any]) -> str:
    """An input's name in workflows and scripts, where its label is another; outputs have numbers alone."""
    choice = next((one for one in sockets if key.startswith(f"{one}_")), "")  # a knob of a choice: method.low
    name = f"{choice}.{key.removeprefix(f'{choice}_')}" if choice else key
    return "" if name == label or key.isdigit() else f" (`{name}`)"


def pages() -> dict[Path, str]:
    """Every page of every language, by its file."""
    made = {}
    for language in HEADS:
        nodes = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
        folder = ROOT / "web" / "docs"
        made |= {folder / node / f"{language}.md": page(texts, language) for node, texts in nodes.items()}
    return made


def main() -> None:
    for file, text in pages().items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        print(file)


if __name__ == "__main__":
    main()
