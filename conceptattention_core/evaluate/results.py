"""Results on disk: one JSON line a picture as soon as it is done, so that a killed run goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from .metrics import Counts, Totals


class SettingsMismatch(ValueError):
    """The folder holds results of a run that asked something else."""


class ResultFolder:
    """A folder with a file `pictures-<process>.jsonl` for each process that ever wrote to it.

    The first line of a file has the settings of its run; every other one is about a picture: its counts by method, or
    the error that it ended with. What a kill left of a last line is not counted and is overwritten; any other damage is
    an error that names the line, before a picture is measured.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """settings: plain data; what else is in the folder must have the same.

        Raises SettingsMismatch, and ValueError on a damaged line.
        """
        self.folder = folder
        self.settings = json.loads(json.dumps(settings))
        for path in self._files():
            self._check(path)
        for _ in self._lines():
            pass

    def done(self) -> set[str]:
        """Keys of the pictures that have counts; those that failed are tried again."""
        return {line["picture"] for line in self._lines() if "counts" in line}

    def writer(self, process: int) -> ResultWriter:
        """Opens this process's own file for appending."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return ResultWriter(self.folder / f"pictures-{process}.jsonl", self.settings)

    def totals(self, keys: Collection[str], methods: int) -> list[Totals]:
        """The measures of each method over the pictures in `keys`, read line by line, each picture once."""
        sums = [Totals() for _ in range(methods)]
        left = set(keys)
        for line in self._lines():
            if "counts" in line and line["picture"] in left:
                left.remove(line["picture"])
                for total, counts in zip(sums, line["counts"], strict=True):
                    total.add(Counts.from_json(counts))
        return sums

    def failures(self, keys: Collection[str]) -> dict[str, str]:
        """Key -> error of the pictures in `keys` that have failed and have no counts, in their order."""
        errors = {line["picture"]: line["error"] for line in self._lines() if "error" in line}
        done = self.done()
        return {key: errors[key] for key in keys if key in errors and key not in done}

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("pictures-*.jsonl"))

    def _lines(self) -> Iterator[dict[str, Any]]:
        for path in self._files():
            yield from list_whole_lines(path, skip=1)

    def _check(self, path: Path) -> None:
        header = next(iter(list_whole_lines(path)), None)
        if header is None:
            return  # killed before its first line was written
        there = header["settings"]
        names = sorted({*there, *self.settings})
        other = [name for name in names if there.get(name) != self.settings.get(name)]
        if other:
            name = other[0]
            raise SettingsMismatch(
                f"{self.folder} holds results of other settings ({name}: {_short(there.get(name))} there, "
                f"{_short(self.settings.get(name))} now). Give another folder with --out, or delete that one."
            )


class ResultWriter:
    """Appends to one file; every line is on its way to the disk when `add` returns."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        length = sum(len(line) for line in _complete(path))
        self._file = path.open("ab")
        self._file.truncate(length)
        if length == 0:
            self._write({"settings": settings})

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, key: str, counts: Sequence[Counts]) -> None:
        self._write({"picture": key, "counts": [one.to_json() for one in counts]})

    def add_failure(self, key: str, error: str) -> None:
        self._write({"picture": key, "error": error})

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self._file.flush()


def list_whole_lines(path: Path, skip: int = 0) -> Iterator[dict[str, Any]]:
    """The lines of a file as data, but for the first `skip` and one that a kill has cut off."""
    for index, line in enumerate(_complete(path)):
        if index >= skip:
            try:
                yield _require_result(json.loads(line), first=index == 0)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                raise ValueError(
                    f"Line {index + 1} of {path} is damaged. Take it out, and its picture is measured again; or give "
                    "another folder with --out."
                ) from error


def _require_result(line: dict[str, Any], first: bool) -> dict[str, Any]:
    """What a line holds, if it is one that `ResultWriter` may have written. Raises many errors otherwise."""
    if first:
        line["settings"].keys()
    elif not isinstance(line["picture"], str) or ("counts" in line) == isinstance(line.get("error"), str):
        raise ValueError("neither counts nor an error")
    for counts in line.get("counts", ()):
        Counts.from_json(counts)
    return line


def _complete(path: Path) -> Iterator[bytes]:
    if path.is_file():
        with path.open("rb") as file:
            yield from (line for line in file if line.endswith(b"\n"))


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
