"""Whatever a node is given, typed, linked or from an API file: the right result, or one error that names the input."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .graphs import apply, ksampler, prompt, tiny_clip, tiny_flux
from .test_mask_node import SETTINGS, Host, demo_graph, host, node  # noqa: F401

READERS = (
    "ConceptAttention",
    "ConceptAttentionMask",
    "ConceptAttentionSegmentation",
    "ConceptAttentionHeatmap",
    "ConceptAttentionBoxes",
)
SELECT = "ConceptAttentionSelect"
MAKERS = ("ConceptAttentionApply", "ConceptAttentionFromImage")
few = settings(
    deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def sockets(pack: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What each node is connected to."""
    flux, clip = tiny_flux(), tiny_clip()
    model, attention = apply(pack, flux)
    samples = ksampler(model, prompt(1), steps=1)
    core = import_module(f"{pack['ConceptAttention'].__module__.rsplit('.', 2)[0]}.conceptattention_core.maps")
    scores = 3 * torch.randn(2, 3, 2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    maps = core.ConceptAttentionMaps(scores, ("house", "sky", "background"), 1, (0, 1, 2), (1.0, 0.5), (64, 96))
    wires = {name: {"maps": maps} for name in READERS}
    wires["ConceptAttention"] = {"concept_attention": attention, "samples": {"samples": samples}}
    words = {"model": flux, "clip": clip, "concepts": "house, sky"}
    picture = {"vae": None, "image": torch.zeros(1, 64, 64, 3), "prompt": ""}
    wires[SELECT] = {"maps": maps, "points": "1, 1"}
    return wires | {"ConceptAttentionApply": words, "ConceptAttentionFromImage": words | picture}


def fields(inputs: list[Any], inside: str = "") -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Every input of a schema by its API name, and what has to be chosen for it to be there."""
    for one in inputs:
        yield f"{inside}{one.id}", one, {}
        for option in getattr(one, "options", None) or ():
            for name, inner, _ in fields(getattr(option, "inputs", []), f"{inside}{one.id}."):
                yield name, inner, {f"{inside}{one.id}": option.key}


def numbers(node_class: Any) -> list[tuple[str, Any, dict[str, Any]]]:
    from comfy_api.latest import io

    return [
        field
        for field in fields(node_class.define_schema().inputs)
        if isinstance(field[1], (io.Int.Input, io.Float.Input))
    ]


@pytest.mark.parametrize("name", (*READERS, *MAKERS, SELECT, "ConceptAttentionSave", "ConceptAttentionLoad"))
def test_every_number_has_a_range(pack: dict[str, Any], name: str) -> None:
    assert hasattr(pack[name].execute, "__wrapped__"), "not checked"
    for field, one, _ in numbers(pack[name]):
        assert one.min <= one.default <= one.max, field


def outside(one: Any) -> st.SearchStrategy[Any]:
    """Values that this input does not take, as a link may carry them."""
    low, high = one.min - 0.01 * (1 + abs(one.min)), one.max + 0.01 * (1 + abs(one.max))
    floats = st.floats(max_value=low) | st.floats(min_value=high)
    huge = st.sampled_from([10**400, -(10**400), 10**5000, 1e308, -1e308, "9" * 5000])
    none = st.sampled_from([math.nan, math.inf, -math.inf, np.float32("nan"), torch.tensor(math.nan), "nan", "inf"])
    strange = st.sampled_from(
        [None, "", "many", [], [1, 2], {}, torch.zeros(2), np.zeros((2, 2)), 1j, object(), "\ud83d"]
    )
    parts = st.nothing()
    if isinstance(one.default, int):
        parts = st.sampled_from([0.5, 0.01, 0.99]).map(lambda part: min(one.default, 10**6) + part)
    return floats | huge | none | strange | parts


@pytest.mark.parametrize("name", (*READERS, *MAKERS, SELECT))
@few
@given(data=st.data())
def test_numbers_outside_their_range(pack: dict[str, Any], sockets: Any, name: str, data: st.DataObject) -> None:
    field, one, chosen = data.draw(st.sampled_from(numbers(pack[name])), label="input")
    value = data.draw(outside(one), label="value")
    with pytest.raises(ValueError) as raised:
        pack[name].execute(**sockets[name], **chosen, **{field: value})
    message = str(raised.value)
    ends = f"{one.min} and {one.max}."
    must = ("a number between", "a whole number between", "lie between", "at least")
    assert message.startswith(f"{field} (") and any(f" {what} " in message for what in must)
    assert ends in message or message.endswith(f"at least {one.min} and at most {one.max}.")
    message.encode()
    assert len(message) < 300 and raised.value.__cause__ is None


def wide(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else torch.int64)


@pytest.mark.parametrize("name", READERS)
@few
@given(data=st.data())
def test_numbers_within_their_range(pack: dict[str, Any], sockets: Any, name: str, data: st.DataObject) -> None:
    """Also as other kinds of number: a result without NaN, or an error about two that contradict each other."""
    field, one, chosen = data.draw(st.sampled_from(numbers(pack[name])), label="input")
    kind = int if isinstance(one.default, int) else float
    inside = st.integers(one.min, one.max) if kind is int else st.floats(one.min, one.max)
    value = data.draw(inside | st.sampled_from([one.min, one.max]), label="value")
    given_as = data.draw(st.sampled_from([kind, np.array, wide, str]), label="as")
    if one.min <= 1 <= one.max and data.draw(st.booleans()):
        value, given_as = True, bool
    try:
        made = pack[name].execute(**sockets[name], **chosen, **{field: given_as(value)}).result
    except ValueError as error:
        assert any(text in str(error) for text in ("No block lies between", "Swap them", "There is no picture"))
        return
    plain = pack[name].execute(**sockets[name], **chosen, **{field: kind(value)}).result
    for one_made, one_plain in zip(made, plain, strict=True):
        if isinstance(one_made, torch.Tensor):
            assert one_made.isfinite().all() and one_made.min() >= 0 and one_made.max() <= 1
            assert torch.equal(one_made, one_plain)


def test_a_missing_input_has_its_default(pack: dict[str, Any], sockets: Any) -> None:
    for name in READERS:
        assert pack[name].execute(**sockets[name]).result
    mask, maps = pack["ConceptAttentionMask"], sockets["ConceptAttentionMask"]["maps"]
    plain = mask.execute(maps=maps)[0]
    assert torch.equal(plain, mask.execute(maps, method={"method": "argmax"}, keep={"keep": "all"})[0])
    soft = mask.execute(maps, method={"method": "soft"})[0]
    assert torch.equal(soft, mask.execute(maps, method={"method": "soft", "low": 0.3, "high": 0.7, "gamma": 1.0})[0])
    otsu = mask.execute(maps, method="otsu", **{"method.low": 7, "no such input": 1})[0]
    assert torch.equal(otsu, mask.execute(maps, method={"method": "otsu"})[0])
    half = {"softmax_temperature": torch.tensor(0.01)}  # which is 0.00999999977
    assert torch.equal(mask.execute(maps, **half)[0], mask.execute(maps, softmax_temperature=0.01)[0])
    with pytest.raises(ValueError, match=r"`maps` is missing"):
        mask.execute()


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("ConceptAttentionMask", {"method": {"method": "Otsu"}}, "`method` is 'Otsu'. Choose one of: argmax, soft, "),
        ("ConceptAttentionMask", {"method": 3}, "`method` is 3. Choose one of: argmax, soft"),
        ("ConceptAttentionMask", {"keep": {"keep": "x\ud83d"}}, r"`keep` is 'x\ud83d'. Choose one of: all, largest, "),
        ("ConceptAttentionMask", {"invert": math.nan}, "invert (nan) must be true or false."),
        ("ConceptAttentionMask", {"concept": ["sky"]}, "concept (of type list) must be text."),
        ("ConceptAttentionMask", {"concept": "x\ud83d"}, r"`concept` holds half a character, \ud83d, in 'x\ud83d'."),
        ("ConceptAttentionHeatmap", {"layout": "Grid"}, "`layout` is 'Grid'. Choose one of: grid, pictures, overlay, "),
        ("ConceptAttentionHeatmap", {"colors": None}, "`colors` is None. Choose one of: "),
        ("ConceptAttentionBoxes", {"batch_index": -7}, "batch_index (-7) must be at least 0 and at most 4095."),
        ("ConceptAttention", {"softness": -3}, "softness (-3) must be at least 0.0 and at most 1.0."),
        ("ConceptAttentionApply", {"token_pooling": "max"}, "`token_pooling` is 'max'. Choose one of: mean, "),
    ],
)  # fmt: skip
def test_what_is_no_choice(pack: dict[str, Any], sockets: Any, name: str, given: Any, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        pack[name].execute(**sockets[name], **given)
    assert str(raised.value).startswith(message)


def test_names_are_one_syntax_or_an_error_that_says_where(pack: dict[str, Any], sockets: Any) -> None:
    mask, maps = pack["ConceptAttentionMask"], sockets["ConceptAttentionMask"]["maps"]
    both = mask.execute(maps, "house + sky")[0]
    for list_of_names in ("house, sky", "house；Sky", "house、sky,"):
        assert torch.equal(mask.execute(maps, list_of_names)[0], both)
    segment = pack["ConceptAttentionSegmentation"]
    house, sky = (segment.execute(maps, concept)[2] for concept in ("house", "sky"))
    for several in ("house + sky", "house, sky", "sky + House", "house、sky,"):
        assert torch.equal(segment.execute(maps, several)[2], house + sky)
    assert torch.equal(segment.execute(maps, "sky - house")[2], sky)
    boxes = pack["ConceptAttentionBoxes"].execute(maps, "house + sky", min_area=0.0, max_boxes=100)[0]
    assert boxes[0] and {box["label"] for box in boxes[0]} == {"house + sky"}
    reader = sockets["ConceptAttention"]
    heat = [pack["ConceptAttention"].execute(**reader, concept=text)[1] for text in ("house", "sky", "house + sky")]
    assert not torch.equal(heat[0], heat[2]) and not torch.equal(heat[1], heat[2])
    drawn = pack["ConceptAttentionHeatmap"]
    assert len(drawn.execute(maps, "House, sky。sky", layout="pictures")[0]) == 4
    assert len(drawn.execute(maps, "House + sky, sky", layout="pictures")[0]) == 4


# ---- through ComfyUI's own executor ----


class Give:
    """A node whose output, of any type, is what the test has put here: ComfyUI keeps a node's object between runs."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"call": ("STRING", {})}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("*",), "give", "tests"
    value: Any = None

    def give(self, call: str) -> tuple[Any]:
        return (Give.value,)


@pytest.fixture
def give(pack: dict[str, Any]) -> Iterator[type[Give]]:
    pack["TestGive"] = Give
    yield Give
    del pack["TestGive"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("blur", -7, r"blur \(-7\) must be at least 0 and at most 512"),
        ("softmax_temperature", 0, r"softmax_temperature \(0\) must be at least 0\.01 and at most 1000"),
        ("method.gamma", 0.0, r"method\.gamma \(0\.0\) must be at least 0\.1 and at most 10"),
        ("method.low", math.nan, r"method\.low \(nan\) must lie between 0\.0 and 1\.0"),
        ("keep.regions", 10**400, r"keep\.regions \(a number of about 400 digits\) must lie between 1 and 1000"),
        ("method", "Otsu", r"`method` is 'Otsu'\. Choose one of: argmax, soft, mean, otsu"),
        ("concept", "x\ud83d", r"`concept` holds half a character, \\+ud83d"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else "",
)
def test_values_over_links(host: Host, give: type[Give], field: str, value: Any, message: str) -> None:  # noqa: F811
    give.value = value
    graph = demo_graph(**{**SETTINGS, "keep": "several", "keep.regions": 2, field: ["give", 0]})
    graph["give"] = node("TestGive", call=field)
    with pytest.raises(AssertionError, match=message):
        host.run(graph)


def test_an_api_file_without_a_method(host: Host) -> None:  # noqa: F811
    """Not written: the default with its own defaults. Misspelt: the choices. A link may carry it, too."""
    rest = {name: value for name, value in SETTINGS.items() if not name.startswith("method")}
    wanted = host.run(demo_graph(**rest, method="argmax"))["kept mask"]
    assert torch.equal(host.run(demo_graph(**rest))["kept mask"], wanted)
    with pytest.raises(AssertionError, match=r"`method` is 'Otsu'\. Choose one of: argmax, soft, mean, otsu"):
        host.run(demo_graph(**rest, method="Otsu"))
    without_keep = {name: value for name, value in rest.items() if name != "keep"}
    assert torch.equal(host.run(demo_graph(**without_keep))["kept mask"], wanted)


def test_the_demo_model_reads_capitals_and_names_unknown_words(
    pack: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    flux, clip, _ = pack["ConceptAttentionDemoModel"].execute().result
    said = []
    for concepts in ("house, sky", "House, SKY", "House, zebra crossing"):
        made = pack["ConceptAttentionApply"].execute(flux, clip, concepts)
        (wrapper,) = made[0].get_all_wrappers("outer_sample")
        said.append((made.ui, wrapper.concepts.embeddings[0, :2]))
    assert said[0][0] is None and said[1][0] is None and torch.equal(said[0][1], said[1][1])
    assert said[2][0] == {"text": ("The demo model does not know: zebra, crossing.",)}
    assert "The demo model does not know: zebra, crossing." in caplog.text


def test_an_absent_concept_has_no_mask(pack: dict[str, Any], sockets: Any) -> None:
    """By the defaults, of Concept Attention at every softness and temperature, and the node says so."""
    kind = type(sockets["ConceptAttentionMask"]["maps"])
    scores = torch.zeros(1, 1, 1, 3, 4, 6)
    scores[..., 0, :, :3], scores[..., 1, :, :] = 9, -20
    scores[..., 2, :, 3:] = 9
    maps = kind(scores, ("house", "unicorn", "background"), 1, (0,), (1.0,), (64, 96))
    made = pack["ConceptAttentionMask"].execute(maps, "unicorn")
    assert made[2] == 0 and not made[0].any()
    assert made.ui["text"] == ("'unicorn' is not in picture 1 (its presence is 0), so nothing is masked there.",)
    assert made.ui["concept_names"] == list(maps.concepts) and made.ui["concept_presence"][1] == 0
    assert "text" not in pack["ConceptAttentionMask"].execute(maps, "house").ui
    samples = torch.zeros(1, 16, 8, 12)

    class Store:
        find = staticmethod(lambda latent: maps)

    for softness in (0.0, 0.1, 1.0):
        for temperature in (0.5, 1.0, 8.0):
            options = {"softness": softness, "softmax_temperature": temperature}
            for concept, found in (("unicorn", False), ("house", True)):
                reader = pack["ConceptAttention"].execute(Store(), {"samples": samples}, concept, **options)
                assert reader[0].min() == 0 and reader[0].max() == found


@pytest.mark.parametrize("name", READERS)
def test_every_reader_reads_both_ways(pack: dict[str, Any], sockets: Any, name: str) -> None:
    """`auto` is `maps.shares("auto")`, by its own blocks; `paper` is what a workflow without the input has."""

    def first(**given: Any) -> Any:
        made = pack[name].execute(**{**sockets[name], **given}).result
        return made[1] if name == "ConceptAttention" else made[0]

    def same(one: Any, other: Any) -> bool:
        return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other

    assert same(first(), first(reading="paper"))
    assert not same(first(), first(reading="auto"))
    assert same(first(reading="auto"), first(reading="auto", first_block=0, last_block=-1))
