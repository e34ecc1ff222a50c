"""Videos from the sampler to what nodes make of them, on tiny models with random weights, behind real nodes."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from . import encoders
from .golden_cases import draw_weights
from .graphs import randn
from .helpers import APPLY

FRAMES, PICTURES, SIZE = 3, 9, (64, 96)
WAN = {"image_model": "wan2.1", "model_type": "t2v", "patch_size": [1, 2, 2], "in_dim": 16, "out_dim": 16, "dim": 96}
WAN |= {"ffn_dim": 192, "freq_dim": 64, "text_dim": encoders.WIDTH, "num_heads": 2, "num_layers": 3}
COG = {"image_model": "cogvideox", "num_attention_heads": 2, "attention_head_dim": 64, "in_channels": 16}
COG |= {"out_channels": 16, "time_embed_dim": 64, "text_embed_dim": encoders.WIDTH, "num_layers": 3, "patch_size": 2}
COG |= {"use_rotary_positional_embeddings": True}
LTX = {"image_model": "ltxv", "in_channels": 128, "cross_attention_dim": 64, "attention_head_dim": 32}
LTX |= {"num_attention_heads": 2, "caption_channels": encoders.WIDTH, "num_layers": 3}
HUNYUAN = {"image_model": "hunyuan_video", "hidden_size": 256, "num_heads": 2, "mlp_ratio": 4.0, "theta": 256}
HUNYUAN |= {"context_in_dim": encoders.WIDTH, "axes_dim": [16, 56, 56], "qkv_bias": True, "depth": 3}
HUNYUAN |= {"depth_single_blocks": 1, "byt5": False, "meanflow": False, "meanflow_sum": False, "vision_in_dim": None}
HUNYUAN_1 = {**HUNYUAN, "in_channels": 16, "out_channels": 16, "patch_size": [1, 2, 2], "guidance_embed": True}
HUNYUAN_1 |= {"vec_in_dim": encoders.WIDTH, "use_cond_type_embedding": False}
HUNYUAN_15 = {**HUNYUAN, "in_channels": 65, "out_channels": 32, "patch_size": [1, 1, 1], "guidance_embed": False}
HUNYUAN_15 |= {"vec_in_dim": None, "use_cond_type_embedding": True}
MODELS = {
    "wan": ("WAN21_T2V", WAN, "wan", "gram"),
    "ltx": ("LTXV", LTX, "ltxv", "cross_attention"),
    "cogvideo": ("CogVideoX_T2V", {**COG, "patch_size_t": None}, "cogvideo", "output"),
    "cogvideo 1.5": ("CogVideoX_T2V", {**COG, "patch_size_t": 2}, "cogvideo", "output"),
    "hunyuan": ("HunyuanVideo", HUNYUAN_1, "hunyuan_video", "output"),
    "hunyuan 1.5": ("HunyuanVideo15", HUNYUAN_15, "hunyuan_video15", "output"),
}
"""ComfyUI's configuration, its settings, the text encoder, and the projection to read."""
BLOCKS = {"first_block": -65, "last_block": -65, "softmax_temperature": 1.0}


@pytest.fixture
def core(pack: dict[str, Any]) -> Any:
    package = pack["ConceptAttention"].__module__.rsplit(".", 2)[0] + ".conceptattention_core"
    return lambda name: import_module(f"{package}.{name}")


@pytest.fixture(scope="module")
def clips(comfy: Any) -> Any:
    """Let go of with this module: what lives on to the interpreter's end cannot be taken down by ComfyUI."""
    found: dict[str, Any] = {}

    def clip(name: str) -> Any:
        if name not in found:
            found[name] = encoders.encoder(name)
        return found[name]

    yield clip
    found.clear()


def video_model(name: str, seed: int = 5) -> Any:
    config, settings, _, _ = MODELS[name]
    return build(config, settings, seed)


def build(config: str, settings: dict[str, Any], seed: int) -> Any:
    import comfy.supported_models
    from comfy.model_patcher import ModelPatcher

    made = getattr(comfy.supported_models, config)(dict(settings))
    made.unet_config |= settings
    base = made.get_model({})
    draw_weights(base.diffusion_model, seed)
    return ModelPatcher(base, torch.device("cpu"), torch.device("cpu"))


def prompts(clip: Any) -> tuple[Any, Any]:
    import nodes

    one, other = (nodes.CLIPTextEncode().encode(clip, text)[0] for text in ("a boat on the sea", ""))
    return one, other


def empty(channels: int = 16, cell: int = 8) -> dict[str, Tensor]:
    return {"samples": torch.zeros(1, channels, FRAMES, SIZE[0] // cell, SIZE[1] // cell)}


def masked(pack: dict[str, Any], maps: Any, **changes: Any) -> Tensor:
    plain = dict(grow=0, blur=0, fill_holes=False, min_area=0.0, invert=False, refine_edges=False, min_presence=0.0)
    given = {"concept": "boat", "method": {"method": "argmax"}, "keep": {"keep": "all"}, **plain, **BLOCKS, **changes}
    return pack["ConceptAttentionMask"].execute(maps=maps, **given).result[0]


@pytest.mark.parametrize("name", MODELS)
def test_from_apply_to_every_reader(pack: dict[str, Any], core: Any, clips: Any, name: str) -> None:
    import nodes

    *_, encoder, projection = MODELS[name]
    model, clip = video_model(name), clips(encoder)
    settings = {**APPLY, "background": "sky", "projection": projection}
    patched, record = pack["ConceptAttentionApply"].execute(model, clip, "boat, sea", **settings).result
    family = core("adapters.comfy.families").require_family(model)
    assert family.pictures_of_a_frame == model.model.latent_format.temporal_downscale_ratio
    token, pictures, latent = {"ltx": (32, 17, empty(128, 32)), "hunyuan 1.5": (16, 9, empty(32, 16))}.get(
        name, (16, 9, empty())
    )
    given = 0, 3, 3.0, "euler", "simple", *prompts(clip), latent
    latent, plain = (nodes.KSampler().sample(one, *given)[0] for one in (patched, model))
    assert torch.equal(latent["samples"], plain["samples"])

    maps = record.find(latent["samples"])
    frames = maps.scores.shape[4]
    assert frames == (2 if name == "cogvideo 1.5" else 3)
    assert maps.scores.shape == (3, 3, 1, 3, frames, SIZE[0] // token, SIZE[1] // token)
    assert maps.image_size == SIZE and maps.token_pixels == token and maps.pictures == pictures
    mask = masked(pack, record, samples=latent)
    assert mask.shape == (pictures, *SIZE) and 0 < mask.mean() < 1
    # The first and the last picture are the first and the last frame, by themselves.
    for picture, frame in ((0, 0), (-1, frames - 1)):
        features = None if maps.features is None else maps.features[:, :, :, frame]
        alone = replace(maps, scores=maps.scores[:, :, :, :, frame], features=features, times=())
        assert torch.equal(masked(pack, alone)[0], mask[picture])

    style = {"layout": "pictures", "colors": "heat", "scale": "shared", "alpha": 0.6, **BLOCKS}
    (heat,) = pack["ConceptAttentionHeatmap"].execute(record, "boat", **style, samples=latent).result
    assert heat.shape == (pictures, *SIZE, 3) and (heat[0] - heat[4]).abs().max() > 0.01
    given = {"method": "argmax", "threshold": 0.5, "min_area": 0.0, "max_boxes": 3, "padding": 0, "batch_index": 8}
    points = {"positive_count": 1, "negative_count": 1}
    boxes = pack["ConceptAttentionBoxes"].execute(maps, "sea", **given, **points, **BLOCKS).result[0]
    assert len(boxes) == pictures
    shown = torch.rand(pictures, *SIZE, 3, generator=torch.Generator().manual_seed(0))
    labels, masks, _ = (
        pack["ConceptAttentionSegmentation"].execute(maps, "", True, 0.0, False, **BLOCKS, image=shown).result
    )
    assert len(labels) == pictures and masks.shape == (2 * pictures, *SIZE)
    explored = pack["ConceptAttentionExplorer"].execute(maps, image=shown).result
    assert explored[0].shape == (pictures, *SIZE)


def test_two_models_share_a_run(pack: dict[str, Any], clips: Any) -> None:
    """Wan 2.2: one model for high noise, one for low, in two samplers."""
    import nodes

    clip, (high, low) = clips("wan"), (video_model("wan", seed) for seed in (1, 2))
    positive, negative = prompts(clip)

    def sampled(model: Any, latent: Any, start: int, end: int) -> Any:
        part = ("enable", "enable") if start == 0 else ("disable", "disable")
        sampler = nodes.KSamplerAdvanced().sample
        given = 3, 5, 1.0, "euler", "simple", positive, negative, latent, start, end, part[1]
        return sampler(model, part[0], *given)[0]

    def apply(model: Any, concepts: str = "boat, sea", **more: Any) -> Any:
        settings = {**APPLY, "projection": "cross_attention", **more}
        return pack["ConceptAttentionApply"].execute(model, clip, concepts, **settings).result

    first, record = apply(high)
    second, both = apply(low, first_part=record)
    half = sampled(first, empty(), 0, 2)
    latent = sampled(second, half, 2, 5)
    assert torch.equal(latent["samples"], sampled(low, sampled(high, empty(), 0, 2), 2, 5)["samples"])

    alone, own = apply(low)
    assert torch.equal(sampled(alone, half, 2, 5)["samples"], latent["samples"])
    maps, before, behind = both.find(latent["samples"]), record.find(half["samples"]), own.find(latent["samples"])
    assert len(before.sigmas) == 2 and len(behind.sigmas) == 3
    assert maps.sigmas == before.sigmas + behind.sigmas and list(maps.sigmas) == sorted(maps.sigmas, reverse=True)
    assert torch.equal(maps.scores, torch.cat([before.scores, behind.scores]))
    assert masked(pack, both, samples=latent).shape == (PICTURES, *SIZE)

    other, mixed = apply(low, "boat, island", first_part=record)
    latent = sampled(other, half, 2, 5)
    with pytest.raises(ValueError, match=r"sampled in parts.*same concepts"):
        mixed.find(latent["samples"])


@pytest.mark.parametrize("projection", ["cross_attention", "gram"])
def test_a_picture_is_a_video_of_one_frame(core: Any, projection: str) -> None:
    """Wan looks at an existing picture; readings share the forward, and the evaluation reads what it gives."""
    model, named = video_model("wan"), two_concepts(core)
    encode = core("adapters.comfy.encode")
    family = core("adapters.comfy.families").require_family(model)
    prompt = [[randn(1, 7, encoders.WIDTH, seed=3), {}]]
    forward, value = (encode.NoisedForward(family, model, prompt, named, one, 0.5, 2) for one in (projection, "value"))
    latent, noise = randn(1, 16, 1, 8, 12, seed=5), randn(1, 16, 1, 8, 12, seed=6)
    maps = forward.maps(latent, [noise], SIZE, lambda: None)
    _, together = encode.read_together([value, forward], latent, [noise], SIZE, lambda: None)
    assert torch.equal(together.scores, maps.scores)
    method = core("evaluate.method").Method(projection)
    for one in (method, replace(method, softmax=False), replace(method, reading="auto", first_block=0)):
        assert one.read(maps).shape == (2, 4, 6)
    assert maps.scores.shape == (1, 3, 1, 2, 1, 4, 6) and maps.pictures == 1 and maps.scores.std() > 0


def two_concepts(core: Any) -> Any:
    words, rows = core("concepts"), randn(1, 2, encoders.WIDTH, seed=1)
    return words.Concepts(("a", "b"), 0, rows, tuple(words.Caption(one[None], (0,), 0, 1) for one in rows[0]))


@pytest.mark.parametrize("beginning", [True, False])
def test_a_trimmed_latent_is_known(pack: dict[str, Any], clips: Any, beginning: bool) -> None:
    """VACE's reference pictures are frames in front, LTX-Video's guides frames behind, and are trimmed off."""
    import nodes
    from comfy_extras.nodes_wan import TrimVideoLatent

    model, clip = video_model("wan"), clips("wan")
    settings = {**APPLY, "projection": "value"}
    patched, record = pack["ConceptAttentionApply"].execute(model, clip, "boat, sea", **settings).result
    latent = nodes.KSampler().sample(patched, 0, 2, 1.0, "euler", "simple", *prompts(clip), empty())[0]
    whole = record.find(latent["samples"])
    if beginning:
        trimmed, kept = TrimVideoLatent.execute(latent, 1)[0], slice(1, None)
    else:  # as LTXVCropGuides does
        trimmed, kept = {"samples": latent["samples"][:, :, :-1]}, slice(0, -1)
    maps = record.find(trimmed["samples"])
    assert torch.equal(maps.scores, whole.scores[:, :, :, :, kept]) and maps.pictures == 5
    picture = torch.rand(5, *SIZE, 3, generator=torch.Generator().manual_seed(0))
    assert masked(pack, record, samples=trimmed, image=picture).shape == (5, *SIZE)
    with pytest.raises(ValueError, match="not made by a sampler"):
        record.find(latent["samples"][:, :, 1:2])


OTHERS = {
    "i2v": ("WAN21_I2V", {"model_type": "i2v", "in_dim": 36}),
    "vace": ("WAN21_Vace", {"model_type": "vace", "vace_layers": 3, "vace_in_dim": 96}),
    "camera": ("WAN21_Camera", {"model_type": "camera", "in_dim": 32}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_wans(core: Any, name: str) -> None:
    """What else they attend to, be it as long as the prompt, is not taken for it: a picture, their own copies of a
    block. The first block's maps are what its own layers say."""
    import comfy.sample
    from comfy.samplers import sampler_object

    base = build(OTHERS[name][0], {**WAN, **OTHERS[name][1]}, 5)
    assert core("adapters.comfy.families").require_family(base).name == "Wan"
    named = two_concepts(core)
    patched, runs = core("adapters.comfy.sampling").apply_concept_attention(base, named, "cross_attention", 0.0, 1.0)
    seen = SimpleNamespace(penultimate_hidden_states=randn(1, 7, 1280, seed=2))
    prompt = [[randn(1, 7, encoders.WIDTH, seed=3), {"clip_vision_output": seen} if name == "i2v" else {}]]
    given = sampler_object("euler"), torch.tensor([0.7, 0.0]), prompt, prompt, empty()["samples"]
    noise, asked = randn(*empty()["samples"].shape, seed=4), []
    dit = base.model.diffusion_model
    attention = dit.blocks[0].cross_attn
    handle = attention.register_forward_hook(lambda module, args, _: asked.append(args[0]))
    made = comfy.sample.sample_custom(patched, noise, 1.0, *given, disable_pbar=True)
    handle.remove()
    assert torch.equal(made, comfy.sample.sample_custom(base, noise, 1.0, *given, disable_pbar=True))
    queries = attention.norm_q(attention.q(asked[0]))
    keys = attention.norm_k(attention.k(dit.text_embedding(named.embeddings)))
    expected = torch.einsum("b n d, b c d -> b c n", queries, keys) / (2 * 48**0.5)
    scores = runs.find(made).scores
    assert scores.shape == (1, 3, 1, 2, 3, 4, 6)
    assert (scores[0, 0].flatten(2) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("tokens", [72, 7])
def test_self_attention_in_parts(core: Any, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As LTX-Video's guiding pictures part it: it is not taken for the text's, be the prompt as long as the video."""
    import comfy.ldm.modules.attention as attention
    import comfy.sample
    from comfy.samplers import sampler_object

    model = build("LTXV", LTX, 5)
    apply, whole, calls = core("adapters.comfy.sampling").apply_concept_attention, attention.optimized_attention, []
    prompt = [[randn(1, tokens, encoders.WIDTH, seed=3), {"attention_mask": torch.ones(1, tokens, dtype=torch.long)}]]
    shape = (1, 128, 3, 4, 6)
    given = sampler_object("euler"), torch.tensor([0.7, 0.0]), prompt, prompt, torch.zeros(shape)

    def sampled() -> Any:
        patched, runs = apply(model, two_concepts(core), "value", 0.0, 1.0)
        made = comfy.sample.sample_custom(patched, randn(*shape, seed=4), 1.0, *given, disable_pbar=True)
        return runs.find(made)

    def parted(q: Tensor, k: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        calls.append(len(calls) % 2 == 0)  # a block's first call is its self attention
        parts = q.split([30, 42], dim=1) if calls[-1] else (q,)
        return torch.cat([whole(part, k, *args, **kwargs) for part in parts], dim=1)

    expected = sampled()
    monkeypatch.setattr(attention, "optimized_attention", parted)
    maps = sampled()
    assert len(calls) == 6 and maps.scores.shape == (1, 3, 1, 2, 3, 4, 6) and maps.token_pixels == 32
    assert maps.pictures == 17 and (maps.scores - expected.scores).abs().max() < 1e-5


def test_a_reference_picture_is_not_the_video(core: Any) -> None:
    """Its tokens stand before the video's, and the maps are of the video alone."""
    wan = core("adapters.comfy.families.wan")
    dit = SimpleNamespace(patch_size=(1, 2, 2), ref_conv=object())
    call = SimpleNamespace(dit=dit, conds={"reference_latent": torch.zeros(1, 16, 8, 12)})
    layout = wan.Wan().layout(call, 72)
    assert layout.image(24 + 72 + 10) == slice(24, 96)
    assert wan.Wan().layout(SimpleNamespace(dit=dit, conds={}), 72).image(72) == slice(0, 72)
