#!/usr/bin/env python3
"""Run this pack from a fresh clone, with nothing but Python 3.10 to 3.13 and a package index.

    python3 dev.py demo     sample one picture on the demo model; its maps and masks go to output/demo/
    python3 dev.py test     all checks: ruff, types, eslint, and the tests up to a whole server and a browser
    python3 dev.py serve    a ComfyUI with this pack, for a person to use

The first run makes an environment in .venv and fetches a ComfyUI into .comfyui; set COMFYUI_PATH to use your own,
in which nothing is changed (the pack, its pictures and the settings live in .comfyui/base).
Standard library only. It has to parse on older Pythons too, so that they can be told what is wrong.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from tools.server.environment import BASE, PYTHON, ROOT, Failure, Line, fresh_log, prepare, reason, stop

PICTURES = ROOT / "output" / "demo"


# ---- the server -----------------------------------------------------------------------------------------------------


class Server:
    """A ComfyUI server for as long as the `with` block lasts."""

    def __init__(self, comfyui: Path, port: int | None, arguments: list[str]) -> None:
        self.port = claim_port(port)
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = fresh_log("server.log")
        self.command = [str(PYTHON), str(comfyui / "main.py"), "--disable-auto-launch", "--port", str(self.port)]
        # In memory: by default the database lies in ComfyUI's own folder and is locked by whoever else uses that.
        self.command += ["--base-directory", str(BASE), "--database-url", "sqlite:///:memory:"]
        if os.environ.get("COMFYUI_PATH"):
            self.command += ["--extra-model-paths-config", str(share_models(comfyui))]
        self.command += arguments

    def __enter__(self) -> Server:
        line = Line("Starting ComfyUI")
        if not has_gpu():
            self.command.append("--cpu")
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=BASE)
        try:
            while not self.answers():
                if time.monotonic() - line.started > 600:
                    raise Failure("ComfyUI did not answer within ten minutes", self.log)
                time.sleep(0.25)
                line.update()
            line.end(self.url)
            if not self.get("/object_info/ConceptAttentionApply"):
                why = reason(self.log, "cannot import|comfy_entrypoint")
                raise Failure(f"ComfyUI could not load the pack: {why}", self.log)
        except BaseException:
            stop(self.process)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        stop(self.process)

    def answers(self) -> bool:
        self.check_alive()
        try:
            return bool(self.get("/system_stats"))
        except OSError:
            return False

    def check_alive(self, wait: float = 0) -> None:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(wait)
            raise Failure(f"the ComfyUI server died (exit {self.process.returncode}): {reason(self.log)}", self.log)

    def get(self, path: str) -> Any:
        """The server's JSON at a path. No proxy has business between us and it."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.url + path, timeout=60) as answer:
            return json.load(answer)


def claim_port(port: int | None) -> int:
    """The wished port if it is free, or any free one."""
    with socket.socket() as probe:
        if os.name != "nt":  # there this option would allow a port in use
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port or 0))
        except (OSError, OverflowError) as error:
            raise Failure(f"port {port} cannot be used, choose another with --port: {error}") from error
        return probe.getsockname()[1]


def has_gpu() -> bool:
    """Whether PyTorch can compute on anything but the processor."""
    check = "import sys, torch; sys.exit(not (torch.accelerator.is_available()))"
    return subprocess.run([str(PYTHON), "-c", check], stderr=subprocess.DEVNULL).returncode == 0


def share_models(comfyui: Path) -> Path:
    """Let the server see the models of the user's ComfyUI, which the base directory would hide."""
    kinds = sorted(folder.name for folder in (comfyui / "models").glob("*") if folder.is_dir())
    paths = {"base_path": str(comfyui / "models"), **{kind: kind for kind in kinds}}
    config = BASE / "shared_models.yaml"
    config.write_text(json.dumps({"comfyui": paths}), encoding="utf-8")  # JSON is YAML
    return config


# ---- the commands ---------------------------------------------------------------------------------------------------


def demo(options: argparse.Namespace, extra: list[str]) -> int:
    """Run the demo workflow on a server of its own; the pictures go to output/demo/."""
    if not options.workflow.is_file():
        raise Failure(f"there is no workflow {options.workflow}")
    comfyui = prepare()
    shutil.rmtree(PICTURES, ignore_errors=True)
    command = ["tools.server.run_workflow", options.workflow.resolve(), "--output", PICTURES]
    command += ["--saved", BASE / "output"]
    # Nodes that call remote services take a third of the start, and cannot be in the demo.
    with Server(comfyui, options.port, ["--disable-api-nodes", *extra]) as server, tempfile.TemporaryFile() as errors:
        if run_module([*command, "--url", server.url], stderr=errors):
            server.check_alive(wait=2)
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines()
            raise Failure(said[-1] if said else "the workflow failed", server.log)
    print(NEXT, flush=True)
    return 0


def serve(options: argparse.Namespace, extra: list[str]) -> int:
    """Keep a server running until Ctrl-C."""
    comfyui = prepare()
    with Server(comfyui, options.port, extra) as server:
        print(f"\nComfyUI with Concept Attention: {server.url}\nLog: {server.log}\nCtrl-C stops it.", flush=True)
        while True:
            server.check_alive()
            time.sleep(1)


def test(options: argparse.Namespace, extra: list[str]) -> int:
    """Run every check, or only pytest when there are arguments for it. pytest's closing line comes last."""
    env = {**os.environ, "COMFYUI_PATH": str(prepare())}
    browser = find_browser()
    if browser:
        env.setdefault("CHROMIUM_PATH", browser)
    failed = [] if extra else [name for name, command in CHECKS.items() if run_module(command, env=env)]
    if not browser and os.environ.get("CI"):
        failed.append("browser (there is none, and in CI its tests must run)")
    if failed:
        print(f"FAILED before the tests: {', '.join(failed)}", flush=True)
    suites = [f"tests/{name}" for name in SUITES if (ROOT / "tests" / name).is_dir()]
    chosen = any((ROOT / argument.partition("::")[0]).exists() for argument in extra if not argument.startswith("-"))
    pytest = ["pytest", "--import-mode=importlib", "--confcutdir=tests"]
    if not chosen:
        workers = min(os.cpu_count() or 1, MOST_WORKERS)
        pytest += [f"--numprocesses={workers}", "--dist=loadgroup", "--no-loadscope-reorder", *suites]
        env.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
    pytest += extra
    return run_module(pytest, env=env) or bool(failed)


NEXT = """
picture.png is what was made, overlay.png where the concepts are, mask.png one of them, ready for inpainting.
Next: `python3 dev.py serve` opens ComfyUI with this pack. Take Templates, ComfyUI-ConceptAttention, A demo; press Run:
there you point at things, move the threshold and paint. On your own models: README.md, Install."""

CHECKS = {
    "ruff": ["ruff", "check"],
    "types": ["basedpyright", "--pythonpath", PYTHON],
    "eslint": ["tools.lint"],
}
# What fails fast comes first. The browser comes last: its event loop stays, and ComfyUI in a process wants its own.
SUITES = ("core", "diffusers", "comfyui", "server", "browser")
MOST_WORKERS = 4  # each has a ComfyUI of its own in memory


def run_module(command: list[Any], **options: Any) -> int:
    """Run a module of the environment in the foreground. After Ctrl-C it has time to stop what it started."""
    parts = [str(part) for part in (PYTHON, "-m", *command)]
    process = subprocess.Popen(parts, cwd=ROOT, **options)
    try:
        return process.wait()
    except KeyboardInterrupt as interrupt:
        if isinstance(interrupt, Terminated):  # unlike Ctrl-C, that reached this process alone
            process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        raise
    finally:
        stop(process)


def find_browser() -> str | None:
    """A Chromium for the browser tests. None leaves them to Playwright's own, if it has one."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "msedge")
    places = (
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        r"C:\Program Files\Google\Chrome\Application\chrome.exe",
        r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
    )
    return next((found for found in map(shutil.which, (*names, *places)) if found), None)


# ---- the command line -----------------------------------------------------------------------------------------------


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="demo | test | serve")
    for run, unknown in ((demo, "ComfyUI's main.py"), (test, "pytest"), (serve, "ComfyUI's main.py")):
        text = f"{run.__doc__} Unknown arguments go to {unknown}."
        command = commands.add_parser(run.__name__, help=run.__doc__, description=text, allow_abbrev=False)
        command.set_defaults(run=run)
        if run is not test:
            port, shown = (8188, "8188") if run is serve else (None, "any free one")
            command.add_argument("--port", type=int, default=port, help=f"default: {shown}")
        if run is demo:
            default = ROOT / "workflows" / "api" / "demo.json"
            command.add_argument("--workflow", type=Path, default=default, help="another workflow in API format")
    return parser.parse_known_args(arguments)


class Terminated(KeyboardInterrupt):
    """SIGTERM: the same as Ctrl-C, so that the server is stopped then, too."""


def terminate(*_: object) -> NoReturn:
    raise Terminated


def main(arguments: list[str]) -> int:
    """Every expected failure ends here, as one line and a non-zero exit status."""
    signal.signal(signal.SIGTERM, terminate)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # logs may hold what a Windows console cannot show
    try:
        if not (3, 10) <= sys.version_info[:2] <= (3, 13):
            raise Failure(f"Python 3.10 to 3.13 is needed, and this is {sys.version.split()[0]} ({sys.executable})")
        options, extra = parse(arguments)
        return options.run(options, extra)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except Failure as failure:
        message = str(failure)
    except (OSError, subprocess.SubprocessError) as error:  # a full disk, a file in use, a lost connection
        message = f"{type(error).__name__}: {error}"
    print(f"\ndev.py: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
