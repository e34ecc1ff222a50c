"""Maps of pictures while they are made: nothing about the picture or the pipeline may change."""

from __future__ import annotations

import gc
import weakref
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from conceptattention_core.adapters.diffusers import ConceptAttention, encode_concepts

CONCEPTS = ["dragon", "rock"]
TEXT = {"max_sequence_length": 16}
PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
MASK = Image.fromarray(np.pad(np.full((32, 32), 255, np.uint8), 16))


def state_of(model: torch.nn.Module) -> dict[str, Any]:
    """Everything that could have been left behind: hooks of every kind, processors, the modules' own attributes."""
    return {
        f"{name}.{attribute}": dict(value) if "hooks" in attribute else id(value)
        for name, module in model.named_modules()
        for attribute, value in vars(module).items()
    }


def test_the_picture_is_the_same_and_the_pipeline_too(make_pipe: Any, paint: Any) -> None:
    pipe = make_pipe()
    plain = paint(pipe)
    before = state_of(pipe.transformer)
    with ConceptAttention(pipe, CONCEPTS, ["background"], **TEXT) as attention:
        assert state_of(pipe.transformer) != before
        inside = paint(pipe)
    assert np.array_equal(plain, inside)
    assert state_of(pipe.transformer) == before
    maps = attention.maps()
    assert maps.concepts == ("dragon", "rock", "background") and maps.raw.background_count == 1
    assert maps.raw.scores.shape == (2, 3, 1, 3, 4, 4) and maps.raw.image_size == (64, 64)
    assert maps.raw.sigmas[0] == 1.0 and 0 < maps.raw.sigmas[1] < 1
    assert len(set(maps.saliency()["dragon"].flatten().tolist())) == 16


def controlnet() -> Any:
    from diffusers import FluxControlNetModel

    torch.manual_seed(2)
    sizes = {"attention_head_dim": 32, "num_attention_heads": 2, "joint_attention_dim": 32, "pooled_projection_dim": 32}
    net = FluxControlNetModel(in_channels=64, num_layers=1, num_single_layers=1, axes_dims_rope=(8, 12, 12), **sizes)
    for parameter in net.parameters():  # a new net's outputs are zero
        torch.nn.init.normal_(parameter, std=0.05)
    return net.eval()


KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "FluxPipeline": ({}, {}),
    "FluxImg2ImgPipeline": ({}, {"image": PHOTO, "strength": 0.5, "num_inference_steps": 4}),
    "FluxInpaintPipeline": ({}, {"image": PHOTO, "mask_image": MASK, "strength": 0.5, "num_inference_steps": 4}),
    "FluxFillPipeline": ({"in_channels": 384}, {"image": PHOTO, "mask_image": MASK}),
    "FluxControlPipeline": ({"in_channels": 128}, {"control_image": PHOTO}),
    "FluxControlNetPipeline": ({}, {"control_image": PHOTO, "controlnet_conditioning_scale": 1.0}),
    "FluxKontextPipeline": ({}, {"image": PHOTO, "_auto_resize": False, "max_area": 64 * 96, "width": 96}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("guided", [True, False], ids=["dev", "schnell"])
def test_every_pipeline(kind: str, guided: bool, make_pipe: Any, paint: Any) -> None:
    sizes, call = KINDS[kind]
    extra = {"controlnet": controlnet()} if "ControlNet" in kind else {}
    pipe = make_pipe(kind, extra, guidance_embeds=guided, **sizes)
    plain = paint(pipe, **call)
    with ConceptAttention(pipe, CONCEPTS, **TEXT) as attention:
        assert np.array_equal(plain, paint(pipe, **call))
    maps = attention.maps()
    assert maps.raw.scores.shape == (2, 3, 1, 3, 4, call.get("width", 64) // 16)
    assert maps.raw.scores.std() > 0.01 and maps.raw.scores.isfinite().all()


def test_true_cfg_records_the_prompt_only(make_pipe: Any, paint: Any) -> None:
    for kind in ("FluxPipeline", "FluxKontextPipeline"):
        pipe = make_pipe(kind)
        cfg = {"negative_prompt": "the ugly", "true_cfg_scale": 3.0}
        call = {**KINDS[kind][1], "num_inference_steps": 3}
        plain = paint(pipe, **call, **cfg)
        with ConceptAttention(pipe, CONCEPTS, **TEXT) as attention:
            assert np.array_equal(plain, paint(pipe, **call, **cfg))
            guided = attention.maps().raw
            assert not np.array_equal(plain, paint(pipe, **call))
        assert len(guided.sigmas) == 3
        # The first step sees the same noise and prompt with and without the negative prompt.
        assert torch.equal(guided.scores[0], attention.maps().raw.scores[0])
        assert not torch.equal(guided.scores[1], attention.maps().raw.scores[1])


def test_a_batch_is_its_pictures(make_pipe: Any, paint: Any) -> None:
    pipe = make_pipe()
    noise = torch.randn(4, 24, 64, generator=torch.Generator().manual_seed(5))
    size = {"height": 64, "width": 96}
    prompts = ["a cat on the sofa", "a dragon on the rock"]
    with ConceptAttention(pipe, CONCEPTS, **TEXT) as attention:
        paint(pipe, prompts, num_images_per_prompt=2, latents=noise, **size)
        maps = attention.maps()
        for index in range(4):
            paint(pipe, prompts[index // 2], latents=noise[index : index + 1], **size)
            alone = attention.maps()
            assert_close(maps[index].raw.scores, alone.raw.scores, atol=1e-4, rtol=1e-4)
    assert len(maps) == 4 and maps.raw.scores.shape[-2:] == (4, 6)
    with pytest.raises(ValueError, match=r"maps\[0\]"):
        maps.saliency()


def test_each_run_has_its_own_maps(make_pipe: Any, paint: Any) -> None:
    """A run that failed half way leaves nothing behind, and does not disturb the next one."""
    pipe = make_pipe()

    def interrupt(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        raise InterruptedError

    with ConceptAttention(pipe, CONCEPTS, **TEXT) as attention:
        with pytest.raises(RuntimeError, match="No picture"):
            attention.maps()
        paint(pipe, "a cat", num_inference_steps=1)
        first = attention.maps().raw
        for call in ({"callback_on_step_end": interrupt}, {"prompt": 5}, {"max_sequence_length": 1000}):
            with pytest.raises((InterruptedError, ValueError)):
                paint(pipe, **{"num_inference_steps": 3, **call})
            assert torch.equal(attention.maps().raw.scores, first.scores), "the last good maps stay"
        paint(pipe, "a cat", num_inference_steps=1)
        assert torch.equal(attention.maps().raw.scores, first.scores)
        paint(pipe, num_inference_steps=3)
    assert len(attention.maps().raw.sigmas) == 3


def test_opaque_blocks_are_named(make_pipe: Any) -> None:
    """As quantising and fusing packs make them: a block that computes its attention inside."""

    class Fused(torch.nn.Module):
        pass

    pipe = make_pipe()
    pipe.transformer.transformer_blocks[1] = Fused()
    with pytest.raises(ValueError, match=r"blocks are of class Fused, which does not show its attention"):
        ConceptAttention(pipe, CONCEPTS, **TEXT)


def test_an_interrupted_run_has_a_picture_and_its_maps(make_pipe: Any, paint: Any) -> None:
    """As diffusers' guide does it: the pipeline's own flag, set by a callback, ends the loop early."""

    def enough(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        pipe._interrupt = step == 1
        return kwargs

    pipe = make_pipe()
    with ConceptAttention(pipe, CONCEPTS, **TEXT) as attention:
        paint(pipe, num_inference_steps=4, callback_on_step_end=enough)
    assert len(attention.maps().raw.sigmas) == 2


def test_two_threads_on_one_pipeline_are_told(make_pipe: Any, paint: Any) -> None:
    pipe = make_pipe()
    wanted = paint(pipe)
    inside, refused, errors = Event(), Event(), []

    def wait(*_: Any) -> None:
        inside.set()
        refused.wait(60)

    def call(event: Event | None) -> None:
        try:
            paint(pipe)
        except RuntimeError as error:
            errors.append(str(error))
        if event is not None:
            event.set()

    before = state_of(pipe.transformer)
    with ConceptAttention(pipe, CONCEPTS, **TEXT) as attention:
        paint(pipe)
        first = attention.maps().raw.scores
        gate = pipe.transformer.transformer_blocks[1].register_forward_pre_hook(wait)
        one, other = Thread(target=call, args=(None,)), Thread(target=call, args=(refused,))
        one.start()
        assert inside.wait(60)
        other.start()
        one.join(60), other.join(60)
        gate.remove()
        assert len(errors) == 2 and all("Two threads call this pipeline at once" in error for error in errors)
        assert torch.equal(attention.maps().raw.scores, first)
        assert np.array_equal(paint(pipe), wanted) and torch.equal(attention.maps().raw.scores, first)
    assert state_of(pipe.transformer) == before


def test_nothing_stays_after_an_exception(make_pipe: Any, paint: Any) -> None:
    pipe = make_pipe()
    paint(pipe)
    before = state_of(pipe.transformer)
    broken = pipe.transformer.transformer_blocks[1].ff.register_forward_hook(lambda *_: 1 / 0)
    attention = ConceptAttention(pipe, CONCEPTS, **TEXT)
    with pytest.raises(ZeroDivisionError), attention:
        paint(pipe)
    broken.remove()
    assert state_of(pipe.transformer) == before
    with pytest.raises(RuntimeError, match="No picture"):
        attention.maps()
    with pytest.raises(RuntimeError, match="entered once"):
        attention.__enter__()


def test_the_pipeline_is_let_go(make_pipe: Any, paint: Any) -> None:
    pipe = make_pipe()
    with ConceptAttention(pipe, CONCEPTS, **TEXT) as attention:
        paint(pipe)
    watch = weakref.ref(pipe), weakref.ref(pipe.transformer)
    del pipe
    gc.collect()
    assert [seen() for seen in watch] == [None, None]
    assert attention.maps().saliency()["rock"].shape == (4, 4)


def test_the_choice_of_steps_and_space(make_pipe: Any, paint: Any) -> None:
    pipe = make_pipe()
    with ConceptAttention(pipe, "dragon, rock", "", sigma_range=(0.0, 0.6), projection="value", **TEXT) as attention:
        paint(pipe, num_inference_steps=4)
    assert attention.maps().raw.projection == "value" and all(sigma <= 0.6 for sigma in attention.maps().raw.sigmas)
    with ConceptAttention(pipe, CONCEPTS, sigma_range=(0.0, 0.01), **TEXT) as attention:
        paint(pipe)
    with pytest.raises(RuntimeError, match="sigma_range"):
        attention.maps()


def test_concepts_encoded_earlier(make_pipe: Any, paint: Any) -> None:
    pipe = make_pipe()
    concepts = encode_concepts(pipe, ("light house", "background"), 1, "mean", 16)
    first = encode_concepts(pipe, ("light house", "background"), 1, "first", 16)
    assert concepts.embeddings.shape == (1, 2, 32) and not torch.equal(concepts.embeddings, first.embeddings)
    alone = pipe.encode_prompt("light house", "light house", max_sequence_length=16)[0][0]
    assert_close(first.embeddings[0, 0], alone[0], atol=1e-5, rtol=0)
    assert_close(concepts.embeddings[0, 0], alone[:2].mean(dim=0), atol=1e-5, rtol=0)
    with ConceptAttention(pipe, "light house", **TEXT) as attention:
        paint(pipe)
    by_name = attention.maps().raw.scores
    with ConceptAttention(pipe, concepts) as attention:
        paint(pipe)
    assert torch.equal(attention.maps().raw.scores, by_name)


def test_every_pipeline_that_is_said_to_be_supported_exists() -> None:
    import diffusers

    supported = ConceptAttention.supported()
    assert set(KINDS) <= set(supported["FLUX.1"])
    for name in (name for names in supported.values() for name in names):
        assert issubclass(getattr(diffusers, name), diffusers.DiffusionPipeline | diffusers.ModularPipeline)


def test_clear_errors(make_pipe: Any) -> None:
    pipe = make_pipe()
    with pytest.raises(ValueError, match="nothing to compete"):
        ConceptAttention(pipe, ["dragon"], [])
    for name in ("房子", "дерево", "cat дерево"):
        with pytest.raises(ValueError, match="T5 knows no character"), ConceptAttention(pipe, [name], **TEXT):
            pass
    for names in ("(cat:1.3), sofa", ["{cat|sofa}"], ["cat", "x\ud83d"], ["cat", "x" * 201]):
        with pytest.raises(ValueError, match=r"`concepts`"):
            ConceptAttention(pipe, names)
    with pytest.raises(ValueError, match="no projection 'key'"):
        ConceptAttention(pipe, CONCEPTS, projection="key")  # type: ignore[arg-type]
    other = type("FluxKontextishPipeline", (), {"transformer": torch.nn.Linear(2, 2)})()
    with pytest.raises(ValueError, match=r"its transformer is a Linear.*FLUX\.1.*nearest pipeline is FluxKontextPipe"):
        ConceptAttention(other, CONCEPTS)
    with pytest.raises(ValueError, match="does not know the pipeline object"):
        ConceptAttention(object(), CONCEPTS)
    pipe.text_encoder_2 = None
    with pytest.raises(ValueError, match="no T5"), ConceptAttention(pipe, CONCEPTS):
        pass


def test_a_step_with_skipped_blocks_is_not_recorded(make_pipe: Any, paint: Any) -> None:
    """diffusers' own cache repeats the blocks' results of an earlier step."""
    from diffusers import FirstBlockCacheConfig

    pipe = make_pipe()
    pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=100.0))
    plain = paint(pipe, num_inference_steps=3)
    pipe.transformer._reset_stateful_cache()
    with ConceptAttention(pipe, CONCEPTS, **TEXT) as attention:
        assert np.array_equal(plain, paint(pipe, num_inference_steps=3))
    assert attention.maps().raw.sigmas == (1.0,)
    with ConceptAttention(pipe, CONCEPTS, sigma_range=(0.0, 0.7), **TEXT) as attention:
        paint(pipe, num_inference_steps=3)
    with pytest.raises(RuntimeError, match="enable_cache"):
        attention.maps()


def test_two_at_once(make_pipe: Any, paint: Any) -> None:
    """Neither sees the other."""
    pipe = make_pipe()
    with ConceptAttention(pipe, CONCEPTS, **TEXT) as alone:
        plain = paint(pipe)
    with ConceptAttention(pipe, ["cat"], **TEXT), ConceptAttention(pipe, CONCEPTS, **TEXT) as inner:
        assert np.array_equal(plain, paint(pipe))
    assert torch.equal(alone.maps().raw.scores, inner.maps().raw.scores)


@pytest.mark.parametrize("how", ["module", "in place", "blocks"])
def test_a_compiled_transformer_is_one_clear_error(how: str, make_pipe: Any) -> None:
    pipe = make_pipe()
    if how == "module":
        pipe.transformer = torch.compile(pipe.transformer)
    elif how == "in place":
        pipe.transformer.compile()
    else:
        pipe.transformer.compile_repeated_blocks()
    with pytest.raises(ValueError, match="compiled"):
        ConceptAttention(pipe, CONCEPTS)
