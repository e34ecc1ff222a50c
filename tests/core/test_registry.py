"""What the Comfy registry would publish: every file that the pack needs, and nothing that its scan refuses.

The registry's own tool packs the files that git knows, less those that .comfyignore (in git's syntax) names.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

try:
    import tomllib
except ImportError:  # Python 3.10: a dependency of pytest there
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
SIZE_LIMIT = 10_000_000
TOTAL_LIMIT = 15_000_000

NEEDED = (
    *("__init__.py", "pyproject.toml", "requirements.txt", "LICENSE", "README.md"),
    *("demo_model/demo_flux.safetensors", "demo_model/demo_vae.safetensors"),
    *("demo_model/demo_text_encoders.safetensors", "demo_model/demo_tokenizers.json"),
    *("locales/en/nodeDefs.json", "workflows/Replace a thing.json", "workflows/Replace a thing.jpg"),
)
FOR_DEVELOPERS = ("tests/", "tools/", "docs/", ".ci/", ".github/", "dev.py", "requirements-dev.txt", "workflows/api/")

BANNED_MODULES = {
    *("subprocess", "multiprocessing", "pty", "ctypes", "importlib", "runpy", "pickle", "marshal", "code"),
    *("socket", "ssl", "http", "urllib", "urllib3", "requests", "httpx", "aiohttp", "ftplib", "smtplib", "websocket"),
    *("websockets", "telnetlib", "xmlrpc", "huggingface_hub", "pip"),
}
BANNED_NAMES = {"eval", "exec", "compile", "__import__", "breakpoint"}
BANNED_OS = {"environ", "environb", "getenv", "putenv", "system", "popen", "fork", "kill", "startfile"}


def git(*arguments: str) -> list[str]:
    command = ["git", "-C", str(ROOT), "ls-files", "-z", *arguments]
    return [
        name for name in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0") if name
    ]


@pytest.fixture(scope="module")
def published() -> list[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("no git repository: the registry publishes from one")
    ignored = set(git("--cached", "--ignored", "--exclude-from=.comfyignore"))
    return [name for name in git() if name not in ignored and (ROOT / name).exists()]


def offences(tree: ast.AST) -> list[str]:
    """What the registry's scan, or a careful user, would object to."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in BANNED_MODULES]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            module = node.module or ""
            if module == "aiohttp" and [alias.name for alias in node.names] == ["web"]:
                continue  # answers of ComfyUI's own server; what asks others is the client
            found += [module] if module.partition(".")[0] in BANNED_MODULES else []
            found += [f"os.{alias.name}" for alias in node.names if module == "os" and alias.name in BANNED_OS]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            found += [f"os.{node.attr}"] if node.attr in BANNED_OS or re.match("exec|spawn", node.attr) else []
        elif isinstance(node, ast.Name) and node.id in BANNED_NAMES:
            found += [node.id]
    return found


@pytest.mark.parametrize(
    "code",
    [
        *("import subprocess", "from subprocess import run", "import urllib.request as u", "from http import client"),
        *("import os\nos.environ['A']", "from os import getenv", "import os\nos.execv('a', [])", "eval('1')"),
        *("def f():\n    exec('1')", "import importlib.util", "__import__('os')", "run = eval"),
        "from aiohttp import ClientSession",
    ],
)
def test_the_scan_sees(code: str) -> None:
    assert offences(ast.parse(code))


@pytest.mark.parametrize(
    "code",
    ["re.compile('a')", "import os\nos.path.join", "from . import code", "model.eval()", "from aiohttp import web"],
)
def test_the_scan_lets_pass(code: str) -> None:
    assert not offences(ast.parse(code))


def test_nothing_that_the_scan_refuses(published: list[str]) -> None:
    sources = {name: ast.parse((ROOT / name).read_text(encoding="utf-8")) for name in published if name.endswith(".py")}
    assert len(sources) > 25
    assert {name: found for name, tree in sources.items() if (found := offences(tree))} == {}


def test_everything_that_is_needed(published: list[str]) -> None:
    assert [name for name in NEEDED if name not in published] == []
    modules = {
        path.relative_to(ROOT).as_posix()
        for folder in ("nodes", "conceptattention_core")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert modules <= set(published), "a module that git does not know"
    pages = {name for name in published if name.startswith("web/docs/")}
    ids = re.findall(
        r'node_id="(\w+)"', "".join((ROOT / name).read_text() for name in published if name.startswith("nodes/"))
    )
    others = {f"web/docs/{node_id}/{language}.md" for node_id in ids for language in ("zh", "ja", "ko")}
    assert pages == {f"web/docs/{node_id}.md" for node_id in ids} | others, "a help page for each node and language"


def test_nothing_for_developers_only(published: list[str]) -> None:
    assert [name for name in published if name.startswith(FOR_DEVELOPERS) or name.startswith(".")] == []
    assert {name.partition("/")[0] for name in published if name.count("/")} == {
        *("conceptattention_core", "demo_model", "locales", "nodes", "web", "workflows"),
    }


def test_sizes(published: list[str]) -> None:
    sizes = {name: (ROOT / name).stat().st_size for name in published}
    assert {name: size for name, size in sizes.items() if size > SIZE_LIMIT} == {}
    assert sum(sizes.values()) <= TOTAL_LIMIT


def test_the_workflows_are_json(published: list[str]) -> None:
    for name in published:
        if name.endswith(".json"):
            json.loads((ROOT / name).read_text(encoding="utf-8"))


def test_what_the_registry_reads() -> None:
    """By its specification of pyproject.toml. An empty Icon and PublisherId are for the publisher to fill in."""
    config: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project, comfy = config["project"], config["tool"]["comfy"]
    assert re.fullmatch(r"[a-z][a-z0-9]*([-_.][a-z0-9]+)*", project["name"]) and len(project["name"]) < 100
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"]) and project["description"]
    assert (ROOT / project["license"]["file"]).is_file() and (ROOT / project["readme"]).is_file()
    assert "Operating System :: OS Independent" in project["classifiers"]
    assert comfy["DisplayName"] == "Concept Attention" and re.fullmatch(r">=\d+\.\d+\.\d+", comfy["requires-comfyui"])
    assert set(comfy) <= {"PublisherId", "DisplayName", "Icon", "Banner", "requires-comfyui", "includes", "Models"}
    assert comfy["Icon"] == "" or re.fullmatch(r"https://.*\.(svg|png|jpg|gif)", comfy["Icon"])
    assert "dependencies" not in project, "ComfyUI brings everything: the registry must install nothing"
    assert all(line.startswith("#") for line in (ROOT / "requirements.txt").read_text().splitlines())
