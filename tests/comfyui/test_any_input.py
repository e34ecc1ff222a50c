"""Any shape, any words, and a clear error for what cannot work. A sampling run is never broken by the pack."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from .graphs import (
    GRID,
    TINY,
    WORDS,
    advanced,
    apply,
    cfg_guider,
    empty_latent,
    ksampler,
    prompt,
    randn,
    read,
    read_maps,
    tiny_flux,
    tiny_weights,
)
from .helpers import APPLY, table_clip


@pytest.fixture(scope="module")
def flux(comfy: Any) -> Any:
    return tiny_flux()


def text_encoder(context_dim: int = TINY["context_in_dim"]) -> Any:
    """ComfyUI's own Flux CLIP (tokenizers, T5, CLIP-L), two layers small, with random weights."""
    import comfy.sd
    import comfy.text_encoders.flux
    from comfy.supported_models_base import ClipTarget

    t5 = {"d_model": context_dim, "d_ff": 64, "d_kv": 16, "num_heads": 2, "num_layers": 2}
    clip_l = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2}
    clip = comfy.sd.CLIP(
        ClipTarget(comfy.text_encoders.flux.FluxTokenizer, comfy.text_encoders.flux.flux_clip()),
        model_options={"t5xxl_model_config": t5, "clip_l_model_config": clip_l, "dtype": torch.float32},
    )
    generator = torch.Generator().manual_seed(0)
    for weight in clip.cond_stage_model.parameters():
        x = torch.randn(weight.shape, generator=generator)
        weight.data = 1 + 0.1 * x if weight.ndim < 2 else x / weight.shape[-1] ** 0.5
    return clip


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
    else:
        assert (mask[share <= threshold - softness / 2 - 1e-6] == 0).all()
        assert (mask[share >= threshold + softness / 2 + 1e-6] == 1).all()
        assert_close(mask, ((share - threshold) / softness + 0.5).clamp(0, 1), atol=1e-4, rtol=0)


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
    with pytest.raises(ValueError, match=r"`image` holds 3 pictures and the LATENT 2.*decoded from this LATENT"):
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
        assert torch.equal(first[0], vectors[0])
        assert not torch.allclose(mean[0], first[0])


STRANGE = [
    "a \"quoted\" 'word'",
    "[square] {curly} <angle>",
    "(weighted:1.5)",
    "((nested)) (brackets",
    "back\\slash \\(escaped\\)",
    "Fußgänger über Çédille",
    "emoji 🐉 dragon",
    "100% $5 #tag @home",
    "embedding:nothing",
    "tab\tand  spaces",
    "word " * 400,
    "x" * 2000,
]


@pytest.mark.parametrize("name", STRANGE, ids=range(len(STRANGE)))
def test_strange_words(pack: dict[str, Any], flux: Any, clip: Any, name: str) -> None:
    settings = {**APPLY, "background": "background"}
    model, attention = pack["ConceptAttentionApply"].execute(flux, clip, name + "\nsky", **settings)
    picture = ksampler(model, prompt(1), steps=1)
    shown = " ".join(name.split())
    for concept in (shown, shown.upper()):
        _, _, overlay, maps = read(pack, attention, picture, concept=concept)
        assert maps.concepts == (shown, "sky", "background") and maps.index(concept) == 0
        assert maps.scores.isfinite().all() and overlay.shape[1] < 3 * maps.image_size[0]


def test_brackets_are_not_weights(pack: dict[str, Any], flux: Any, clip: Any) -> None:
    _, vectors = embeddings(pack, flux, clip, "dragon, (dragon:1.5), (dragon)", background="")
    tokens = clip.tokenize("\\(dragon:1.5\\)")
    assert all(weight == 1.0 for _, weight in tokens["t5xxl"][0])
    assert (vectors[0] - vectors[1]).abs().max() > 1e-3 and (vectors[0] - vectors[2]).abs().max() > 1e-3


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


# ---- what cannot work ----


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
        ({"first_block": 2, "last_block": 1}, r"No double block lies between.*blocks 0 to 2"),
        ({"first_block": 7, "last_block": 9}, r"No double block lies between.*blocks 0 to 2"),
    ],
)
def test_read_errors(pack: dict[str, Any], flux: Any, options: dict[str, Any], message: str) -> None:
    model, attention = apply(pack, flux)
    picture = ksampler(model, prompt(1), steps=1)
    with pytest.raises(ValueError, match=message):
        read(pack, attention, picture, **options)


def other_model(family: str) -> Any:
    """A real MODEL of another family, as ComfyUI builds it, as small as it gets."""
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models as supported

    unet = {
        "image_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": 64,
        "num_res_blocks": [1],
        "channel_mult": [1],
        "transformer_depth": [1],
        "transformer_depth_middle": 1,
        "transformer_depth_output": [1, 1],
        "use_spatial_transformer": True,
        "use_temporal_attention": False,
    }
    dit = {"in_channels": 16, "out_channels": 16, "depth": 1, "patch_size": 2}
    double_single = {
        **dit,
        "context_in_dim": 32,
        "hidden_size": 128,
        "num_heads": 1,
        "mlp_ratio": 4.0,
        "depth_single_blocks": 1,
        "theta": 10000,
        "qkv_bias": True,
    }
    configs = {
        "SD15": {
            **unet,
            "context_dim": 768,
            "num_heads": 8,
            "use_linear_in_transformer": False,
            "adm_in_channels": None,
        },
        "SDXL": {
            **unet,
            "context_dim": 2048,
            "num_head_channels": 32,
            "use_linear_in_transformer": True,
            "adm_in_channels": 2816,
            "num_classes": "sequential",
        },
        "SD3": {**dit, "pos_embed_max_size": 8, "num_patches": 64, "input_size": None, "adm_in_channels": 32},
        "Flux2": {
            **double_single,
            "image_model": "flux2",
            "vec_in_dim": None,
            "axes_dim": [32, 32, 32, 32],
            "guidance_embed": True,
            "global_modulation": True,
            "mlp_silu_act": True,
            "txt_ids_dims": [3],
        },
        "Chroma": {
            **double_single,
            "image_model": "chroma",
            "axes_dim": [16, 56, 56],
            "in_dim": 64,
            "out_dim": 128,
            "hidden_dim": 128,
            "n_layers": 1,
            "txt_ids_dims": [],
            "vec_in_dim": None,
        },
    }
    config = getattr(supported, family)(configs[family])
    return comfy.model_patcher.ModelPatcher(config.get_model({}), torch.device("cpu"), torch.device("cpu"))


@pytest.mark.parametrize("family", ["SD15", "SDXL", "SD3", "Flux2", "Chroma"])
def test_another_model_family(pack: dict[str, Any], clip: Any, family: str) -> None:
    model = other_model(family)
    name = type(model.model).__name__
    with pytest.raises(ValueError, match=rf"works on FLUX.1 models.*this MODEL is a {name}.*Load one with"):
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
        message = r"not a Flux text encoder.*DualCLIPLoader with type 'flux'"
    with pytest.raises(ValueError, match=message):
        pack["ConceptAttentionApply"].execute(flux, other, "house", **{**APPLY, "background": "background"})


# ---- what other nodes may do during the run: the picture is made all the same, and the reader says what was wrong ----


def unrecorded(pack: dict[str, Any], flux: Any, patch: Any, message: str, **options: Any) -> None:
    model, attention = apply(pack, flux, **options.pop("apply", {}))
    picture = ksampler(patch(model), **options)
    assert torch.equal(picture, ksampler(patch(flux), **options))
    with pytest.raises(ValueError, match=message):
        read(pack, attention, picture)


def test_no_recorded_step(pack: dict[str, Any], flux: Any) -> None:
    message = r"No step of this run lies between start_percent and end_percent.*Widen the range"
    part = {"start_percent": 0.5, "end_percent": 0.51}
    unrecorded(pack, flux, lambda model: model, message, positive=prompt(1), apply=part)


def test_only_area_prompts(pack: dict[str, Any], flux: Any) -> None:
    import nodes

    left = nodes.ConditioningSetArea().append(prompt(1), 80, 96, 0, 0, 1.0)[0]
    right = nodes.ConditioningSetArea().append(prompt(31), 80, 96, 80, 0, 1.0)[0]
    message = r"limited to an area of the picture.*add a prompt for the whole picture or use Conditioning Set Mask"
    unrecorded(pack, flux, lambda model: model, message, positive=left + right, cfg=2.0)


def replaced_block(model: Any) -> Any:
    """As caching and attention packs do: their own copy of the block's forward, which knows no patches."""

    def replace(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        return extra["original_block"]({**args, "transformer_options": {}})

    model = model.clone()
    for index in (1, 2):
        model.set_model_patch_replace(replace, "dit", "double_block", index)
    return model


def shortened_block(model: Any) -> Any:
    """As token-merging packs do: a block sees only some of the picture's tokens."""

    def replace(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        half, text = args["img"].shape[1] // 2, args["txt"].shape[1]
        pe = args["pe"][:, :, : text + half]
        out = extra["original_block"]({**args, "img": args["img"][:, :half].clone(), "pe": pe})
        return {"img": torch.cat([out["img"], args["img"][:, half:]], dim=1), "txt": out["txt"]}

    model = model.clone()
    model.set_model_patch_replace(replace, "dit", "double_block", 1)
    return model


def test_a_replaced_block_is_named(pack: dict[str, Any], flux: Any) -> None:
    unrecorded(pack, flux, replaced_block, r"[Dd]ouble block.* 1, 2 .*Remove that node", positive=prompt(1), cfg=2.0)
    unrecorded(pack, flux, shortened_block, r"[Dd]ouble block.* 1 .*Remove that node", positive=prompt(1))


def test_blocks_replaced_for_some_steps(pack: dict[str, Any], flux: Any) -> None:
    """Step-caching packs skip the blocks of some steps: the others are recorded."""
    calls = []

    def replace(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        calls.append(args)
        return extra["original_block"](args) if len(calls) != 2 else {"img": args["img"], "txt": args["txt"]}

    def patch(model: Any) -> Any:
        calls.clear()
        model = model.clone()
        model.set_model_patch_replace(replace, "dit", "double_block", 0)
        return model

    model, attention = apply(pack, flux)
    picture = ksampler(patch(model), prompt(1), steps=3)
    assert torch.equal(picture, ksampler(patch(flux), prompt(1), steps=3))
    assert len(read_maps(pack, attention, picture).sigmas) == 2


def test_tiles(pack: dict[str, Any], flux: Any) -> None:
    """Tiled-diffusion packs show the model a part of the picture at a time, several parts stacked as a batch."""

    def wrapper(apply_model: Any, args: dict[str, Any]) -> Tensor:
        x, c = args["input"], args["c"]
        left, right = x.chunk(2, dim=-1)
        parts = apply_model(torch.cat([left, right]), args["timestep"].repeat(2), **{
            name: value.repeat(2, *[1] * (value.ndim - 1)) if isinstance(value, Tensor) else value
            for name, value in c.items()
        })  # fmt: skip
        return torch.cat(parts.chunk(2), dim=-1)

    def patch(model: Any) -> Any:
        model = model.clone()
        model.set_model_unet_function_wrapper(wrapper)
        return model

    unrecorded(pack, flux, patch, r"a part of the picture or batch at a time, remove that node", positive=prompt(1))


def test_one_image_of_a_batch_at_a_time(pack: dict[str, Any], flux: Any) -> None:
    """Low-memory packs split a batch: no evaluation has a row for each image."""

    def wrapper(apply_model: Any, args: dict[str, Any]) -> Tensor:
        rows = range(len(args["input"]))
        return torch.cat([
            apply_model(args["input"][row : row + 1], args["timestep"][row : row + 1], **{
                name: value[row : row + 1] if isinstance(value, Tensor) else value for name, value in args["c"].items()
            })
            for row in rows
        ])  # fmt: skip

    def patch(model: Any) -> Any:
        model = model.clone()
        model.set_model_unet_function_wrapper(wrapper)
        return model

    unrecorded(pack, flux, patch, r"whole picture and batch", positive=prompt(1), latent=empty_latent(3))


@pytest.mark.parametrize("missing", ["positive", "uuids"])
def test_a_guider_of_its_own_kind(pack: dict[str, Any], flux: Any, missing: str) -> None:
    """Guiders may name their prompts as they like, and call the model with transformer options of their own."""
    import comfy.samplers

    class OwnGuider(comfy.samplers.CFGGuider):
        def predict_noise(self, x: Tensor, timestep: Tensor, model_options: Any = None, seed: Any = None) -> Tensor:
            if missing == "positive":
                return comfy.samplers.calc_cond_batch(
                    self.inner_model, [self.conds["mine"]], x, timestep, model_options
                )[0]
            cond = self.conds["positive"][0]["model_conds"]
            options = {**model_options["transformer_options"]}
            extra = {name: cond[name].process_cond(batch_size=len(x)).cond for name in ("c_crossattn", "y", "guidance")}
            return self.inner_model.apply_model(x, timestep, transformer_options=options, **extra)

    def guider(model: Any) -> Any:
        made = OwnGuider(model)
        made.inner_set_conds({"mine" if missing == "positive" else "positive": prompt(1)})
        return made

    model, attention = apply(pack, flux)
    picture, _ = advanced(guider(model))
    assert torch.equal(picture, advanced(guider(flux))[0])
    with pytest.raises(ValueError, match=r"positive prompt.*(KSampler|CFG Guider|guider)"):
        read(pack, attention, picture)


def test_noise_above_one(pack: dict[str, Any], flux: Any) -> None:
    """Samplers with churn, and nodes that multiply sigmas, start above the schedule: from 0 to 1 is all of it."""
    from comfy_extras.nodes_custom_sampler import KSamplerSelect, RandomNoise, SamplerCustomAdvanced

    model, attention = apply(pack, flux)
    out = SamplerCustomAdvanced.execute(
        RandomNoise.execute(1)[0],
        cfg_guider(model, prompt(1)),
        KSamplerSelect.execute("euler")[0],
        torch.tensor([1.1, 0.5, 0.0]),
        empty_latent(),
    )
    assert read_maps(pack, attention, out[0]["samples"]).sigmas == pytest.approx((1.1, 0.5))


def test_a_picture_of_not_a_numbers(pack: dict[str, Any], comfy: Any) -> None:
    """A model that overflows makes a black picture: the reader says so, and does not blame the connections."""
    weights = tiny_weights()
    weights["img_in.bias"] = torch.full_like(weights["img_in.bias"], torch.nan)
    model, attention = apply(pack, tiny_flux(weights=weights))
    picture = ksampler(model, prompt(1))
    assert picture.isnan().all()
    with pytest.raises(ValueError, match="not numbers"):
        read(pack, attention, picture)


def test_words_of_the_test_clip() -> None:
    """The other files' stand-in CLIP is only as good as its table."""
    clip = table_clip(list(WORDS), randn(len(WORDS), 32, seed=1))
    assert_close(clip.encode_from_tokens(clip.tokenize("sky"))[0][0], randn(len(WORDS), 32, seed=1)[1])
