"""A clear error that names what to do, for what cannot work."""

from __future__ import annotations

from typing import Any

import pytest

from .graphs import (
    apply,
    ksampler,
    prompt,
    read,
    tiny_flux,
)
from .helpers import APPLY
from .models import other_model, text_encoder


@pytest.fixture(scope="module")
def flux(comfy: Any) -> Any:
    return tiny_flux()


@pytest.fixture(scope="module")
def clip(comfy: Any) -> Any:
    return text_encoder()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concepts": " \n, ,"}, r"No concept is named.*`concepts`"),
        ({"concepts": "house", "background": ""}, r"'house' has nothing to compete with.*Name a second concept"),
        ({"concepts": "house", "background": "house"}, r"'house' has nothing to compete with"),
        ({"concepts": ",".join(map(str, range(64)))}, r"65 concepts are named; at most 64"),
        ({"start_percent": 0.5, "end_percent": 0.5}, r"start_percent \(0.5\) must be below end_percent"),
        ({"start_percent": 0.9, "end_percent": 0.1}, r"start_percent \(0.9\) must be below end_percent"),
        ({"concepts": "山水"}, r"T5 knows no character of the concept '山水'.*in English"),
    ],
)
def test_apply_errors(pack: dict[str, Any], flux: Any, clip: Any, options: dict[str, Any], message: str) -> None:
    settings = {**APPLY, "concepts": "house", "background": "background", **options}
    with pytest.raises(ValueError, match=message):
        pack["ConceptAttentionApply"].execute(flux, clip, **settings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concept": "hause"}, r"no concept 'hause'. Did you mean 'house'\? The concepts are: house, sky, background"),
        ({"concept": "zzzz"}, r"no concept 'zzzz'. The concepts are: house, sky, background"),
        ({"first_block": 2, "last_block": 1}, r"No block lies between.*blocks 0 to 2"),
        ({"first_block": 7, "last_block": 9}, r"No block lies between.*blocks 0 to 2"),
    ],
)
def test_read_errors(pack: dict[str, Any], flux: Any, options: dict[str, Any], message: str) -> None:
    model, attention = apply(pack, flux)
    picture = ksampler(model, prompt(1), steps=1)
    with pytest.raises(ValueError, match=message):
        read(pack, attention, picture, **options)


@pytest.mark.parametrize("family", ["SD21UnclipL", "SDXLRefiner"])
def test_another_model_family(pack: dict[str, Any], clip: Any, family: str) -> None:
    model = other_model(family)
    name = type(model.model).__name__
    with pytest.raises(ValueError, match=rf"does not know this MODEL \({name}, .*works on: FLUX.1.*Load one with"):
        pack["ConceptAttentionApply"].execute(model, clip, "house", **{**APPLY, "background": "background"})


@pytest.mark.parametrize("family", ["sd1", "sdxl", "sd3", "wide"])
def test_another_text_encoder(pack: dict[str, Any], flux: Any, family: str) -> None:
    import comfy.sd
    import comfy.sd1_clip
    import comfy.sdxl_clip
    import comfy.text_encoders.sd3_clip as sd3
    from comfy.supported_models_base import ClipTarget

    small = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 3}
    targets = {
        "sd1": (comfy.sd1_clip.SD1Tokenizer, comfy.sd1_clip.SD1ClipModel),
        "sdxl": (comfy.sdxl_clip.SDXLTokenizer, comfy.sdxl_clip.SDXLClipModel),
        "sd3": (sd3.SD3Tokenizer, sd3.sd3_clip(t5=False)),
    }
    if family == "wide":
        other = text_encoder(context_dim=48)
        message = r"encodes text to 48 channels and the model reads 32.*Connect the CLIP.*'flux'"
    else:
        options = {"clip_l_model_config": small, "clip_g_model_config": small}
        other = comfy.sd.CLIP(ClipTarget(*targets[family]), model_options=options)
        message = r"has the encoders.*DualCLIPLoader with type 'flux'"
    with pytest.raises(ValueError, match=message):
        pack["ConceptAttentionApply"].execute(flux, other, "house", **{**APPLY, "background": "background"})
