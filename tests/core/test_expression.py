"""Expressions: names that hold the operators' own signs, and what sums and differences of shares mean."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from conceptattention_core.expression import Expression, combine_shares, parse_expression, parse_list, winner_mask
from conceptattention_core.masks.methods import argmax_mask

NAMES = ("t-shirt", "t", "shirt", "tree", "palm tree", "C++", "tree house", "house", "salt + pepper", "-5 °C", "Tree")


@pytest.mark.parametrize(
    ("text", "plus", "minus"),
    [
        ("", ["t-shirt"], []),
        ("t-shirt", ["t-shirt"], []),
        ("t - shirt", ["t"], ["shirt"]),
        ("house-t-shirt+t", ["house", "t"], ["t-shirt"]),
        (" tree +\nhouse - palm  tree ", ["tree", "house"], ["palm tree"]),
        ("Tree+HOUSE", ["Tree", "house"], []),
        ("tree house", ["tree house"], []),
        ("tree-house", ["tree"], ["house"]),
        ("c+++tree", ["C++", "tree"], []),
        ("salt + pepper - t", ["salt + pepper"], ["t"]),
        ("-5 °C - t - t", ["-5 °C"], ["t"]),
        ("tree --5 °C", ["tree"], ["-5 °C"]),
    ],
)
def test_the_longest_known_name_wins(text: str, plus: list[str], minus: list[str]) -> None:
    expression = parse_expression(text, NAMES)
    assert [NAMES[index] for index in expression.plus] == plus
    assert [NAMES[index] for index in expression.minus] == minus


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tree + hause - t", "There is no concept 'hause'. Did you mean 'house'"),
        ("tree-hause", "There is no concept 'hause'. Did you mean 'house'"),
        ("hause + tree", "There is no concept 'hause'. Did you mean 'house'"),
        ("t-shiirt-house", "There is no concept 'shiirt-house'"),
        ("tree +", '"tree \\+": a name is missing.*tree \\+ house - door'),
        ("tree + + house", "a name is missing"),
        ("- tree", "a name is missing"),
        ("+", "a name is missing"),
    ],
)
def test_what_is_not_understood_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_expression(text, NAMES)


def signs(*expression: tuple[int, ...], count: int = 4) -> torch.Tensor:
    return Expression(*expression).signs(count)[None]


def test_a_sum_is_any_of_them_and_a_difference_a_lead() -> None:
    shares = torch.tensor([[0.3, 0.1], [0.4, 0.1], [0.2, 0.5], [0.1, 0.3]]).view(1, 4, 1, 2)
    assert_close(combine_shares(shares, signs((0, 1))).flatten(), torch.tensor([0.7, 0.2]))
    assert_close(combine_shares(shares, signs((0, 1), (2,))).flatten(), torch.tensor([0.5, 0.0]))
    assert not combine_shares(shares, signs((0,), (0,))).any()
    everything = combine_shares(shares, signs((0, 1, 2, 3)))
    assert everything.max() <= 1
    assert_close(everything, torch.ones(1, 1, 2))


def test_the_winners_of_a_sum_are_the_union_of_its_winners() -> None:
    shares = torch.rand(1, 4, 6, 7, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    one, two = winner_mask(shares, signs((0,))), winner_mask(shares, signs((2,)))
    assert torch.equal(one, argmax_mask(shares, 0)) and torch.equal(two, argmax_mask(shares, 2))
    assert torch.equal(winner_mask(shares, signs((0, 2))), torch.maximum(one, two))
    assert torch.equal(winner_mask(shares, signs((0, 2), (2,))), one)
    assert torch.equal(winner_mask(shares, signs((0,), (2,))), one)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", []),
        (" , ", []),
        ("tree, house", [((0,), ()), ((1,), ())]),
        ("tree + house - door, sky、tree", [((0, 1), (2,)), ((3,), ()), ((0,), ())]),
        ("salt, pepper", [((4,), ())]),
        ("salt, pepper, sky", [((4,), ()), ((3,), ())]),
        ("sky，SALT, Pepper + C++ - t-shirt；sky", [((3,), ()), ((4, 5), (6,))]),
        ("house,", [((1,), ())]),
    ],
)
def test_a_list_of_expressions(text: str, wanted: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> None:
    """Names that hold signs themselves are known by them, as in one expression."""
    names = ("tree", "house", "door", "sky", "salt, pepper", "C++", "t-shirt")
    assert parse_list(text, names) == [Expression(*one) for one in wanted]


@pytest.mark.parametrize("text", ["tree +", "tree, + ", "tree - - house", "tree + hause", "+"])
def test_a_list_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"a name is missing|There is no concept"):
        parse_list(text, ("tree", "house"))
