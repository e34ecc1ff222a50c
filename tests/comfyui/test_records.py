"""Nothing is lost, mixed up, or kept for ever: which sampling run a LATENT's maps come from."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from .graphs import advanced, apply, cfg_guider, empty_latent, ksampler, prompt, read, read_maps, tiny_flux


@pytest.fixture(scope="module")
def flux(comfy: Any) -> Any:
    return tiny_flux()


def in_prompt(prompt_id: str) -> Any:
    """The context in which ComfyUI's executor runs the nodes of one queued workflow."""
    from comfy_execution.utils import CurrentNodeContext

    return CurrentNodeContext(prompt_id, "1")


def record(pack: dict[str, Any], flux: Any, positive: list[Any], **kwargs: Any) -> Any:
    """The maps of a run on a model of its own."""
    model, attention = apply(pack, flux)
    return read_maps(pack, attention, ksampler(model, positive, **kwargs))


def same(one: Any, other: Any) -> bool:
    return one.sigmas == other.sigmas and torch.equal(one.scores, other.scores)


def test_two_samplers_on_one_model(pack: dict[str, Any], flux: Any) -> None:
    model, attention = apply(pack, flux)
    first = ksampler(model, prompt(1), seed=1)
    second = ksampler(model, prompt(2), seed=2, latent={"samples": first}, denoise=0.6)
    assert same(read_maps(pack, attention, first), record(pack, flux, prompt(1), seed=1))
    expected = record(pack, flux, prompt(2), seed=2, latent={"samples": first}, denoise=0.6)
    assert same(read_maps(pack, attention, second), expected)
    assert not same(read_maps(pack, attention, first), expected)


@pytest.mark.parametrize("parts", [(2, 4), (1, 2, 4)])
def test_a_run_in_parts_is_one(pack: dict[str, Any], flux: Any, parts: tuple[int, ...]) -> None:
    """KSampler (Advanced), one after the other: the maps are those of all steps, as if one sampler had made them."""
    import nodes

    def sampled(*ends: int) -> tuple[Any, Tensor]:
        model, attention = apply(pack, flux)
        latent, start = empty_latent(), 0
        for end in ends:
            first = "enable" if start == 0 else "disable"
            given = first, 3, 4, 1.0, "euler", "simple", prompt(1), prompt(90), latent, start, end, "enable"
            latent, start = nodes.KSamplerAdvanced().sample(model, *given)[0], end
        return attention, latent["samples"]

    whole, made = (read_maps(pack, *sampled(*ends)) for ends in ((4,), parts))
    assert made.sigmas == pytest.approx(whole.sigmas) and len(made.sigmas) == 4
    assert_close(made.scores, whole.scores, atol=1e-4, rtol=0)


def test_two_patched_models(pack: dict[str, Any], flux: Any) -> None:
    (model_a, attention_a), (model_b, attention_b) = apply(pack, flux), apply(pack, flux, "grass")
    latent_a, latent_b = ksampler(model_a, prompt(1)), ksampler(model_b, prompt(2))
    assert read_maps(pack, attention_a, latent_a).concepts == ("house", "sky", "background")
    assert read_maps(pack, attention_b, latent_b).concepts == ("grass", "background")
    with pytest.raises(ValueError, match="not made by a sampler on this patched model"):
        read(pack, attention_a, latent_b)


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_apply_on_an_already_patched_model(pack: dict[str, Any], flux: Any, cfg: float) -> None:
    model, attention_a = apply(pack, flux)
    model, attention_b = apply(pack, model, "grass", projection="value")
    latent = ksampler(model, prompt(1), cfg=cfg)

    alone, attention = apply(pack, flux, "grass", projection="value")
    assert torch.equal(latent, ksampler(alone, prompt(1), cfg=cfg))
    assert same(read_maps(pack, attention_a, latent), record(pack, flux, prompt(1), cfg=cfg))
    assert same(read_maps(pack, attention_b, latent), read_maps(pack, attention, latent))


def test_a_branch_records_for_the_model_it_was_patched_on(pack: dict[str, Any], flux: Any) -> None:
    """A LoRA node behind Apply makes a second MODEL: both branches' runs are found in the one record."""
    from comfy_extras.nodes_model_advanced import ModelSamplingFlux

    model, attention = apply(pack, flux)
    shifted = ModelSamplingFlux().patch(model, 2.0, 0.5, 1024, 1024)[0]
    one, other = ksampler(model, prompt(1)), ksampler(shifted, prompt(1))
    assert read_maps(pack, attention, one).sigmas != read_maps(pack, attention, other).sigmas


class Stop(Exception):
    pass


@pytest.mark.parametrize("how", ["interrupt", "exception", "exception in the model"])
def test_a_broken_run_leaves_nothing(
    pack: dict[str, Any], flux: Any, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.model_management as management
    import latent_preview

    model, attention = apply(pack, flux)
    options_before = str(model.model_options)

    def prepare_callback(*_: Any) -> Any:
        def callback(step: int, *_: Any) -> None:
            if step == 1 and how == "interrupt":
                management.interrupt_current_processing()
            elif step == 1:
                raise Stop

        return callback

    error = management.InterruptProcessingException if how == "interrupt" else Stop
    with monkeypatch.context() as patch, pytest.raises(error):
        if how == "exception in the model":
            single = flux.model.diffusion_model.single_blocks[0]
            patch.setattr(single, "forward", lambda *_, **__: (_ for _ in ()).throw(Stop()))
        else:
            patch.setattr(latent_preview, "prepare_callback", prepare_callback)
        advanced(cfg_guider(model, prompt(1)), steps=4)
    assert len(attention) == 0
    assert str(model.model_options) == options_before
    assert "concept_attention" not in str(flux.model_options)
    with pytest.raises(ValueError, match="No sampler has run"):
        read(pack, attention, empty_latent())

    latent = ksampler(model, prompt(1))
    assert same(read_maps(pack, attention, latent), record(pack, flux, prompt(1)))


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpm_2", "euler_ancestral", "dpmpp_2m", "uni_pc", "lcm"])
def test_either_output_and_every_sampler(pack: dict[str, Any], flux: Any, sampler: str) -> None:
    model, attention = apply(pack, flux)
    guider = cfg_guider(model, prompt(1))
    output, denoised = advanced(guider, steps=4, sampler=sampler)
    again, _ = advanced(guider, steps=4, sampler=sampler, seed=4)
    maps = read_maps(pack, attention, output)
    assert read_maps(pack, attention, denoised) is maps
    assert torch.equal(output, advanced(cfg_guider(flux, prompt(1)), steps=4, sampler=sampler)[0])
    assert not same(maps, read_maps(pack, attention, again))
    assert maps.sigmas[0] == 1.0 and list(maps.sigmas) == sorted(set(maps.sigmas), reverse=True)
    # One entry for each noise level that the model saw: dpm_2 sees one in the middle of each step, too.
    assert len(maps.sigmas) == {"dpm_2": 7, "uni_pc": len(maps.sigmas)}.get(sampler, 4)


def test_evaluations_at_one_noise_level_are_averaged(pack: dict[str, Any], flux: Any) -> None:
    """Heun sees the second noise level twice: at the end of its first step and at the start of its second."""
    seen: list[Tensor] = []
    model, attention = apply(pack, flux)
    adds = type(attention).__module__  # the pack's own record module, as ComfyUI loaded it
    recorder = __import__("sys").modules[adds].Recorder
    real = recorder.add

    def add(self: Any, sigma: float, blocks: tuple[int, ...], scores: Tensor, features: Tensor) -> None:
        seen.append(scores)
        real(self, sigma, blocks, scores, features)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder, "add", add)
        output, _ = advanced(cfg_guider(model, prompt(1)), steps=2, sampler="heun")
    maps = read_maps(pack, attention, output)
    assert len(seen) == 3 and len(maps.sigmas) == 2
    assert_close(maps.scores[0].flatten(-2), seen[0])
    assert_close(maps.scores[1].flatten(-2), (seen[1] + seen[2]) / 2)


def test_start_and_end_percent(pack: dict[str, Any], flux: Any) -> None:
    whole = record(pack, flux, prompt(1), steps=6)
    model, attention = apply(pack, flux, start_percent=0.3, end_percent=0.7)
    part = read_maps(pack, attention, ksampler(model, prompt(1), steps=6))
    sampling = flux.get_model_object("model_sampling")
    high, low = sampling.percent_to_sigma(0.3), sampling.percent_to_sigma(0.7)
    chosen = [at for at, sigma in enumerate(whole.sigmas) if low <= sigma <= high]
    assert 0 < len(chosen) < 6
    assert part.sigmas == tuple(whole.sigmas[at] for at in chosen)
    assert torch.equal(part.scores, whole.scores[chosen])


def test_a_strange_latent_is_an_error(pack: dict[str, Any], flux: Any) -> None:
    model, attention = apply(pack, flux)
    with pytest.raises(ValueError, match="No sampler has run on this patched model"):
        read(pack, attention, empty_latent())
    latent = ksampler(model, prompt(1), latent=empty_latent(2))
    for changed in (latent * 1.01, latent[:1], latent.roll(1, 0), latent[..., :-1], torch.zeros_like(latent)):
        with pytest.raises(ValueError, match=r"not made by a sampler on this patched model.*own LATENT output"):
            read(pack, attention, changed)
    read(pack, attention, latent.clone())  # its values tell, not the object
    read(pack, attention, latent.half())  # and ComfyUI may keep latents in fp16


def test_records_are_bounded_over_prompts(pack: dict[str, Any], flux: Any) -> None:
    model, attention = apply(pack, flux)
    kept, latents = [], []
    for number in range(30):
        with in_prompt(f"prompt {number}"):
            latents.append(ksampler(model, prompt(1), seed=number, steps=1))
        kept.append(len(attention))
    assert max(kept[20:]) == min(kept[20:]) <= 10
    assert read_maps(pack, attention, latents[-1]) is not read_maps(pack, attention, latents[-5])
    with pytest.raises(ValueError, match="no longer kept"):
        read(pack, attention, latents[0])


def test_all_runs_of_one_prompt_are_kept(pack: dict[str, Any], flux: Any) -> None:
    model, attention = apply(pack, flux)
    with in_prompt("the prompt before"):
        earlier = ksampler(model, prompt(1), seed=100, steps=1)
    with in_prompt("one prompt"):
        latents = [ksampler(model, prompt(1), seed=seed, steps=1) for seed in range(12)]
    maps = [read_maps(pack, attention, latent) for latent in (*latents, earlier)]
    assert len({id(found) for found in maps}) == 13


def test_everything_is_freed(pack: dict[str, Any], comfy: Any) -> None:
    import comfy.model_management as management

    base = tiny_flux()
    model, attention = apply(pack, base)
    guider = cfg_guider(model, prompt(1), cfg=2.0)
    latent, _ = advanced(guider)
    nodes_out = read(pack, attention, latent)
    maps = nodes_out[3]
    watched = {
        "base patcher": weakref.ref(base),
        "patched patcher": weakref.ref(model),
        "record": weakref.ref(attention),
        "maps": weakref.ref(maps),
        "scores": weakref.ref(maps.scores),
        "weights": weakref.ref(base.model.diffusion_model),
    }
    # A run's scores do not outlive the record and the maps that were handed out, even while the base model lives.
    del model, attention, guider, latent, nodes_out, maps
    gc.collect()
    assert [name for name, ref in watched.items() if ref() is not None] == ["base patcher", "weights"]
    del base
    gc.collect()
    management.cleanup_models()
    gc.collect()
    assert [name for name, ref in watched.items() if ref() is not None] == []
