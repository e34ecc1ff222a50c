"""One reader of names: what people type and paste, in every script, and messages that can always be shown."""

from __future__ import annotations

import json
import sys
import time
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conceptattention_core.concepts import find_concept, join_concepts, parse_concepts
from conceptattention_core.expression import parse_expression
from conceptattention_core.letters import key, printable, quoted, require_t5_words, words_outside_latin
from conceptattention_core.names import clean_name, split_names

few = settings(deadline=None, max_examples=300, derandomize=True)


@pytest.mark.parametrize(
    "text",
    [
        "boat，sea，sky",
        "boat、sea、sky",
        "boat；sea；sky。",
        "boat､sea｡sky",
        "boat; sea; sky",
        "boat، sea؛ sky",
        "boat\r\nsea\rsky",
        "boat\u2028sea\u2029sky\x85",
        "boat\vsea\fsky",
        "boat . sea . sky .",
        "boat. sea. sky.",
        "boat | sea ｜ sky",
        "boat · sea ・ sky",
        "- boat\n- sea\n- sky",
        "* boat\n• sea\n1. sky",
        "boat,, ,sea,\n\n;sky;",
        "boat,\u3000sea,\xa0sky",
        "\ufeffboat, se\u200ba, \u202bsky\u202c",
        "ｂｏａｔ，sea，sky",
        "boat, Boat, sea, SEA, sky, ｓｋｙ",
    ],
)
def test_separators(text: str) -> None:
    assert split_names(text) == ["boat", "sea", "sky"]


@pytest.mark.parametrize(
    "name",
    [
        "St. Bernard",
        "J. R. R. Tolkien",
        "U.S. flag",
        "Martin Luther King Jr.",
        "3.5 mm jack",
        "v1.5",
        "16:9 screen",
        "ratio 16:9",
        "Alien: 3",
        "t-shirt",
        "C++",
        "-5 °C",
        "salt + pepper",
        "col·lecció",
        "スター・ウォーズ",
        'the "old" one\'s (tree) [x] {y}',
        "100% $5 #tag @home",
        "back\\slash",
        "👩‍🚀",
        "☀️",
        "می‌خواهم",
        "क्ष",
        "(boat)",
        "((boat))",
        "rock'n'roll",
    ],
)
def test_what_is_one_name_stays_as_it_is(name: str) -> None:
    assert split_names(name) == [name] and clean_name(name) == name and clean_name(f" {name}\u200b ") == name


def test_escapes_make_ordinary_characters() -> None:
    assert split_names(r"boat \(ship\), a\, b, \(x:1.2\), \{a\|b\}") == ["boat (ship)", "a, b", "(x:1.2)", "{a|b}"]
    names, _ = parse_concepts(r"boat \(ship\), \(x:1.2\), a\, b", "")
    assert names == ("boat (ship)", "(x:1.2)", "a, b")
    assert [find_concept(asked, names) for asked in (r"Boat \(ship\)", "boat (ship)", "(x:1.2)", "a, b")] == [
        0,
        0,
        1,
        2,
    ]
    assert parse_expression(r"boat \(ship\) - a, b", names).minus == (2,)
    assert [parse_expression(name, names).plus for name in names] == [(0,), (1,), (2,)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(boat:1.3), sea", "'boat:1.3', which is a prompt's weight; concepts have none. Write: boat."),
        ("sea, ((old boat) : .5)", "'old boat:.5', which is a prompt's weight; concepts have none. Write: old boat."),
        ("（boat：1.3）", "Write: boat."),
        ("boat:1.3, sea", "Write: boat."),
        ("[boat:1.2]", "Write: boat."),
        ("(747:1.1)", "Write: 747."),
        ("[boat:sea:0.5]", "Write: boat, sea."),
        ("a {sea|night sky}", "'{sea|night sky}', which is a prompt's choice. Name each thing: sea, night sky."),
        ("｛sea｜sky｝", "Name each thing: sea, sky."),
        ("[sea|sky]", "Name each thing: sea, sky."),
        ("sea, embedding:x", "'embedding:x', which is an embedding."),
        ("Embedding: my_style.pt", "which is an embedding."),
        ("sea <lora:boats:0.8>", "'<lora:boats:0.8>', which is a LoRA."),
        ("__animal__", "which is a prompt's wildcard."),
        ("x\ud83d", r"half a character, \ud83d, in 'x\ud83d'."),
        ("sea, caf\udce9", r"half a character, \udce9,"),
        ("caf\ufffd", "half a character, "),
        ("a\x00b", r"a control character, \x00, in 'a\x00b'."),
        ("\x1b[31mred", r"a control character, \x1b,"),
        ("x" * 201, "has 201 letters, and at most 200 make one"),
        ("x," * 20_000, "holds 40000 letters; at most 20000 are read."),
        (7, "takes words, not int."),
    ],
)
def test_what_is_no_name(text: str, message: str) -> None:
    for read in (split_names, lambda text, field: parse_concepts("house", [text]), clean_name):
        with pytest.raises(ValueError) as raised:
            read(text, "concepts")
        str(raised.value).encode()
        if read is split_names:
            assert message in str(raised.value) and "`concepts`" in str(raised.value)


def test_case_makes_no_other_name() -> None:
    assert parse_concepts("Sky, grass", "sky, Background") == (("Sky", "grass", "Background"), 1)
    assert parse_concepts(["sky", "Sky "], "BACKGROUND, background") == (("sky", "BACKGROUND"), 1)
    assert parse_concepts("cafe\u0301, café", "x")[0] == ("café", "x")
    assert join_concepts(["Sky"], ["sky", "x"]) == (("Sky", "x"), 1)
    names = ("Sky", "grass", "background")
    assert [find_concept(asked, names) for asked in ("sky", "ＳＫＹ", "sky.", "s\u200bky", "GRASS")] == [0, 0, 0, 0, 1]
    assert find_concept("sky", ("Sky", "sky")) == 1, "maps of earlier days may have both"


def test_several_names_where_one_goes() -> None:
    names = ("tree", "house", "t-shirt", "background")
    for asked in ("tree + house", "tree, house", "tree-house", "Tree；HOUSE", "tree - t-shirt"):
        with pytest.raises(ValueError, match=r"names several concepts, and here goes one"):
            find_concept(asked, names)
    with pytest.raises(ValueError, match="There is no concept 'tree \\+ hause'"):
        find_concept("tree + hause", names)
    for asked in ("tree, house", "tree、house", "tree; house,", "tree + house"):
        assert parse_expression(asked, names).plus == (0, 1)
    assert parse_expression("tree, t-shirt - house", names).minus == (1,)


@few
@given(st.text(st.characters(codec=None), max_size=30))
@example("\ud83d\ude00")
@example("(" * 300)
def test_any_text_is_names_or_one_error_that_can_be_shown(text: str) -> None:
    try:
        names = split_names(text, "concepts")
    except ValueError as error:
        message = str(error)
    else:
        message = ", ".join(map(quoted, names))
        for name in names:
            assert name == " ".join(name.split()) and 0 < len(name) <= 200
            assert not {unicodedata.category(char) for char in name} & {"Cc", "Cs"}
        assert len({key(name) for name in names}) == len(names)
        if names:
            assert find_concept(names[-1], names) == len(names) - 1
            asked = ("", "no such name", text)
            for one in asked:
                try:
                    find_concept(one, names)
                except ValueError as error:
                    str(error).encode()
    message.encode()
    assert json.loads(json.dumps(message)) == message and printable(message) == message


def test_a_long_text_takes_no_time() -> None:
    started = time.monotonic()
    for part in ("(", ":", "_", "{|", "[|", " ", "<lora:", "embedding ", ". ", "a:1", "\\", "\u200d", "-", "__a"):
        for read in (split_names, clean_name, lambda text: find_concept(text, ["sky", "sea"])):
            try:
                read(part * (20_000 // len(part)))
            except ValueError as error:
                assert len(str(error)) < 500
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    "name",
    [
        "café",
        "zèbre",
        "naïve",
        "747",
        "A380",
        "NASA",
        "BMW",
        "C++",
        "Fußgänger über Çédille",
        "łódź",
        "jalapeño",
        "β-carotene",
        "5 μm",
        "Ω",
        "x² + y²",
        "№ 5",
        "Å",
        "emoji 🐉 dragon",
        "ﬁsh",
        "nhà cây",
        "Αlpha",
    ],
)
def test_latin_words_and_numbers_are_read(name: str) -> None:
    require_t5_words(name, knows_a_piece=True)


@pytest.mark.parametrize(
    "name",
    [
        "дерево",
        "дом",
        "船",
        "山水",
        "木",
        "집",
        "하늘",
        "そら",
        "δέντρο",
        "شجرة",
        "עץ",
        "पेड़",
        "ต้นไม้",
        "красный house",
        "bоat",
        "ծառ",
        "ხე",
        "船 boat",
    ],
)
def test_words_of_other_scripts_are_not(name: str) -> None:
    assert list(words_outside_latin(name))
    with pytest.raises(ValueError, match=rf"T5 knows no character of.*'{name}'.*in English"):
        require_t5_words(name, knows_a_piece=True)


def test_every_character_can_be_shown() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    shown = printable(everything)
    shown.encode()
    assert (
        printable(shown) == shown
        and "\u202e" not in shown
        and "\\u202e" in shown
        and "é船🐉\n\t" in printable("é船🐉\n\t")
    )
