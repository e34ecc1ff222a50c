"""Letters: what a text may hold, what can be shown of it, and when two texts are one to a reader."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if chr(code - 0xFEE0).isalnum()}
"""Latin letters and digits in the width of Chinese characters, as input methods write them, to their own."""

JOINERS = "\u200c\u200d"
"""Spelling in Persian, in Indic scripts and in emoji; nothing between Latin letters."""

NONCHARACTERS = range(0xFDD0, 0xFDF0)
"""Code points that Unicode gives to nobody."""


def clean_letters(text: str, where: str) -> str:
    """The text without what only steers how others are shown, its letters composed. where: what holds it, for errors.

    Raises ValueError for what is no text, and for halves of characters and control characters: something went wrong on
    the way here.
    """
    if not isinstance(text, str):
        raise ValueError(f"{where} takes words, not {type(text).__name__}.")
    for char in text:
        kind = unicodedata.category(char)
        broken = kind == "Cs" or char == "\ufffd"
        if broken or (kind == "Cc" and not char.isspace()):
            what = "half a character" if broken else "a control character"
            raise ValueError(f"{where} holds {what}, {code_of(char)}, in {quoted(text)}. Type it again.")
    seen = "".join(char for at, char in enumerate(text) if not _is_hidden(text, at))
    return unicodedata.normalize("NFC", seen).translate(WIDE)


def _is_hidden(text: str, at: int) -> bool:
    char = text[at]
    if char in JOINERS:
        around = text[max(0, at - 1) : at] + text[at + 1 : at + 2]
        return len(around) < 2 or any(one.isspace() or is_latin(one) for one in around)
    return unicodedata.category(char) == "Cf" or ord(char) in NONCHARACTERS


def key(name: str) -> str:
    """Equal for names that are one to a reader: case, width, composition and what cannot be seen make no other name."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    shown = (char for char in folded if unicodedata.category(char) != "Cf" and char not in "\ufe0e\ufe0f")
    return " ".join("".join(shown).split())


def printable(text: str) -> str:
    r"""A text that every terminal, log and browser can show: what they cannot, as ``\ud83d``.

    Everything that a message quotes goes through here: a lone surrogate in an error's text stops ComfyUI's queue.
    """
    hidden = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    return "".join(
        char if char in "\n\t" + JOINERS or unicodedata.category(char) not in hidden else code_of(char) for char in text
    )


def quoted(name: str) -> str:
    """A name for a message: in quotes, on one line, and not too long."""
    line = " ".join(name[:1000].split())
    return f"'{printable(line if len(line) <= 80 else f'{line[:79]}…')}'"


def code_of(char: str) -> str:
    """A character by its number, as Python writes it."""
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def is_latin(char: str) -> bool:
    """Whether this is a Latin letter, of any width and with any accent."""
    return char.isalpha() and unicodedata.name(unicodedata.normalize("NFKC", char)[0], "").startswith("LATIN")


def require_t5_words(name: str, knows_a_piece: bool) -> None:
    """Raise ValueError for a concept with a word that T5 cannot read.

    knows_a_piece: whether its tokenizer makes anything but the unknown piece of the name.
    """
    word = next(words_outside_latin(name), None if knows_a_piece else name)
    if word is not None:
        place = "" if word == name else f"{quoted(word)} in "
        raise ValueError(
            f"T5 knows no character of {place}the concept {quoted(name)}, or single ones and none of its words, so it "
            "would look the same as any other such word. It reads English; name the concept in English (or in German, "
            "French or Romanian)."
        )


def words_outside_latin(name: str) -> Iterator[str]:
    """The words of a name that are not in Latin letters, nor mathematical signs as the β of β-carotene.

    For text encoders that have learnt European languages only: of other scripts they know some letters, and no word. A
    Latin word with a letter of another script inside is one, too, however it looks.
    """
    for word in re.split(r"[\W\d_]+", _without_marks(name)):
        others = [char for char in word if not is_latin(char) and unicodedata.category(char) != "Lm"]
        if len(others) > 1 or (others and not unicodedata.name(others[0], "").startswith("GREEK")):
            yield word


def _without_marks(name: str) -> str:
    """Accents and vowel signs taken off, so that a word is its letters."""
    letters = (char for char in unicodedata.normalize("NFKD", name) if unicodedata.category(char)[0] != "M")
    return unicodedata.normalize("NFC", "".join(letters))
