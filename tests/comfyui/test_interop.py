"""Other packs' patches, one small stand-in for each kind, on every family, in front of the pack and behind it.

The run is the same with the pack and without, to the bit; the reader gives the maps, or says in one message what
stood in the way.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from .graphs import randn
from .test_families import CONCEPTS, TINY, concepts, core, family_of, prompt, sizes, tiny_model

__all__ = ["core"]

Patch = Callable[[Any], Any]


def attention_override(model: Any) -> Any:
    """As SageAttention and attention-scaling packs."""
    model = model.clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = (
        lambda function, *args, **kwargs: 0.95 * function(*args, **kwargs)
    )
    return model


def attention_patch(model: Any) -> Any:
    """`attn1_patch`, as perturbed-attention packs: families that know it show it their queries, keys and values."""
    model = model.clone()

    def patch(q: Tensor, k: Tensor, v: Tensor, pe: Any = None, *_: Any, **named: Any) -> dict[str, Any]:
        return {"q": q, "k": k, "v": v * 1.05, "pe": pe}

    model.set_model_attn1_patch(patch)
    return model


def replaced_forward(model: Any) -> Any:
    """As TeaCache-like packs: the transformer's own forward, called by another one."""
    model = model.clone()
    dit = model.model.diffusion_model
    forward = partial(type(dit).forward, dit)
    model.add_object_patch("diffusion_model.forward", lambda *args, **kwargs: 1.01 * forward(*args, **kwargs))
    return model


def answered_from_a_cache(model: Any) -> Any:
    """As step caches: every second evaluation is answered with the one before, where the family asks wrappers."""
    model, kept = model.clone(), {}

    def wrapper(executor: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        key = x.shape, kwargs.get("transformer_options", args[-1] if args else {}).get("cond_or_uncond", [0])[0]
        if key in kept:
            return kept.pop(key)
        kept[key] = executor(x, *args, **kwargs)
        return kept[key]

    model.add_wrapper_with_key("diffusion_model", "cache", wrapper)
    return model


def other_rows_first(model: Any) -> Any:
    """As packs that evaluate both prompts one by one: `model_function_wrapper` in parts."""
    model = model.clone()

    def wrapper(apply_model: Any, args: dict[str, Any]) -> Tensor:
        return apply_model(args["input"], args["timestep"], **args["c"])

    model.set_model_unet_function_wrapper(wrapper)
    return model


def tiles(model: Any) -> Any:
    """As tiled-diffusion packs: the model sees the upper and the lower half of the picture by itself."""
    model = model.clone()

    def wrapper(apply_model: Any, args: dict[str, Any]) -> Tensor:
        beside = {name: args["c"][name].chunk(2, dim=-2) for name in ("c_concat",) if name in args["c"]}
        each = [
            apply_model(half, args["timestep"], **args["c"] | {name: parts[at] for name, parts in beside.items()})
            for at, half in enumerate(args["input"].chunk(2, dim=-2))
        ]
        return torch.cat(each, dim=-2)

    model.set_model_unet_function_wrapper(wrapper)
    return model


def one_by_one(model: Any) -> Any:
    """As low-memory packs: a batch is evaluated row by row."""
    model = model.clone()

    def rows(value: Any, row: int, count: int) -> Any:
        if isinstance(value, list):
            return [rows(one, row, count) for one in value]
        whole = isinstance(value, Tensor) and value.ndim > 0 and len(value) == count
        return value[row : row + 1] if whole else value

    def wrapper(apply_model: Any, args: dict[str, Any]) -> Tensor:
        x, count = args["input"], len(args["input"])
        each = (
            apply_model(rows(x, row, count), rows(args["timestep"], row, count), **{
                name: rows(value, row, count) for name, value in args["c"].items()
            })
            for row in range(count)
        )  # fmt: skip
        return torch.cat(list(each))

    model.set_model_unet_function_wrapper(wrapper)
    return model


class Foreign(torch.nn.Module):
    """A transformer of somebody's own, as Nunchaku's wrapper: the same answer from another class."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner, self.dtype = [inner], inner.dtype
        for name in ("in_channels", "ofs_proj_dim", "img_in"):  # what ComfyUI's models ask of their transformer
            if hasattr(inner, name):
                setattr(self, name, getattr(inner, name))

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.inner[0](*args, **kwargs)


def foreign_model(model: Any) -> Any:
    model = model.clone()
    model.add_object_patch("diffusion_model", Foreign(model.model.diffusion_model))
    return model


MAPS = ""
KINDS: dict[str, tuple[Patch, str, str]] = {
    "attention override": (attention_override, MAPS, MAPS),
    "attn1_patch": (attention_patch, MAPS, MAPS),
    "replaced forward": (replaced_forward, MAPS, MAPS),
    "cache": (answered_from_a_cache, MAPS, MAPS),
    "function wrapper": (other_rows_first, MAPS, MAPS),
    "tiles": (tiles, "No evaluation of the model saw the whole picture", "No evaluation of the model saw the whole"),
    "one by one": (one_by_one, "No evaluation of the model saw the whole picture", "No evaluation of the model saw"),
    "foreign model": (foreign_model, "does not know this MODEL.*transformer Foreign", "A Foreign answered in"),
}
"""The stand-in; and what is said where it stands in front of Apply Concept Attention, and behind it."""


def sample(name: str, model: Any, size: tuple[int, int], sampler: str = "euler") -> Tensor:
    import comfy.sample
    from comfy.samplers import sampler_object

    latents = model.model.latent_format
    shape = (1, latents.latent_channels, *((1,) if latents.latent_dimensions == 3 else ()), *size)
    sigmas = torch.tensor([0.9, 0.6, 0.3, 0.0])
    given = prompt(name, 1, 7), prompt(name, 11, 7), torch.zeros(shape)
    noise = randn(*shape, seed=3)
    return comfy.sample.sample_custom(model, noise, 3.0, sampler_object(sampler), sigmas, *given, disable_pbar=True)


@pytest.fixture(scope="module")
def bases() -> dict[str, Any]:
    """Each family's model, built once."""
    return {}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TINY)
def test_beside_another_packs_patch(core: Any, bases: dict[str, Any], name: str, kind: str) -> None:
    base = bases.setdefault(name, tiny_model(name)) if kind != "foreign model" else tiny_model(name)
    patch, before, behind = KINDS[kind]
    apply, named = core("adapters.comfy.sampling").apply_concept_attention, concepts(core, name)
    even = sizes(family_of(core, base), base)[0]
    # In front of the pack on one half of the families and behind it on the other, of each kind other halves.
    turn = (TINY.index(name) + list(KINDS).index(kind)) % 2
    for order, message in [(("before", before), ("behind", behind))[turn]]:
        if order == "before" and kind == "foreign model":
            with pytest.raises(ValueError, match=message):
                apply(patch(base), named, "output", 0.0, 1.0)
            continue
        patched, runs = apply(patch(base) if order == "before" else base, named, "output", 0.0, 1.0)
        made = sample(name, patched if order == "before" else patch(patched), even)
        assert torch.equal(made, sample(name, patch(base), even)), order
        assert made.isfinite().all()
        if message:
            with pytest.raises(ValueError, match=message):
                runs.find(made)
        else:
            maps = runs.find(made)
            assert maps.scores.shape[3] == CONCEPTS and maps.scores.isfinite().all() and maps.scores.std() > 0
            answered = kind == "cache" and not torch.equal(made, sample(name, base, even))
            assert len(maps.sigmas) == (2 if answered else 3)


@pytest.mark.parametrize("name", TINY)
def test_a_sampler_that_evaluates_twice_a_step(core: Any, bases: dict[str, Any], name: str) -> None:
    base = bases.setdefault(name, tiny_model(name))
    patched, runs = core("adapters.comfy.sampling").apply_concept_attention(
        base, concepts(core, name), "output", 0.0, 1.0
    )
    even = sizes(family_of(core, base), base)[0]
    made = sample(name, patched, even, "heun")
    assert torch.equal(made, sample(name, base, even, "heun"))
    assert len(runs.find(made).sigmas) == 3  # Heun looks at the second and third level once more


@pytest.mark.parametrize("where", ["begin", "attend", "score", "frame", "publish"])
def test_a_fault_in_the_recording_never_ends_the_run(
    core: Any, bases: dict[str, Any], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong in the pack's own part: the same picture, and a reader that says what it was."""
    base = bases.setdefault("flux2_dev", tiny_model("flux2_dev"))
    even = sizes(family_of(core, base), base)[0]
    wanted = sample("flux2_dev", base, even)
    tap, sampling = core("adapters.comfy.tap").AttentionTap, core("adapters.comfy.sampling")
    patched, runs = sampling.apply_concept_attention(base, concepts(core, "flux2_dev"), "output", 0.0, 1.0)

    def fail(*_: Any, **__: Any) -> Any:
        raise KeyError("x\ud83d")

    place = {"frame": (sampling.SamplingRecorder, "recorder_for"), "publish": (sampling.EvaluationRecorder, "record")}
    monkeypatch.setattr(*place.get(where, (tap, where)), fail)
    made = sample("flux2_dev", patched, even)
    assert torch.equal(made, wanted)
    with pytest.raises(ValueError, match=r"Recording failed in this run \(KeyError: .*picture is not affected") as said:
        runs.find(made)
    assert str(said.value).encode()


def test_no_room_for_the_concepts_is_said(core: Any, bases: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import comfy.model_management

    base = bases.setdefault("flux2_dev", tiny_model("flux2_dev"))
    even = sizes(family_of(core, base), base)[0]
    sampling = core("adapters.comfy.sampling")
    patched, runs = sampling.apply_concept_attention(base, concepts(core, "flux2_dev"), "output", 0.0, 1.0)
    monkeypatch.setattr(
        core("adapters.comfy.tap").AttentionTap,
        "begin",
        lambda self: (_ for _ in ()).throw(comfy.model_management.OOM_EXCEPTION("no room")),
    )
    made = sample("flux2_dev", patched, even)
    assert torch.equal(made, sample("flux2_dev", base, even))
    with pytest.raises(ValueError, match="not enough memory to record"):
        runs.find(made)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flux2_dev", "zimage", "qwen_image", "sd35_large", "krea2"])
def test_blocks_compiled_one_by_one(core: Any, bases: dict[str, Any], name: str) -> None:
    """As KJNodes' node does it, in front of the pack and behind it, on every list of blocks that the family has."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    base = bases.setdefault(name, tiny_model(name))
    dit, even = base.model.diffusion_model, sizes(family_of(core, base), base)[0]
    lists = [child for child, module in dit.named_children() if isinstance(module, torch.nn.ModuleList) and len(module)]
    keys = [f"diffusion_model.{child}.{index}" for child in lists for index in range(len(getattr(dit, child)))]

    def patch(model: Any) -> Any:
        model = model.clone()
        set_torch_compile_wrapper(model, backend="eager", keys=keys)
        return model

    apply, named = core("adapters.comfy.sampling").apply_concept_attention, concepts(core, name)
    expected = SimpleNamespace()
    expected.model, expected.runs = apply(base, named, "output", 0.0, 1.0)
    reference = expected.runs.find(sample(name, expected.model, even)).scores
    torch._dynamo.reset()
    for order in ("before", "behind"):
        patched, runs = apply(patch(base) if order == "before" else base, named, "output", 0.0, 1.0)
        made = sample(name, patched if order == "before" else patch(patched), even)
        scores = runs.find(made).scores
        assert (scores - reference).abs().max() < 1e-3 * reference.abs().max(), order
    torch._dynamo.reset()
