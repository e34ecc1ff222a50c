"""Any shape, any words: a clear mask or a clear error. A sampling run is never broken by the pack."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from .graphs import (
    GRID,
    WORDS,
    apply,
    empty_latent,
    ksampler,
    prompt,
    randn,
    read,
    tiny_flux,
)
from .helpers import APPLY, table_clip
from .models import text_encoder


@pytest.fixture(scope="module")
def flux(comfy: Any) -> Any:
    return tiny_flux()


@pytest.fixture(scope="module")
def clip(comfy: Any) -> Any:
    return text_encoder()


def embeddings(pack: dict[str, Any], flux: Any, clip: Any, concepts: str, **options: Any) -> tuple[Any, Tensor]:
    """The names, and the vectors ``(C, context_dim)`` that the model is given for them."""
    from comfy.patcher_extension import WrappersMP

    settings = {**APPLY, "background": "background", **options}
    model, _ = pack["ConceptAttentionApply"].execute(flux, clip, concepts, **settings)
    (wrapper,) = model.get_all_wrappers(WrappersMP.OUTER_SAMPLE)
    return wrapper.concepts.names, wrapper.concepts.embeddings[0]


# ---- shapes ----


@pytest.mark.parametrize(
    ("height", "width", "batch"), [(17, 23, 1), (5, 40, 2), (64, 8, 1), (2, 2, 1), (3, 1, 1), (16, 16, 4)]
)
def test_any_size(pack: dict[str, Any], flux: Any, height: int, width: int, batch: int) -> None:
    model, attention = apply(pack, flux)
    latent = empty_latent(batch, height, width)
    picture = ksampler(model, prompt(1), latent=latent)
    assert torch.equal(picture, ksampler(flux, prompt(1), latent=latent))
    mask, heatmap, overlay, maps = read(pack, attention, picture)
    assert maps.image_size == (8 * height, 8 * width)
    assert maps.scores.shape[2:] == (batch, 3, (height + 1) // 2, (width + 1) // 2)
    assert mask.shape == (batch, 8 * height, 8 * width) and heatmap.shape == (*mask.shape, 3)
    assert overlay.shape[0] == batch and overlay.shape[1] > 8 * height and overlay.shape[2:] == (8 * width, 3)


@pytest.mark.parametrize("temperature", [1.0, 100.0])
@pytest.mark.parametrize(("threshold", "softness"), [(0.5, 0.1), (0.33, 1.0), (0.4, 0.0), (0.0, 0.1), (1.0, 0.0)])
def test_mask_is_what_other_nodes_accept(
    pack: dict[str, Any], flux: Any, threshold: float, softness: float, temperature: float
) -> None:
    model, attention = apply(pack, flux)
    picture = ksampler(model, prompt(1), latent=empty_latent(2))
    options = {"threshold": threshold, "softness": softness, "softmax_temperature": temperature}
    mask, heatmap, overlay, maps = read(pack, attention, picture, concept="SKY", **options)
    for image in (mask, heatmap, overlay):
        assert image.dtype == torch.float32 and image.device.type == "cpu" and image.is_contiguous()
        assert image.min() >= 0 and image.max() <= 1
    # The share at full resolution, by the definition: bilinear, and ComfyUI's pixels are 16 to a token.
    share = (maps.scores / temperature).softmax(3)[..., 1, :, :].mean((0, 1))
    share = torch.nn.functional.interpolate(share[:, None], scale_factor=16, mode="bilinear")[:, 0]
    if softness == 0:
        assert torch.equal(mask, (share >= threshold).float())
        return
    for one, its_share in zip(mask, share, strict=True):
        peak, floor = its_share.max(), its_share.min()
        assert one.any() == bool(peak >= threshold) and (not one.any() or one.max() == 1)
        assert (one[its_share <= threshold - softness / 2 - 1e-6] == 0).all()
        assert (one[its_share >= threshold + softness / 2 + 1e-6] == 1).all()
        if floor < threshold <= peak:  # the ramp, cut off where the map ends
            low, high = max(floor, threshold - softness / 2), min(peak, threshold + softness / 2)
            assert_close(one, ((its_share - low) / (high - low)).clamp(0, 1), atol=1e-4, rtol=0)
            assert floor > threshold - softness / 2 or one.min() == 0


def test_an_image_decides_the_size(pack: dict[str, Any], flux: Any) -> None:
    model, attention = apply(pack, flux)
    picture = ksampler(model, prompt(1), latent=empty_latent(2))
    full = read(pack, attention, picture, softness=1.0)[0]
    for size, batch, channels in (((48, 80), 2, 3), ((123, 77), 1, 4)):
        image = torch.rand(batch, *size, channels)
        mask, heatmap, overlay, _ = read(pack, attention, picture, softness=1.0, image=image)
        assert mask.shape == (2, *size) and heatmap.shape == (2, *size, 3) and overlay.shape[2] == size[1]
        small = torch.nn.functional.interpolate(full[:, None], size, mode="bilinear")[:, 0]
        assert (mask - small).abs().mean() < 0.05
    with pytest.raises(ValueError, match=r"`image` holds 3 pictures and the maps 2.*that the maps were made for"):
        read(pack, attention, picture, image=torch.rand(3, 8, 8, 3))


# ---- words ----


def test_pooling_uses_the_concepts_own_pieces(pack: dict[str, Any], flux: Any, clip: Any) -> None:
    """Against T5's output and the tokenizer's own word list, looked at by hand."""
    pieces_by_hand = {
        "lighthouse": ["▁light", "house"],
        "palm tree": ["▁palm", "▁tree"],
        "(old) lighthouse": ["▁(", "old", ")", "▁light", "house"],
        "zèbre": ["▁", "zèbre"],
    }
    words = clip.tokenizer.t5xxl.tokenizer
    for name, expected in pieces_by_hand.items():
        ids = words(name)["input_ids"][:-1]  # the last is the end token
        pieces = words.convert_ids_to_tokens(ids)
        if name != "zèbre":
            assert pieces == expected
        tokens = clip.tokenize(name.replace("(", "\\(").replace(")", "\\)"))
        assert [piece for piece, _ in tokens["t5xxl"][0][: len(ids) + 1]] == [*ids, 1]
        vectors = clip.encode_from_tokens(tokens)[0]
        own = [at for at, piece in enumerate(pieces) if piece != "▁"]
        _, mean = embeddings(pack, flux, clip, name)
        _, first = embeddings(pack, flux, clip, name, token_pooling="first")
        assert_close(mean[0], vectors[own].mean(0))
        assert torch.equal(first[0], vectors[own[0]])
        assert not torch.allclose(mean[0], first[0])


STRANGE = [
    "a \"quoted\" 'word'",
    "[square] {curly} <angle>",
    "(weighted) twice",
    "((nested)) (brackets",
    "back\\slash \\(escaped\\)",
    "Fußgänger über Çédille",
    "emoji 🐉 dragon",
    "100% $5 #tag @home",
    "3:2 and 16:9",
    "tab\tand  spaces",
    "word " * 39,
    "x" * 200,
]
REFUSED = {
    "(weighted:1.5), sky": r"'weighted:1\.5', which is a prompt's weight.*Write: weighted\.",
    "{sea|sky}": r"'\{sea\|sky\}', which is a prompt's choice.*sea, sky",
    "embedding:nothing": r"'embedding:nothing', which is an embedding",
    "дерево, sky": r"T5 knows no character of the concept 'дерево'.*in English",
    "red дерево, sky": r"T5 knows no character of 'дерево' in the concept 'red дерево'",
    "word " * 400: "has 1999 letters, and at most 200",
    "x" * 2000: "has 2000 letters, and at most 200",
    "x\ud83d, sky": r"half a character, \\ud83d, in 'x\\ud83d, sky'",
    "x\x00, sky": r"a control character, \\x00",
}


@pytest.mark.parametrize("name", STRANGE, ids=range(len(STRANGE)))
def test_strange_words(pack: dict[str, Any], flux: Any, clip: Any, name: str) -> None:
    settings = {**APPLY, "background": "background"}
    model, attention = pack["ConceptAttentionApply"].execute(flux, clip, name + "\nsky", **settings)
    picture = ksampler(model, prompt(1), steps=1)
    shown = " ".join(name.replace("\\(", "(").replace("\\)", ")").split())
    for concept in (shown, shown.upper()):
        _, _, overlay, maps = read(pack, attention, picture, concept=concept)
        assert maps.concepts == (shown, "sky", "background") and maps.index(concept) == 0
        assert maps.scores.isfinite().all() and overlay.shape[1] < 3 * maps.image_size[0]


@pytest.mark.parametrize("name", REFUSED, ids=range(len(REFUSED)))
def test_words_that_are_no_names(pack: dict[str, Any], flux: Any, clip: Any, name: str) -> None:
    with pytest.raises(ValueError, match=REFUSED[name]) as raised:
        pack["ConceptAttentionApply"].execute(flux, clip, name, **{**APPLY, "background": "background"})
    str(raised.value).encode()


def test_brackets_are_brackets(pack: dict[str, Any], flux: Any, clip: Any) -> None:
    """Escaped as in a prompt or not: the tokenizer's pieces are those of the plain text, and none has a weight."""
    names, vectors = embeddings(pack, flux, clip, "boat, (boat), boat \\(ship\\)", background="")
    assert names == ("boat", "(boat)", "boat (ship)")
    tokens = clip.tokenize("boat \\(ship\\)")
    ids = clip.tokenizer.t5xxl.tokenizer("boat (ship)")["input_ids"]
    assert [piece for piece, _ in tokens["t5xxl"][0]][: len(ids)] == ids
    own = [at for at, piece in enumerate(ids[:-1]) if piece != 3]
    assert_close(vectors[2], clip.encode_from_tokens(tokens)[0][own].mean(0))
    assert (vectors[0] - vectors[1]).abs().max() > 1e-3


@pytest.mark.parametrize("count", [2, 63])
def test_many_concepts(pack: dict[str, Any], flux: Any, clip: Any, count: int) -> None:
    names = [f"thing {number}" for number in range(count)]
    settings = {**APPLY, "background": " background ,, background\n"}
    model, attention = pack["ConceptAttentionApply"].execute(
        flux, clip, ",".join(names) + ",thing 0 ,\n\n," + names[1], **settings
    )
    _, _, overlay, maps = read(pack, attention, ksampler(model, prompt(1), steps=1), concept=names[-1])
    assert maps.concepts == (*names, "background") and maps.background_count == 1
    assert_close(maps.saliency().sum(1), torch.ones(1, *GRID))
    assert overlay.isfinite().all()


def test_words_of_the_test_clip() -> None:
    """The other files' stand-in CLIP is only as good as its table."""
    clip = table_clip(list(WORDS), randn(len(WORDS), 32, seed=1))
    assert_close(clip.encode_from_tokens(clip.tokenize("sky"))[0][0], randn(len(WORDS), 32, seed=1)[1])
