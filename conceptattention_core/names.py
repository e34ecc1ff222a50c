"""Names of concepts, as people write and paste them: one reader for nodes, command line, scripts and evaluation.

A text becomes names in this order: what is no character is refused, what cannot be seen is taken out, the syntax of
prompts is refused with the plain spelling, the text is cut at its separators, and names that differ in case alone are
one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from .letters import NONCHARACTERS, clean_letters, key, printable, quoted

MAX_LENGTH = 200
"""Letters in a name: more is a caption or a pasted file, and no text encoder makes one thing of it."""

MAX_TEXT = 20_000
"""Letters in a text of names."""

LINES = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
COMMAS = ",;|，；｜､、。｡﹐﹑﹔︐︑︒︔\u037e،؛۔߸՝፣፤።᠂᠃᠈।"
"""Commas and semicolons of every script, its full stops where they stand in no word, and the bar between choices."""

SEPARATOR = re.compile(rf"[{re.escape(LINES + COMMAS)}]|(?<=\s)[·•・･‧∙ㆍ](?=\s)")

ABBREVIATION = re.compile(
    "(?i)ste?|mt|dr|mrs?|ms|mx|jr|sr|prof|rev|hon|gov|pres|sen|sgt|cpl|capt|cmdr|lt|col|gen|maj|adm|ft|bros|co|corp|inc"
    "|ltd|nos?|nr|vol|fig|ca|vs|etc|approx|dept|ave|blvd|rd"
)
"""Words whose full stop ends no name: St. Bernard."""

BULLET = re.compile(r"(?:[-*+•·‣◦–—]\s+|\d{1,2}[.)]\s+(?=\D))+")
"""What stands before the entries of a list that was pasted."""

ESCAPABLE = "()[]{}<>|,;._"
"""What a backslash makes an ordinary character, in prompts and here."""

END = rf"(?=$|[{re.escape(LINES + COMMAS)}])"
WEIGHT = re.compile(rf":(?P<space>\s*)(?P<number>[-+]?(?:\d+(?:\.\d*)?|\.\d+))\s*(?:(?P<bracket>[)\]])|{END})")
"""A number behind a colon, before a bracket or the name's end."""

SYNTAX = (
    (r"[{]([^{}]*[|][^{}]*)[}]", "a prompt's choice. Name each thing: {}."),
    (r"\[([^\[\]]*[|][^\[\]]*)\]", "a prompt's choice. Name each thing: {}."),
    (r"(?i)(?<!\w)embedding\s*:\s*\S+", "an embedding. Concepts are words: name what it shows."),
    (r"(?i)<\s*(?:lora|lyco|hypernet)\s*:[^<>]*>", "a LoRA. Load it with a node; concepts are words."),
    (r"(?<!\w)__[^\s_]\S*?__(?!\w)", "a prompt's wildcard. Name the thing itself."),
)
"""Prompt syntax that is no name: how it looks, and what it is."""


def split_names(text: str, field: str = "") -> list[str]:
    """The names in a text: one per line, or between separators. Order kept; blanks and repetitions dropped.

    Separators are commas, semicolons and bars of all scripts, and full stops as prompts of grounding models have them,
    before a space or at the end ("a cat . a sofa ."), but not behind an abbreviation (St. Bernard) and not inside a
    word (3.5). A backslash before a sign makes it a part of the name. field: the input that holds the text, for errors.
    Raises ValueError for what is no text, for prompt syntax, and for names of more than 200 letters.
    """
    found: list[str] = []
    for part in SEPARATOR.split(_guarded(text, field)):
        part = part.strip()
        bullet = BULLET.match(part)
        found += _sentences(part[bullet.end() :] if bullet else part)
    return distinct(_finished(name, field) for name in found)


def clean_name(name: str, field: str = "") -> str:
    """One name as `split_names` would write it, whatever separators it holds. Raises ValueError as that does."""
    words = _guarded(name, field).split()
    return _finished(" ".join([*words[:-1], *map(_without_stop, words[-1:])]), field)


def clean_names(names: Iterable[str], field: str = "") -> list[str]:
    """Names of a list, each by `clean_name`: order kept, blanks and repetitions dropped."""
    return distinct(clean_name(name, field) for name in names)


def distinct(names: Iterable[str]) -> list[str]:
    """Names in order, without blanks and without those that differ from an earlier one in case alone."""
    first: dict[str, str] = {}
    for name in names:
        if name:
            first.setdefault(key(name), name)
    return list(first.values())


def plain_text(text: str, field: str = "") -> str:
    """A text of several names with signs between them, cleaned and without escapes, not cut."""
    return _unguarded(_guarded(text, field))


def _guarded(text: str, field: str) -> str:
    """The text cleaned, its escaped signs hidden from the syntax. Raises ValueError for what is no name."""
    where = f"`{field}`" if field else "A concept"
    if isinstance(text, str) and len(text) > MAX_TEXT:
        raise ValueError(f"{where} holds {len(text)} letters; at most {MAX_TEXT} are read. Write names of a few words.")
    hidden = re.sub(
        rf"\\([{re.escape(ESCAPABLE)}])",
        lambda match: chr(NONCHARACTERS[ESCAPABLE.index(match[1])]),
        clean_letters(text, where),
    )
    _refuse_prompt_syntax(unicodedata.normalize("NFKC", hidden), where)
    return hidden


def _unguarded(text: str) -> str:
    return "".join(ESCAPABLE[ord(char) - NONCHARACTERS[0]] if ord(char) in NONCHARACTERS else char for char in text)


def _refuse_prompt_syntax(text: str, where: str) -> None:
    """Raise ValueError, with the plain spelling, where a text is written as prompts are."""
    for match in WEIGHT.finditer(text):
        before = re.split(rf"[(\[{re.escape(LINES + COMMAS)}]", text[: match.start()])[-1].strip(")] ")
        a_ratio = before[-1:].isdigit() and "." not in match["number"]  # 16:9
        a_title = bool(match["space"]) and not match["bracket"]  # Alien: 3
        if before and not a_ratio and not a_title:
            found = quoted(_unguarded(before + ":" + match["number"]))
            words = _spelling(before.split(":"))
            raise ValueError(f"{where} holds {found}, which is a prompt's weight; concepts have none. Write: {words}.")
    for pattern, what in SYNTAX:
        if match := re.search(pattern, text):
            found, words = quoted(_unguarded(match[0])), _spelling("".join(match.groups()).split("|"))
            raise ValueError(f"{where} holds {found}, which is {what.format(words)}")


def _spelling(words: Iterable[str]) -> str:
    """Names as they should have been written, for a message."""
    return printable(_unguarded(", ".join(" ".join(word.split()) for word in words if word.strip()))[:80])


def _sentences(text: str) -> list[str]:
    """Cut at full stops behind whole words, as lists for grounding models have them."""
    parts: list[list[str]] = [[]]
    for word in text.split():
        bare = _without_stop(word)
        parts[-1] += [bare] if bare else []
        if bare != word:
            parts.append([])
    return [" ".join(part) for part in parts if part]


def _without_stop(word: str) -> str:
    """A word without the full stop that ends it, unless that is a part of it: Jr., D.C., J."""
    bare = word.rstrip(".")
    letters = bare.strip("()[]\"'")
    initial = len(letters) == 1 and letters.isalpha()
    return word if "." in letters or initial or ABBREVIATION.fullmatch(letters) else bare


def _finished(name: str, field: str) -> str:
    name = " ".join(_unguarded(name).split())
    if len(name) > MAX_LENGTH:
        where = f" in `{field}`" if field else ""
        raise ValueError(
            f"A name{where} has {len(name)} letters, and at most {MAX_LENGTH} make one: {quoted(name)}. Write a few "
            "words, with commas or line breaks between names."
        )
    return name
