"""Concepts as users write them, and the one vector that stands for each."""

from __future__ import annotations

import pytest
import torch

from conceptattention_core.concepts import find_concept, parse_concepts, pool_tokens, split_names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("house, palm tree\nsky", ["house", "palm tree", "sky"]),
        (" , house ,,\r\n\t sky\n\n", ["house", "sky"]),
        ("sky, house, sky , house", ["sky", "house"]),
        ("Sky, sky", ["Sky"]),
        ("palm   tree, palm\ttree", ["palm tree"]),
        ('the "old" one\'s (tree) [x] {y}', ['the "old" one\'s (tree) [x] {y}']),
        ("日本, 🐉", ["日本", "🐉"]),
        ("", []),
    ],
)
def test_names_keep_their_order(text: str, names: list[str]) -> None:
    assert split_names(text) == names


def test_background_comes_last_and_never_competes_with_itself() -> None:
    assert parse_concepts("house, sky", "grass, sky, grass") == (("house", "sky", "grass"), 1)
    assert parse_concepts("house, sky", "") == (("house", "sky"), 0)
    assert len(parse_concepts(",".join(map(str, range(60))), "a,b,c,d")[0]) == 64


@pytest.mark.parametrize(
    ("concepts", "background", "message"),
    [
        ("", "background", "No concept is named"),
        ("house", "", "'house' has nothing to compete with"),
        ("house", " house ", "'house' has nothing to compete with"),
        (",".join(map(str, range(62))), "a,b,c", "65 concepts are named; at most 64"),
    ],
)
def test_what_cannot_be_asked(concepts: str, background: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_concepts(concepts, background)


def test_a_concept_is_found_by_name() -> None:
    names = ("Palm Tree", "palm tree", "Straße", "sky")
    assert [find_concept(name, names) for name in ("", " palm   tree ", "Palm Tree", "STRASSE", "SKY")] == [
        0,
        1,
        0,
        2,
        3,
    ]
    with pytest.raises(
        ValueError, match=r"no concept 'plam tree'. Did you mean 'Palm Tree'.*The concepts are: Palm Tree,"
    ):
        find_concept("plam tree", names)
    with pytest.raises(ValueError, match=r"no concept 'xylophone'. The concepts are"):
        find_concept("xylophone", names)


def test_pooling() -> None:
    tokens = torch.tensor([[1.0, 2.0], [3.0, 6.0], [100.0, 100.0], [5.0, 7.0]], dtype=torch.bfloat16)
    assert pool_tokens(tokens, [1, 3], "mean").tolist() == [4.0, 6.5]
    assert pool_tokens(tokens, [1, 3], "first").tolist() == [3.0, 6.0]
    assert pool_tokens(tokens, [1, 3], "last").tolist() == [5.0, 7.0]
    assert pool_tokens(tokens, [1], "mean").dtype == torch.float32
