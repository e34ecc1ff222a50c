"""Concept Attention from Image: the same maps as a sampler's at that noise level, for a third of the work."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.testing import assert_close

from tools.cost.memory import peak_bytes
from tools.scenes import HELD_OUT, scene

from . import settings
from .graphs import TINY, apply, ksampler, prompt, randn, tiny_flux, tiny_weights
from .helpers import APPLY, READ, conditioning, table_clip
from .models import other_model

WORDS = ["", "house", "sky", "background", "a house"]
SETTINGS = {
    "background": "background",
    "prompt": "",
    "token_pooling": "mean",
    "projection": "output",
    "noise_level": 0.5,
    "noise_samples": 1,
    "seed": 0,
    "guidance": 3.5,
    "last_block": -1,
}


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    """As ComfyUI's executor runs nodes."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def vae(pack: dict[str, Any]) -> Any:
    return pack["ConceptAttentionDemoModel"].execute()[2]


@pytest.fixture(scope="module")
def flux(comfy: Any) -> Any:
    return tiny_flux()


@pytest.fixture(scope="module")
def clip(comfy: Any) -> Any:
    return table_clip(WORDS, randn(len(WORDS), TINY["context_in_dim"], seed=1))


@pytest.fixture
def look(pack: dict[str, Any], clip: Any, vae: Any) -> Callable[..., Any]:
    """The node's maps of `image` on `model`."""

    def run(model: Any, image: Tensor, concepts: str = "house, sky", clip: Any = clip, vae: Any = vae, **changes: Any):
        return pack["ConceptAttentionFromImage"].execute(model, clip, vae, image, concepts, **{**SETTINGS, **changes})[
            0
        ]

    return run


def pictures(count: int = 1, height: int = 48, width: int = 80, channels: int = 3) -> Tensor:
    return torch.rand(count, height, width, channels, generator=torch.Generator().manual_seed(3))


def noise(latent: Tensor, seed: int) -> Tensor:
    return torch.randn(latent.shape[1:], generator=torch.Generator().manual_seed(seed))[None]


def sampler_maps(pack: dict[str, Any], model: Any, clip: Any, latent: Tensor, seed: int = 0, **changes: Any) -> Any:
    """What Apply Concept Attention records in a sampler's step from this noise level, by the ordinary nodes."""
    from comfy_extras.nodes_custom_sampler import BasicGuider, KSamplerSelect, SamplerCustomAdvanced

    class Noise:
        seed = 0

        def generate_noise(self, latent: dict[str, Tensor]) -> Tensor:
            return noise(latent["samples"], seed)

    options = {**SETTINGS, **changes}
    applied, attention = pack["ConceptAttentionApply"].execute(
        model, clip, "house, sky", **{**APPLY, "background": "background", "projection": options["projection"]}
    )
    context = clip.encode_from_tokens(clip.tokenize(options["prompt"]))
    positive = conditioning(context, torch.zeros(1, TINY["vec_in_dim"]), guidance=options["guidance"])
    out = SamplerCustomAdvanced.execute(
        Noise(),
        BasicGuider.execute(applied, positive)[0],
        KSamplerSelect.execute("euler")[0],
        torch.tensor([options["noise_level"], 0.0]),
        {"samples": latent},
    )
    return pack["ConceptAttention"].execute(attention, out[0], **READ)[3]


def count_forwards(monkeypatch: pytest.MonkeyPatch, model: Any) -> dict[str, int]:
    """How often the forward of each block of this model runs from here on."""
    calls: dict[str, int] = {}
    flux = model.model.diffusion_model
    named = [(f"double {i}", block) for i, block in enumerate(flux.double_blocks)]
    named += [(f"single {i}", block) for i, block in enumerate(flux.single_blocks)]

    def counted(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            calls[name] = calls.get(name, 0) + 1
            return forward(*args, **kwargs)

        return run

    for name, block in named:
        monkeypatch.setattr(block, "forward", counted(name, block.forward))
    return calls


# ---- the right numbers ----


def test_golden_case(golden: Any, pack: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The authors' numbers, their prompt's pooled text included, through the node's own forward."""
    package = pack["ConceptAttention"].__module__.rsplit(".", 2)[0] + ".conceptattention_core"
    encode = sys.modules[f"{package}.adapters.comfy_encode"]
    scores_module, concepts_module = sys.modules[f"{package}.scores"], sys.modules[f"{package}.concepts"]
    seen = []
    real_block = scores_module.concept_block
    monkeypatch.setattr(scores_module, "concept_block", lambda *args: seen.append(real_block(*args)) or seen[-1])
    calls = count_forwards(monkeypatch, golden.model)

    config, expected = golden.config, golden.tensors
    names = tuple(f"concept{index}" for index in range(config["concepts"]))
    concepts = concepts_module.Concepts(names, 0, expected["concepts"])
    level, size = config["timestep"], (8 * config["latent_h"], 8 * config["latent_w"])
    for row in range(config["batch"]):
        seen.clear()
        one = slice(row, row + 1)
        positive = conditioning(expected["context"][one], expected["pooled"][one], guidance=config["guidance"])
        forward = encode.NoisedForward(golden.model, positive, concepts, "output", level, config["depth"] - 1)
        # The file holds the noised latent: the noise of an empty picture, then.
        given = expected["latent"][one]
        maps = forward.maps(torch.zeros_like(given), [given / level], size, lambda: None)

        vectors = torch.stack([vectors.output for vectors in seen])
        assert_close(vectors, expected["concept_vectors"][:, one], atol=1e-5, rtol=0)
        assert_close(maps.scores[0].flatten(-2), expected["scores"][:, one], atol=5e-4, rtol=0)
        assert_close(maps.saliency(0, -1), expected["saliency"][one], atol=1e-5, rtol=0)
    assert calls == {f"double {block}": config["batch"] for block in range(config["depth"])}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"prompt": "a house", "noise_level": 0.3, "seed": 7, "guidance": 1.0},
        {"noise_level": 0.0, "projection": "value"},
        {"noise_level": 1.0, "projection": "cross_attention"},
    ],
    ids=["defaults", "prompt", "clean", "noise"],
)
def test_as_a_sampler_sees_it(
    pack: dict[str, Any], look: Any, flux: Any, clip: Any, vae: Any, changes: dict[str, Any]
) -> None:
    image = pictures()
    maps = look(flux, image, **changes)
    expected = sampler_maps(pack, flux, clip, vae.encode(image), **changes)
    assert torch.equal(maps.scores, expected.scores)
    assert maps.sigmas == (changes.get("noise_level", 0.5),) and maps.image_size == (48, 80)
    assert (maps.concepts, maps.background_count) == (("house", "sky", "background"), 1)
    assert maps.blocks == (0, 1, 2) and maps.projection == changes.get("projection", "output")
    assert maps.scores.dtype == torch.float32 and maps.scores.device.type == "cpu"


def test_the_same_as_in_diffusers(pack: dict[str, Any], vae: Any, comfy: Any) -> None:
    from conceptattention_core.adapters.comfy_demo import DEMO_FOLDER, FLUX_FILE
    from conceptattention_core.adapters.diffusers import ConceptAttention
    from conceptattention_core.adapters.diffusers_demo import load_demo_pipeline

    pixels = torch.from_numpy(scene(HELD_OUT, 64).image).float() / 255
    model = comfy.sd.load_diffusion_model(str(DEMO_FOLDER / FLUX_FILE), model_options={"dtype": torch.float32})
    demo_clip = pack["ConceptAttentionDemoModel"].execute()[1]
    changes = {"prompt": "a house on the grass", "noise_level": 0.4, "seed": 5, "noise_samples": 2}
    maps = pack["ConceptAttentionFromImage"].execute(
        model, demo_clip, vae, pixels[None], "house, sky", **{**SETTINGS, **changes}
    )[0]
    there = ConceptAttention.encode(
        load_demo_pipeline(), pixels, "house, sky", prompt=changes["prompt"], noise_level=0.4, seeds=(5, 6)
    ).raw
    mean = there.scores.mean(dim=0, keepdim=True)
    assert_close(maps.scores, mean, atol=0.01 * float(mean.std()), rtol=0.01)
    assert (maps.concepts, maps.blocks, maps.image_size) == (there.concepts, there.blocks, there.image_size)


@pytest.mark.parametrize(("last_block", "depth"), [(-1, 3), (63, 3), (1, 2), (-2, 2), (0, 1), (-64, 1)])
def test_only_the_blocks_that_are_needed_run(
    look: Any, flux: Any, monkeypatch: pytest.MonkeyPatch, last_block: int, depth: int
) -> None:
    whole = look(flux, pictures())
    calls = count_forwards(monkeypatch, flux)
    maps = look(flux, pictures(), last_block=last_block)
    assert calls == {f"double {block}": 1 for block in range(depth)}
    assert maps.blocks == tuple(range(depth)) and torch.equal(maps.scores, whole.scores[:, :depth])


def test_a_batch_is_its_pictures_one_by_one(look: Any, flux: Any) -> None:
    image = pictures(3)
    before = torch.get_rng_state()
    together = look(flux, image, noise_samples=2, seed=2**64 - 1).scores
    alone = [look(flux, image[row : row + 1], noise_samples=2, seed=2**64 - 1).scores for row in range(3)]
    assert torch.equal(together, torch.cat(alone, dim=2))
    assert torch.equal(together, look(flux, image, noise_samples=2, seed=2**64 - 1).scores)
    assert torch.equal(torch.get_rng_state(), before)
    first, second = (look(flux, image, seed=seed).scores for seed in (2**64 - 1, 0))
    assert not torch.equal(first, second)
    assert_close(together, (first + second) / 2)


# ---- any picture ----


@pytest.mark.parametrize(
    ("height", "width"), [(48, 80), (40, 56), (17, 23), (1, 1), (1, 100), (7, 9), (16, 8192), (129, 15)]
)
def test_any_size(look: Any, flux: Any, height: int, width: int) -> None:
    """The grid begins in the picture's corner: what it has too much of repeats the right and the lower edge."""
    image = pictures(1, height, width)
    maps = look(flux, image)
    h, w = -(-height // 16), -(-width // 16)
    assert maps.scores.shape == (1, 3, 1, 3, h, w) and maps.image_size == (height, width)
    rows, columns = torch.arange(16 * h).clamp(max=height - 1), torch.arange(16 * w).clamp(max=width - 1)
    padded = look(flux, image[:, rows][:, :, columns])
    assert padded.image_size == (16 * h, 16 * w) and torch.equal(maps.scores, padded.scores)


def test_maps_line_up_with_the_picture(pack: dict[str, Any], look: Any) -> None:
    """Pictures of an awkward size: what the demo model finds lies where the scenes' label maps say."""
    demo, demo_clip, demo_vae = pack["ConceptAttentionDemoModel"].execute().result
    right = []
    for seed in range(HELD_OUT + 40, HELD_OUT + 44):
        one = scene(seed)
        image = torch.from_numpy(one.image[60:203, 40:211].copy())[None].float() / 255
        labels = torch.from_numpy(one.labels[60:203, 40:211].copy()).long()
        concepts = ", ".join(one.names)
        maps = look(demo, image, concepts, clip=demo_clip, vae=demo_vae, prompt=concepts, background="")
        found = interpolate(maps.saliency(), scale_factor=16, mode="bilinear")[0, :, :143, :171].argmax(dim=0) + 1
        right.append((found == labels)[labels > 0].float().mean())
    assert min(right) > 0.8


def test_grey_and_alpha(look: Any, flux: Any) -> None:
    grey = pictures(2, channels=1)
    expected = look(flux, grey.expand(-1, -1, -1, 3))
    assert torch.equal(look(flux, grey).scores, expected.scores)
    colour = pictures(2)
    assert torch.equal(look(flux, torch.cat([colour, grey], dim=-1)).scores, look(flux, colour).scores)


def broken_picture(value: float) -> Tensor:
    image = pictures(3)
    image[1, 5, 6, 0] = value
    return image


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": broken_picture(torch.nan)}, r"Picture 1 of `image` holds values that are not numbers"),
        ({"image": broken_picture(torch.inf)}, r"Picture 1 of `image` holds values that are not numbers"),
        ({"image": pictures()[0]}, r"`image` is a batch of pictures.*not \(48, 80, 3\)"),
        ({"image": pictures(channels=2)}, r"`image` is a batch of pictures.*not \(1, 48, 80, 2\)"),
        ({"image": pictures()[:0]}, r"`image` is a batch of pictures.*not \(0, 48, 80, 3\)"),
        ({"noise_level": 1.5}, r"noise_level \(1.5\) must lie between 0.*and 1"),
        ({"noise_samples": 0}, r"noise_samples \(0\) must be at least 1"),
        ({"concepts": " ,"}, r"No concept is named.*`concepts`"),
        ({"background": "", "concepts": "house"}, r"'house' has nothing to compete with"),
    ],
)
def test_errors(look: Any, flux: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        look(flux, **{"image": pictures(), **changes})


@pytest.mark.parametrize("family", ["SDXL", "SD3", "Flux2", "Chroma"])
def test_another_model_family(look: Any, family: str) -> None:
    with pytest.raises(ValueError, match=r"works on FLUX.1 models.*Load one with"):
        look(other_model(family), pictures())


def test_a_model_that_needs_more_than_a_picture(look: Any, comfy: Any) -> None:
    with pytest.raises(ValueError, match=r"Fill or Control model.*Use a plain FLUX.1"):
        look(tiny_flux(weights=tiny_weights(img_channels=384)), pictures())


def test_another_text_encoder_and_another_vae(look: Any, flux: Any, comfy: Any) -> None:
    narrow = table_clip(WORDS, randn(len(WORDS), 24))
    with pytest.raises(ValueError, match=r"encodes text to 24 channels and the model reads 32"):
        look(flux, pictures(), clip=narrow)
    config = {"ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1, "in_channels": 3, "out_ch": 3, "z_channels": 4,
              "resolution": 64, "double_z": True, "attn_resolutions": [], "embed_dim": 4}  # fmt: skip
    from comfy.ldm.models.autoencoder import AutoencoderKL

    sd15 = AutoencoderKL(ddconfig=config, embed_dim=4)
    other = comfy.sd.VAE(sd=sd15.state_dict(), config={"params": {"ddconfig": config, "embed_dim": 4}})
    with pytest.raises(ValueError, match=r"makes \(1, 4, 6, 10\).*reads \(1, 16, 6, 10\).*Connect FLUX.1's VAE"):
        look(flux, pictures(), vae=other)


# ---- whatever is on the model ----

ON_THE_MODEL = [
    settings.lora,
    settings.attention_override,
    settings.attn1_patches,
    settings.double_block_replacement,
    settings.skip_layer_guidance,
    settings.easy_cache,
    settings.lazy_cache,
    settings.model_sampling,
    settings.model_merge,
]


@pytest.mark.parametrize("make", ON_THE_MODEL, ids=lambda make: make.__name__)
def test_patches_on_the_model(
    pack: dict[str, Any], look: Any, flux: Any, clip: Any, vae: Any, make: Callable[[], Any]
) -> None:
    model = make().patch(flux)
    image = pictures()
    plain = look(flux, image)
    maps = look(model, image, noise_samples=2)
    each = [sampler_maps(pack, model, clip, vae.encode(image), seed=seed).scores for seed in (0, 1)]
    assert_close(maps.scores, (each[0] + each[1]) / 2, atol=1e-5, rtol=1e-5)
    assert torch.equal(look(flux, image).scores, plain.scores)
    if make in (settings.lora, settings.attn1_patches, settings.double_block_replacement, settings.model_merge):
        assert (look(model, image).scores - plain.scores).abs().max() > 0.01  # or this tests nothing


@pytest.mark.parametrize("how", ["fp8", "bf16", "offloaded"])
def test_weights_in_other_forms(
    pack: dict[str, Any], look: Any, clip: Any, vae: Any, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from comfy.model_patcher import ModelPatcher

    model = tiny_flux({"fp8": torch.float8_e4m3fn, "bf16": torch.bfloat16}.get(how, torch.float32))
    if how == "offloaded":
        model, load = settings.add_lora(model), ModelPatcher.load
        monkeypatch.setattr(ModelPatcher, "load", lambda self, device, **_: load(self, device, 1))
    maps = look(model, pictures())
    assert torch.equal(maps.scores, sampler_maps(pack, model, clip, vae.encode(pictures())).scores)
    assert model.model_dtype() == {"fp8": torch.float8_e4m3fn, "bf16": torch.bfloat16}.get(how, torch.float32)
    if how == "offloaded":
        assert model.model.model_lowvram


@pytest.mark.slow
def test_compiled_model(look: Any) -> None:
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    base = tiny_flux(weights=tiny_weights(depth=2))
    maps = look(base, pictures())
    compiled = base.clone()
    set_torch_compile_wrapper(compiled, backend="eager")
    assert_close(look(compiled, pictures()).scores, maps.scores, atol=1e-3, rtol=1e-4)


def test_an_applied_model(pack: dict[str, Any], look: Any, flux: Any) -> None:
    """Apply Concept Attention on the same MODEL records samplers, not this node, and still does afterwards."""
    model, attention = apply(pack, flux, "grass")
    assert torch.equal(look(model, pictures()).scores, look(flux, pictures()).scores)
    assert len(attention) == 0
    ksampler(model, prompt(1), steps=1)
    assert len(attention) == 1


@pytest.mark.parametrize("blocks", [(1, 2), (1,)])
def test_a_node_that_hides_blocks_is_named(look: Any, flux: Any, blocks: tuple[int, ...]) -> None:
    model = flux.clone()
    for index in blocks:
        model.set_model_patch_replace(lambda args, extra: args, "dit", "double_block", index)
    with pytest.raises(ValueError, match=rf"Double block {', '.join(map(str, blocks))} did not pass.*Remove that node"):
        look(model, pictures())
    assert look(model, pictures(), last_block=0).blocks == (0,)


def test_a_node_that_answers_for_the_model_is_named(look: Any, flux: Any) -> None:
    model = flux.clone()
    model.set_model_unet_function_wrapper(lambda apply_model, args: torch.zeros_like(args["input"]))
    with pytest.raises(ValueError, match=r"answered in its place.*Remove that node"):
        look(model, pictures())


# ---- nothing is left, and nothing grows ----


class Stop(Exception):
    pass


@pytest.mark.parametrize("how", ["done", "interrupt", "exception in the model", "exception in the VAE"])
def test_nothing_is_left(look: Any, vae: Any, how: str, monkeypatch: pytest.MonkeyPatch, comfy: Any) -> None:
    import comfy.model_management as management

    model = settings.add_lora(tiny_flux())
    picture = ksampler(model, prompt(1), steps=1)
    flux = model.model.diffusion_model
    maps = look(model, pictures(2))
    options, wrappers, patches = str(model.model_options), str(model.wrappers), model.patches_uuid
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks), m.forward.__func__) for m in flux.modules()]
    forwards: list[int] = []

    def progress(value: int, total: int, *_: Any, **__: Any) -> None:
        forwards.append(value)
        assert total == 4
        if value == 3 and how == "interrupt":
            management.interrupt_current_processing()

    comfy.utils.set_progress_bar_global_hook(progress)
    try:
        with monkeypatch.context() as patch:
            if how == "exception in the model":
                calls = []
                real = flux.double_blocks[1].img_mlp.forward

                def fail(x: Tensor) -> Tensor:
                    calls.append(1)
                    if len(calls) == 3:
                        raise Stop
                    return real(x)

                patch.setattr(flux.double_blocks[1].img_mlp, "forward", fail)
            elif how == "exception in the VAE":
                patch.setattr(vae.first_stage_model, "encode", lambda *_, **__: (_ for _ in ()).throw(Stop()))
            if how == "done":
                look(model, pictures(2), noise_samples=2)
            else:
                with pytest.raises(management.InterruptProcessingException if how == "interrupt" else Stop):
                    look(model, pictures(2), noise_samples=2)
    finally:
        comfy.utils.set_progress_bar_global_hook(None)
    assert forwards == {"done": [1, 2, 3, 4], "interrupt": [1, 2, 3], "exception in the VAE": []}.get(how, [1, 2])
    assert (str(model.model_options), str(model.wrappers), model.patches_uuid) == (options, wrappers, patches)
    assert hooks == [(len(m._forward_hooks), len(m._forward_pre_hooks), m.forward.__func__) for m in flux.modules()]
    assert torch.equal(look(model, pictures(2)).scores, maps.scores)
    assert torch.equal(ksampler(model, prompt(1), steps=1), picture)


def test_everything_is_freed(look: Any) -> None:
    import comfy.model_management as management

    model = tiny_flux()
    maps = look(model, pictures(2))
    assert any(loaded.model is not None and loaded.model.is_clone(model) for loaded in management.current_loaded_models)
    watched = [weakref.ref(model), weakref.ref(model.model.diffusion_model), weakref.ref(maps.scores)]
    del model, maps
    gc.collect()
    management.cleanup_models()
    gc.collect()
    assert [ref() is None for ref in watched] == [True] * 3


def test_memory_does_not_grow_with_the_pictures(look: Any, flux: Any) -> None:
    few, many = pictures(1, 96, 96), pictures(5, 96, 96)
    look(flux, few)
    peaks = [peak_bytes(lambda image=image: look(flux, image), cuda=False) for image in (few, many)]
    own = 4 * 4 * (16 * 12 * 12 + 2 * 3 * 3 * 36)  # four more latents, and scores while they are put together
    assert peaks[1] - peaks[0] < own + 32 * 1024 < peaks[0] / 10
