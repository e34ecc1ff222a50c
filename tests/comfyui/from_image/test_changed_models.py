"""Concept Attention from Image on models that other nodes have changed; it leaves nothing behind, and nothing grows."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tools.benchmarks.cost.memory import peak_bytes

from .. import settings
from ..graphs import apply, ksampler, prompt, tiny_flux, tiny_weights
from .common import pictures, sampler_maps

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
    monkeypatch.setattr(comfy.utils, "PROGRESS_THROTTLE_MIN_INTERVAL", 0.0)  # or a fast machine is told less
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
