"""The picture does not change by one bit, whatever else is in the graph, and the maps are recorded there too.

A setting changes the MODEL, the prompts or the latent as some node of ComfyUI or of another pack would. Each is sampled
without the pack, with Apply Concept Attention before it, and with it behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from .graphs import (
    GRID,
    TINY,
    advanced,
    apply,
    cfg_guider,
    empty_latent,
    ksampler,
    prompt,
    randn,
    read_maps,
    tiny_flux,
    tiny_weights,
)
from .helpers import run_sampler
from .quantised import quantised_operations
from .settings import (
    SETTINGS,
    Setting,
    add_lora,
    area_beside_a_whole_prompt,
    attention_override,
    attn1_patches,
    controlnet,
    double_block_replacement,
    easy_cache,
    kontext,
    kontext_index,
    kontext_two_references,
    lora,
    lora_weights,
    plain,
    prompts_by_timestep,
    skip_layer_guidance,
    two_positive_prompts,
)

pytestmark = pytest.mark.usefixtures("comfy")


def sample(model: Any, setting: Setting, node: str, **changes: Any) -> Tensor:
    arguments = {"latent": setting.latent, "steps": setting.steps, **changes}
    if node == "KSampler":
        return ksampler(model, setting.positive, setting.negative, cfg=setting.cfg, **arguments)
    return advanced(cfg_guider(model, setting.positive, setting.negative, setting.cfg), **arguments)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("make", SETTINGS, ids=lambda make: make.__name__)
def test_picture_is_the_same(pack: dict[str, Any], make: Callable[[], Setting], dtype: torch.dtype) -> None:
    setting = make()
    base = tiny_flux(dtype, setting.weights)
    without = sample(setting.patch(base), setting, "KSampler")
    assert without.isfinite().all()
    if setting.changes_picture:  # or this setting would test nothing
        usual = Setting(latent={"samples": setting.latent["samples"]}, steps=setting.steps)
        assert not torch.equal(without, sample(base, usual, "KSampler"))

    patched, before = apply(pack, setting.patch(base))
    applied, after = apply(pack, base)
    behind = setting.patch(applied)
    runs = [
        (before, sample(patched, setting, "KSampler")),
        (after, sample(behind, setting, "KSampler")),
        (before, sample(patched, setting, "SamplerCustomAdvanced")),
    ]
    maps = [read_maps(pack, attention, picture) for attention, picture in runs]
    for (_, picture), found in zip(runs, maps, strict=True):
        assert torch.equal(picture, without)
        assert found.scores.isfinite().all() and found.scores.std() > 0
        assert found.scores.shape[1:] == (TINY["depth"], len(setting.latent["samples"]), 3, *GRID)
        assert torch.equal(found.scores, maps[0].scores) and found.sigmas == maps[0].sigmas
    assert torch.equal(sample(setting.patch(base), setting, "KSampler"), without)


def one_step(pack: dict[str, Any], base: Any, setting: Setting, **options: Any) -> Any:
    """The maps of the first step alone: the settings' different guidance has not moved the picture yet."""
    model, attention = apply(pack, base, **options)
    return read_maps(pack, attention, sample(setting.patch(model), setting, "KSampler", steps=1))


def count_rows(model: Any, rows: list[int]) -> None:
    """Note how many rows each evaluation of the model has."""
    from comfy.patcher_extension import WrappersMP

    def wrapper(executor: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        rows.append(len(x))
        return executor(x, *args, **kwargs)

    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "count_rows", wrapper)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("why", ["one batch", "prompts of different lengths", "little memory"])
def test_cfg_records_the_positive_prompt(
    pack: dict[str, Any], why: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from comfy.model_patcher import ModelPatcher

    base, rows = tiny_flux(), []
    expected = one_step(pack, base, Setting(latent=empty_latent(batch)))
    counted = base.clone()
    count_rows(counted, rows)
    if why == "little memory":
        monkeypatch.setattr(ModelPatcher, "get_free_memory", lambda *_: 0)
    negative = prompt(11, tokens=5) if why == "prompts of different lengths" else prompt(11)
    maps = one_step(pack, counted, Setting(cfg=3.0, negative=negative, latent=empty_latent(batch)))
    assert rows == ([2 * batch] if why == "one batch" else [batch, batch])
    assert_close(maps.scores, expected.scores, atol=1e-3, rtol=1e-4)


def guiders(model: Any) -> dict[str, Any]:
    from comfy_extras.nodes_custom_sampler import BasicGuider, DualCFGGuider, DualModelGuider
    from comfy_extras.nodes_perpneg import PerpNegGuider

    other = tiny_flux(weights=tiny_weights(seed=22))
    positive, negative, third = prompt(1), prompt(11), prompt(31)
    return {
        "basic": BasicGuider.execute(model, positive)[0],
        "dual cfg": DualCFGGuider.execute(model, positive, third, negative, 3.0, 2.0, "regular")[0],
        "nested dual cfg": DualCFGGuider.execute(model, positive, third, negative, 3.0, 2.0, "nested")[0],
        "dual model": DualModelGuider.execute(model, positive, 3.0, other, negative)[0],
        "perp-neg": PerpNegGuider.execute(model, positive, negative, third, 3.0, 1.0)[0],
    }


@pytest.mark.parametrize("name", ["basic", "dual cfg", "nested dual cfg", "dual model", "perp-neg"])
def test_guiders(pack: dict[str, Any], name: str) -> None:
    base = tiny_flux()
    model, attention = apply(pack, base)
    picture, denoised = advanced(guiders(model)[name], steps=2)
    assert torch.equal(picture, advanced(guiders(base)[name], steps=2)[0])
    maps = read_maps(pack, attention, picture)
    assert read_maps(pack, attention, denoised) is maps
    assert_close(maps.scores[:1], one_step(pack, base, plain()).scores, atol=1e-3, rtol=1e-4)


def test_a_batch_is_its_images_one_by_one(pack: dict[str, Any]) -> None:
    base = tiny_flux()
    noise = randn(3, 16, 12, 20, seed=9)
    model, attention = apply(pack, base)
    maps = read_maps(pack, attention, run_sampler(model, prompt(1), noise, [1.0, 0.6, 0.0], prompt(11), 2.0)[0])
    for row in range(3):
        single = run_sampler(model, prompt(1), noise[row : row + 1], [1.0, 0.6, 0.0], prompt(11), 2.0)[0]
        assert_close(maps.scores[:, :, row : row + 1], read_maps(pack, attention, single).scores, atol=1e-3, rtol=1e-4)
        assert_close(maps.features[:, row], read_maps(pack, attention, single).features[:, 0], atol=1e-2, rtol=1e-2)


def test_several_positive_prompts_are_averaged(pack: dict[str, Any]) -> None:
    base = tiny_flux()
    one, other = (one_step(pack, base, Setting(positive=prompt(seed))).scores for seed in (1, 31))
    both = one_step(pack, base, two_positive_prompts()).scores
    assert_close(both, (one + other) / 2, atol=1e-3, rtol=1e-4)


def test_an_area_prompt_is_left_out(pack: dict[str, Any]) -> None:
    import nodes

    base = tiny_flux()
    whole = one_step(pack, base, plain()).scores
    assert_close(one_step(pack, base, area_beside_a_whole_prompt()).scores, whole, atol=1e-3, rtol=1e-4)
    # ComfyUI gives the negative a copy of the positive's area, under the positive's own identifier. Here the area
    # is as large as the picture, so that its size alone would not tell.
    area = nodes.ConditioningSetArea().append(prompt(31), 512, 512, 0, 0, 1.0)[0]
    large = one_step(pack, base, Setting(positive=prompt(1) + area, cfg=2.0)).scores
    assert_close(large, whole, atol=1e-3, rtol=1e-4)


def test_steps_without_a_positive_prompt_are_left_out(pack: dict[str, Any]) -> None:
    setting = prompts_by_timestep()
    base = tiny_flux()
    model, attention = apply(pack, base)
    every, attention_every = apply(pack, base)
    maps = read_maps(pack, attention, sample(model, setting, "KSampler", steps=12))
    whole = read_maps(pack, attention_every, sample(every, plain(), "KSampler", steps=12))
    sampling = base.get_model_object("model_sampling")
    high, low = sampling.percent_to_sigma(0.5), sampling.percent_to_sigma(0.6)
    assert maps.sigmas == tuple(sigma for sigma in whole.sigmas if sigma >= high or sigma <= low) != whole.sigmas


def test_lora_reaches_the_concepts(pack: dict[str, Any]) -> None:
    """The concepts run through the text stream with the LoRA: as through a model that it was merged into."""
    weights, update = tiny_weights(), lora_weights()
    for name in list(update):
        if name.endswith(".lora_up.weight"):
            key = name.removeprefix("diffusion_model.").replace(".lora_up", "")
            weights[key] = weights[key] + update[name] @ update[name.replace("_up", "_down")]
    merged = one_step(pack, tiny_flux(weights=weights), plain()).scores
    assert_close(one_step(pack, tiny_flux(), lora()).scores, merged, atol=1e-3, rtol=1e-4)
    assert (one_step(pack, tiny_flux(), plain()).scores - merged).abs().max() > 0.1


FIRST_BLOCK = [
    # In the first block nothing has mixed yet, so what a setting does to the scores is known exactly.
    (attn1_patches, "output", None),
    (attn1_patches, "cross_attention", 1.2),
    (attn1_patches, "value", 0.8),
    (attention_override, "output", 0.9),
    (attention_override, "value", 1.0),
    (kontext_two_references, "cross_attention", 1.0),
    (kontext_two_references, "value", 1.0),
    (kontext_index, "cross_attention", 1.0),
    (controlnet, "output", 1.0),
    (skip_layer_guidance, "output", 1.0),
    (double_block_replacement, "output", 1.0),
]


@pytest.mark.parametrize(("make", "projection", "factor"), FIRST_BLOCK)
def test_first_block(pack: dict[str, Any], make: Callable[[], Setting], projection: str, factor: float | None) -> None:
    base = tiny_flux()
    setting = make()
    scores = one_step(pack, base, setting, projection=projection).scores[0]
    usual = one_step(pack, base, plain(), projection=projection).scores[0]
    if factor is not None:
        assert_close(scores[0], factor * usual[0], atol=1e-3, rtol=1e-4)
    moved = (scores[2] - usual[2]).abs().max()
    assert moved < 1e-3 if make is skip_layer_guidance else moved > 0.01


def test_kontext_with_reference_timestep_zero(pack: dict[str, Any]) -> None:
    """ComfyUI's `index_timestep_zero` (and Flux KV Cache, which sets it) is made for FLUX.2 and fails on FLUX.1."""
    setting = kontext("index_timestep_zero")
    base = tiny_flux()
    errors = []
    for model in (base, apply(pack, base)[0]):
        with pytest.raises(RuntimeError) as error:
            sample(model, setting, "KSampler")
        errors.append(str(error.value))
    assert errors[0] == errors[1]


def test_easy_cache_leaves_out_the_steps_it_skips(pack: dict[str, Any]) -> None:
    base = tiny_flux()
    model, attention = apply(pack, base)
    usual, attention_usual = apply(pack, base)
    setting = easy_cache()
    maps = read_maps(pack, attention, sample(setting.patch(model), setting, "KSampler"))
    whole = read_maps(pack, attention_usual, sample(usual, plain(), "KSampler", steps=setting.steps))
    assert set(maps.sigmas) < set(whole.sigmas)
    assert torch.equal(maps.scores[:2], whole.scores[:2])


@pytest.mark.parametrize("how", ["fp8", "offloaded", "quantised"])
def test_weights_in_other_forms(pack: dict[str, Any], how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """fp8 weights, weights that stay in main memory with a LoRA on top, GGUF-like layers."""
    from comfy.model_patcher import ModelPatcher

    setting = Setting(cfg=2.0)
    base = tiny_flux()
    exact = one_step(pack, base, setting).scores
    if how == "fp8":
        base = tiny_flux(torch.float8_e4m3fn)
        assert base.model.diffusion_model.txt_in.weight.dtype == torch.float8_e4m3fn
    elif how == "quantised":
        base = tiny_flux(custom_operations=quantised_operations())
        assert base.model.diffusion_model.txt_in.weight.ndim == 1
    else:
        exact = one_step(pack, base, Setting(cfg=2.0, patch=add_lora)).scores
        base, load = add_lora(tiny_flux()), ModelPatcher.load
        monkeypatch.setattr(ModelPatcher, "load", lambda self, device, **_: load(self, device, 1))
    without = sample(base, setting, "KSampler")
    if how == "offloaded":
        assert base.model.model_lowvram
    model, attention = apply(pack, base)
    picture = sample(model, setting, "KSampler")
    assert torch.equal(picture, without)
    scores = read_maps(pack, attention, picture).scores
    error = (scores[0] - exact[0]).abs().mean() / exact[0].std()
    assert error < (0.2 if how in ("fp8", "quantised") else 1e-5), error

