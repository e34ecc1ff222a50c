"""The texts beside the nodes' code say the same as the code: the locales, and the help pages."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tools.package.help import pages
from tools.package.locales import definitions

ROOT = Path(__file__).resolve().parents[2]
NODES = (
    "ConceptAttention",
    "ConceptAttentionApply",
    "ConceptAttentionBoxes",
    "ConceptAttentionDemoModel",
    "ConceptAttentionExplorer",
    "ConceptAttentionFromImage",
    "ConceptAttentionHeatmap",
    "ConceptAttentionLoad",
    "ConceptAttentionMask",
    "ConceptAttentionSave",
    "ConceptAttentionSegmentation",
    "ConceptAttentionSelect",
)

SCRIPTS = {"zh": r"[一-鿿]", "ja": r"[ぁ-ヿ一-鿿]", "ko": r"[가-힣]"}
SAME_EVERYWHERE = ("clip", "CLIP", "vae", "VAE", "x", "y")


@pytest.fixture(scope="module")
def infos(pack: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the server tells the front end about the pack's nodes."""
    return {name: pack[name].GET_NODE_INFO_V1() for name in NODES}


def test_the_english_locale_is_complete(infos: dict[str, dict[str, Any]]) -> None:
    saved = json.loads((ROOT / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))
    assert saved == definitions(infos), "run `python -m tools.package.locales` on a server"


@pytest.mark.parametrize("language", ["en", *SCRIPTS])
def test_the_front_end_can_read_every_text(language: str) -> None:
    """Its translation library reads these characters as its own syntax."""
    assert not re.search(r"[@{}|]", " ".join(texts(locale(language)).values()))


@pytest.mark.parametrize("language", SCRIPTS)
def test_every_text_is_translated(language: str) -> None:
    english, translated = texts(locale("en")), texts(locale(language))
    assert translated.keys() == english.keys()
    left = {
        path: text
        for path, text in translated.items()
        if english[path] not in SAME_EVERYWHERE and not re.search(SCRIPTS[language], text)
    }
    assert left == {}


@pytest.mark.parametrize("language", SCRIPTS)
def test_a_translation_calls_nodes_and_options_by_the_names_on_the_screen(
    infos: dict[str, dict[str, Any]], language: str
) -> None:
    """Nodes by their translated names; the values of a combo, which the front end does not translate, as they are."""
    english, translated = locale("en"), locale(language)
    names = sorted((english[node]["display_name"], translated[node]["display_name"]) for node in english)
    for path, text in texts(english).items():
        if path[-1] == "name":
            continue
        other = texts(translated)[path]
        for name, its_name in reversed(names):  # the longer of two that begin alike comes first
            assert name not in text or its_name in other, f"{path} does not name {its_name}"
            text = text.replace(name, "")
        for option in options(infos, path):
            named = rf"\b{re.escape(option)}\b"
            assert not re.search(named, text) or re.search(named, other, re.ASCII), f"{path} does not name {option}"


def locale(language: str) -> dict[str, Any]:
    return json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))


def texts(tree: dict[str, Any], *path: str) -> dict[tuple[str, ...], str]:
    """All texts of a tree, by their paths."""
    found = {}
    for key, branch in tree.items():
        found |= {(*path, key): branch} if isinstance(branch, str) else texts(branch, *path, key)
    return found


def options(infos: dict[str, dict[str, Any]], path: tuple[str, ...]) -> list[str]:
    """The values of the combo whose text this is."""
    if path[1] != "inputs":
        return []
    node, _, name, _ = path
    groups = [group for kind, group in infos[node]["input"].items() if kind != "hidden"]
    settings = next((group[name][1] for group in groups if name in group), {})
    return [option["key"] if isinstance(option, dict) else option for option in settings.get("options", ())]


@pytest.mark.parametrize("name", NODES)
def test_the_help_page_names_every_socket(infos: dict[str, dict[str, Any]], name: str) -> None:
    page = (ROOT / "web" / "docs" / f"{name}.md").read_text(encoding="utf-8")
    info = infos[name]
    groups = (group for kind, group in info["input"].items() if kind != "hidden")
    sockets = [*(socket for group in groups for socket in group), *info["output_name"]]
    assert page.startswith(f"# {info['display_name']}\n")
    assert not [socket for socket in sockets if f"`{socket}`" not in page]


def test_help_pages_in_other_languages_are_those_of_the_texts() -> None:
    made = pages()
    assert {file.parent.name for file in made} == set(NODES) and len(made) == len(NODES) * len(SCRIPTS)
    stale = [file.name for file, text in made.items() if file.read_text(encoding="utf-8") != text]
    assert not stale, "run `python -m tools.package.help`"
