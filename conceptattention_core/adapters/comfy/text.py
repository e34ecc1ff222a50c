"""ComfyUI's CLIP: encode concepts with the prompt's own text encoder, each alone as a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...concepts import Caption, Concepts, TokenPooling, pool_tokens
from .families import require_family, transformer_of
from .families.base import Family
from .pieces import TextEncoder

_ENCODED: WeakKeyDictionary[Any, dict[Any, Caption]] = WeakKeyDictionary()
"""What a CLIP object has encoded, as long as somebody else holds it: text encoders are slow, and concepts come back."""


def encode_concepts(
    clip: Any, names: tuple[str, ...], background_count: int, pooling: TokenPooling, model: ModelPatcher
) -> Concepts:
    """Encode each concept alone, as the paper does, with the CLIP that belongs to `model`.

    What the same CLIP object has encoded before is not encoded again.
    Raises ValueError for the CLIP of another family, and for a concept that it cannot read.
    """
    family = require_family(model)
    captions = _encode(clip, names, family)
    found, width = captions[0].tokens.shape[-1], family.context_width(transformer_of(model))
    if found != width:
        raise ValueError(_wrong_clip(family, f"encodes text to {found} channels and the model reads {width}"))
    # A model that makes its conditioning itself has no use for a vector from before; it is the caption's, then.
    vectors = [pool_tokens(one.tokens, range(len(one.tokens)) if one.numbers else one.own, pooling) for one in captions]
    return Concepts(names, background_count, torch.stack(vectors)[None], tuple(captions), pooling)


def _encode(clip: Any, names: Sequence[str], family: Family) -> list[Caption]:
    """A caption for each name, from the cache or anew."""
    encoder = family.encoder(clip)
    known = _ENCODED.setdefault(clip, {})
    # LoRAs on the CLIP, its last layer and its tokenizer's options change what it says.
    state = clip.patcher.patches_uuid, clip.layer_idx, repr(clip.tokenizer_options), family.name
    new = [name for name in dict.fromkeys(names) if (state, name) not in known]
    tokens = {name: _tokenize(clip, name, family, encoder) for name in new}
    own = {
        name: encoder.own(lambda text: _pieces(_tokenize(clip, text, family, encoder), encoder), name) for name in new
    }
    for name in new:
        rows = _encode_alone(clip, tokens[name], encoder)
        if encoder.numbers:
            numbers = tuple(_pieces(tokens[name], encoder))
            known[state, name] = Caption(rows.float().cpu(), own[name], own[name][0], len(numbers), numbers)
        else:
            known[state, name] = _caption(rows, own[name], _length(tokens[name], encoder), family)
    return [known[state, name] for name in names]


def _caption(rows: Tensor, own: tuple[int, ...], pieces: int, family: Family) -> Caption:
    """rows: ``(T, width)``; pieces: those that the last of them stands for. Encoders drop what leads a template."""
    own = tuple(at - (pieces - len(rows)) for at in own)
    position, length = own[0], len(rows)
    if family.whole_captions:
        return Caption(rows.float().cpu(), own, position, length)
    return Caption(rows[list(own)].float().cpu(), tuple(range(len(own))), position, length)


def _tokenize(clip: Any, name: str, family: Family, encoder: TextEncoder) -> dict[str, Any]:
    """A concept's tokens by tokenizer. Raises ValueError for the CLIP of another family."""
    # Round brackets are prompt weights to most tokenizers; in a concept's name they are just brackets.
    text = name.replace("(", "\\(").replace(")", "\\)") if encoder.escape else name
    tokens = clip.tokenize(text)
    if encoder.key(tokens) is None:
        raise ValueError(_wrong_clip(family, f"has the encoders {', '.join(sorted(tokens))}"))
    return tokens


def _pieces(tokens: dict[str, Any], encoder: TextEncoder) -> list[Any]:
    """The pieces by which a concept is read: the first 75 of a long name's where the encoder is CLIP."""
    return [piece for piece, *_ in _sections(tokens, encoder)[0]]


def _length(tokens: dict[str, Any], encoder: TextEncoder) -> int:
    """Pieces up to the one that the conditioning's last row stands for."""
    return sum(len(section) for section in _sections(tokens, encoder)) - encoder.tail


def _sections(tokens: dict[str, Any], encoder: TextEncoder) -> list[list[Any]]:
    key = encoder.key(tokens)
    assert key is not None  # `_tokenize` has seen to it
    return tokens[key]


def _encode_alone(clip: Any, tokens: dict[str, Any], encoder: TextEncoder) -> Tensor:
    """A text's conditioning, ``(T, width)``.

    One text a call: several in a batch would share the work, but a batch rounds differently from its parts, so that a
    concept's map would depend on which others had been encoded before.
    """
    read = encoder.key(tokens)
    given = {name: [] if encoder.alone and name != read else sections for name, sections in tokens.items()}
    return clip.encode_from_tokens(given, return_dict=True)["cond"][0]


def _wrong_clip(family: Family, what: str) -> str:
    return (
        f"This MODEL is {family.name}, and this CLIP {what}: they do not belong together. Connect the CLIP that "
        f"encodes the model's prompt ({family.text.hint})."
    )
