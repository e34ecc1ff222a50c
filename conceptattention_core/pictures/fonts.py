"""Fonts: a concept's name, in whatever script, as something that the fonts of this machine can draw."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

SYSTEM_FONTS = (
    # Linux: Pillow looks them up by name in the system's font folders
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "FreeSans.ttf"),
    *("NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "NotoSansCJKjp-Regular.otf", "SourceHanSans-Regular.ttc"),
    *("wqy-microhei.ttc", "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf", "DroidSansFallback.ttf", "NanumGothic.ttf"),
    *("NotoSansArabic-Regular.ttf", "NotoSansHebrew-Regular.ttf", "NotoSansThai-Regular.ttf"),
    *("NotoSansDevanagari-Regular.ttf", "unifont.otf"),
    # Windows
    *("segoeui.ttf", "arial.ttf", "msyh.ttc", "YuGothM.ttc", "msgothic.ttc", "malgun.ttf", "Nirmala.ttc"),
    *("Nirmala.ttf", "LeelawUI.ttf", "seguisym.ttf"),
    # macOS
    *("Arial Unicode.ttf", "Hiragino Sans GB.ttc", "AppleSDGothicNeo.ttc", "GeezaPro.ttc", "Thonburi.ttc"),
    *("Kohinoor.ttc", "Apple Symbols.ttf"),
)
"""File names of widespread fonts that together hold most scripts. Those that a machine lacks are passed over."""

NO_CHARACTER = "\U0010fffe"
"""A code point that will never be a character: a font draws for it what it draws for everything that it lacks."""

BLANK = ("Zs", "Zl", "Zp", "Cc", "Cf")


@dataclass(frozen=True)
class Label:
    """A text and a font that has every character of it."""

    text: str
    font: Font

    def shortened(self, room: float) -> Label:
        """The label, cut with an ellipsis until it is no longer than `room` pixels, or nothing else is left."""
        text = self.text[:200]
        if text == self.text and self.font.getlength(text) <= room:
            return self
        while text and self.font.getlength(text + "…") > room:
            text = text[:-1].rstrip(" …")
        return Label(text + "…", self.font)


def make_labels(names: Sequence[str], size: int, files: Sequence[str] = SYSTEM_FONTS) -> list[Label]:
    """A label for each name, in Pillow's own font if that has all of its characters, else in one of `files`.

    size: in pixels. What no font can draw is never shown as boxes: accents are dropped ("château" -> "chateau"), other
    characters give way to an ellipsis, and a name of which nothing is left is "concept 3", by its place in `names`.
    """
    fonts: list[Font] = [ImageFont.load_default(size)]
    uncovered = [name for name in names if missing_characters(fonts[0], name)]
    for file in files:
        if not uncovered:
            break
        with suppress(OSError):  # this machine has no such font
            font = ImageFont.truetype(file, size)
            fonts.append(font)
            uncovered = [name for name in uncovered if missing_characters(font, name)]
    return [_label(name, place, fonts) for place, name in enumerate(names, start=1)]


def missing_characters(font: Font, text: str) -> set[str]:
    """The characters of `text` that `font` would draw as its box for missing ones. Blanks and controls are none."""
    box = _picture(font, NO_CHARACTER)
    visible = {character for character in text if unicodedata.category(character) not in BLANK}
    return {character for character in visible if _picture(font, character) == box}


def _picture(font: Font, character: str) -> tuple[tuple[int, int], bytes]:
    mask: Any = font.getmask(character)  # its type hides that it is a buffer
    return mask.size, bytes(mask)


def _label(name: str, place: int, fonts: Sequence[Font]) -> Label:
    lacks = [missing_characters(font, name) for font in fonts]
    lack, font = min(zip(lacks, fonts, strict=True), key=lambda pair: len(pair[0]))  # the first of equally good ones
    if not lack:
        return Label(name, font)
    plain = "".join(_without_accents(character) if character in lack else character for character in name)
    lack = missing_characters(font, plain)
    shown = "".join("…" if character in lack else character for character in plain)
    while "……" in shown:
        shown = shown.replace("……", "…")
    if not any(character.isalnum() for character in shown):
        return Label(f"concept {place}", fonts[0])
    return Label(shown, font)


def _without_accents(character: str) -> str:
    """é -> e. A character without such a decomposition stays as it is."""
    return "".join(part for part in unicodedata.normalize("NFKD", character) if not unicodedata.combining(part))
