"""The texts beside the nodes' code say the same as the code: the English locale, and the help pages."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tools.save_locales import definitions

ROOT = Path(__file__).resolve().parents[2]
NODES = (
    "ConceptAttention",
    "ConceptAttentionApply",
    "ConceptAttentionBoxes",
    "ConceptAttentionDemoModel",
    "ConceptAttentionFromImage",
    "ConceptAttentionHeatmap",
    "ConceptAttentionLoad",
    "ConceptAttentionMask",
    "ConceptAttentionSave",
    "ConceptAttentionSegmentation",
)


@pytest.fixture(scope="module")
def infos(pack: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the server tells the front end about the pack's nodes."""
    return {name: pack[name].GET_NODE_INFO_V1() for name in NODES}


def test_the_english_locale_is_complete(infos: dict[str, dict[str, Any]]) -> None:
    saved = json.loads((ROOT / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))
    assert saved == definitions(infos), "run `python -m tools.save_locales` on a server"


def test_every_text_can_be_translated(infos: dict[str, dict[str, Any]]) -> None:
    """The front end's translation library reads these characters as its own syntax."""
    assert not re.search(r"[@{}|]", " ".join(texts(definitions(infos))))


def texts(tree: Any) -> list[str]:
    return [tree] if isinstance(tree, str) else [text for branch in tree.values() for text in texts(branch)]


@pytest.mark.parametrize("name", NODES)
def test_the_help_page_names_every_socket(infos: dict[str, dict[str, Any]], name: str) -> None:
    page = (ROOT / "web" / "docs" / f"{name}.md").read_text(encoding="utf-8")
    info = infos[name]
    groups = (group for kind, group in info["input"].items() if kind != "hidden")
    sockets = [*(socket for group in groups for socket in group), *info["output_name"]]
    assert page.startswith(f"# {info['display_name']}\n")
    assert not [socket for socket in sockets if f"`{socket}`" not in page]
