"""Words for a scene: natural phrases, bare lists, single words, and "background" for sky and ground."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

STYLES = ("phrase", "list", "list with background", "phrase with background", "one word", "nothing")
WEIGHTS = (0.24, 0.46, 0.08, 0.08, 0.08, 0.06)


def caption(rng: np.random.Generator, objects: Sequence[str], grounds: Sequence[str], sky: str) -> str:
    """A random caption that names what is there (one word or nothing at all: only part of it).

    grounds and sky may be empty where a picture shows none.
    """
    objects = [objects[index] for index in rng.permutation(len(objects))]
    setting = [*grounds, *([sky] if sky else [])]
    style = rng.choice(STYLES, p=WEIGHTS)
    if style == "nothing":
        return ""
    if style == "one word":
        words = [*objects, *objects, *setting]
        return words[rng.integers(len(words))]
    if style == "list":
        words = [*objects, *setting]
        comma = ", " if rng.random() < 0.5 else " "
        return comma.join(words[index] for index in rng.permutation(len(words)))
    if style == "list with background":
        return ", ".join([*objects, "background"])
    return _sentence(rng, _join(_with_article(objects)), grounds, sky, style == "phrase with background")


def _sentence(rng: np.random.Generator, subject: str, grounds: Sequence[str], sky: str, background: bool) -> str:
    ground = " and ".join(f"the {name}" for name in grounds)
    setting = [*grounds, *([sky] if sky else [])]
    if background and subject and setting:
        text = f"{subject}, {_join(setting)} in the background"
    else:
        by = "by" if "sea" in grounds and rng.random() < 0.5 else "on"
        where = f"{by} {ground}" if subject and ground else ground
        at_sunset = sky == "sunset" and rng.random() < 0.5
        when = "at sunset" if at_sunset else f"under {_with_sky_article(sky)}" if sky else ""
        text = " ".join(part for part in (subject, where, when) if part)
    if rng.random() < 0.15:
        text = text[:1].upper() + text[1:]
    return text + "." if rng.random() < 0.15 else text


def _with_sky_article(sky: str) -> str:
    return "the sky" if sky == "sky" else f"a {sky}"


def _with_article(names: Sequence[str]) -> list[str]:
    return [f"{'the' if name in ('sun', 'moon') else 'a'} {name}" for name in names]


def _join(words: Sequence[str]) -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
