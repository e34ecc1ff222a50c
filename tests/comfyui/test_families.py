"""What must hold for every family alike, on tiny models: a new family's tests are its golden file's name here."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from . import test_family_oracle as oracle
from .golden_cases import FOLDER, read_case
from .graphs import randn
from .quantised import quantised_operations

TINY = (
    *("longcat_image", "flux2_dev", "flux2_klein", "zimage", "krea2", "qwen_image", "qwen_image_edit", "chroma"),
    *("sd3_medium", "sd35_large", "hidream", "aura_flow", "mage_flow", "lens", "joy_image"),
    *("pixel_dit", "boogu", "cogvideox_1_0", "cogvideox_1_5", "hunyuan_video", "hunyuan_video15"),
)
VIDEOS = ("cogvideox", "hunyuan_video")
CONCEPTS, STEPS, FRAMES = 3, 2, 3
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def core(pack: dict[str, Any]) -> Any:
    package = pack["ConceptAttention"].__module__.rsplit(".", 2)[0] + ".conceptattention_core"
    return lambda name: import_module(f"{package}.{name}")


def tiny_model(name: str, dtype: torch.dtype = torch.float32) -> Any:
    """A MODEL of the family, as its golden case builds it."""
    from comfy.model_patcher import ModelPatcher

    base = read_case(FOLDER / f"{name}.safetensors").model()
    if dtype != torch.float32:
        base.diffusion_model.to(dtype)
        base.diffusion_model.dtype = dtype
    return ModelPatcher(base, torch.device("cpu"), torch.device("cpu"))


def prompt(name: str, seed: int, tokens: int) -> list[Any]:
    """A made-up CONDITIONING with everything that a prompt of this family carries."""
    case = read_case(FOLDER / f"{name}.safetensors")
    extra: dict[str, Any] = {"guidance": 3.5}
    if "y" in case.tensors:
        extra["pooled_output"] = randn(1, case.tensors["y"].shape[1], seed=seed + 1)
    if name == "hunyuan_video15":  # ComfyUI's model asks for one that it does not read
        extra["pooled_output"] = None
    if "encoder_hidden_states_llama3" in case.tensors:
        llama = case.tensors["encoder_hidden_states_llama3"]
        extra["conditioning_llama3"] = randn(1, llama.shape[1], tokens, llama.shape[3], seed=seed + 2)
    if name in ("zimage", "boogu"):  # their encoders say which tokens are padding, and their models count the others
        extra["attention_mask"] = torch.ones(1, tokens, dtype=torch.long)
    if "ref_latents_0" in case.tensors:
        extra["reference_latents"] = [case.tensors["ref_latents_0"][:1]]
    return [[randn(1, tokens, case.tensors["context"].shape[2], seed=seed), extra]]


def concepts(core: Any, name: str) -> Any:
    """Three captions of different lengths, whose second and third row are their own."""
    module, width = core("concepts"), read_case(FOLDER / f"{name}.safetensors").tensors["context"].shape[2]
    captions = tuple(module.Caption(randn(5 + at, width, seed=at), (1, 2), 1, 5 + at) for at in range(CONCEPTS))
    pooled = torch.stack([module.pool_tokens(one.tokens, one.own, "mean") for one in captions])[None]
    return module.Concepts(tuple("abc"), 0, pooled, captions)


def family_of(core: Any, model: Any) -> Any:
    return core("adapters.comfy.families").require_family(model)


def sizes(family: Any, base: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """An even latent and one that is no whole number of tokens wide, where a token has several cells."""
    cells = family.patch(base.model.diffusion_model) // 2 or 1
    if family.name == "HunyuanVideo":  # ComfyUI itself cannot put its odd latents together
        cells = 2
    return (6 * cells, 8 * cells), (7 * cells, 5 * cells)


def sample(name: str, model: Any, batch: int, size: tuple[int, int], negative_tokens: int) -> Tensor:
    """A real run of the sampler with CFG: in one evaluation where both prompts have one length, else in two."""
    import comfy.sample
    from comfy.samplers import sampler_object

    latents = model.model.latent_format
    frames = (FRAMES if name.startswith(VIDEOS) else 1,) if latents.latent_dimensions == 3 else ()
    shape = (batch, latents.latent_channels, *frames, *size)
    sigmas = torch.tensor([0.9, 0.5, 0.0])
    given = prompt(name, 1, 7), prompt(name, 11, negative_tokens), torch.zeros(shape)
    noise, sampler = randn(*shape, seed=3), sampler_object("euler")
    return comfy.sample.sample_custom(model, noise, 3.0, sampler, sigmas, *given, disable_pbar=True)


def with_override(model: Any) -> Any:
    """Another pack's attention, which changes the picture."""
    model = model.clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = (
        lambda function, *args, **kwargs: 0.9 * function(*args, **kwargs)
    )
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", TINY)
def test_picture_is_the_same(core: Any, name: str, dtype: torch.dtype) -> None:
    base, named = tiny_model(name, dtype), concepts(core, name)
    apply = core("adapters.comfy.sampling").apply_concept_attention
    family = core("adapters.comfy.families").require_family(base)
    even, odd = sizes(family, base)
    settings = [(base, 1, even, 7), (base, 2, odd, 4), (with_override(base), 1, odd, 7)]
    for model, batch, size, negative in settings:
        without = sample(name, model, batch, size, negative)
        assert without.isfinite().all()
        patched, runs = apply(model, named, "output", 0.0, 1.0)
        made = sample(name, patched, batch, size, negative)
        assert torch.equal(made, without)
        maps = runs.find(made)
        patch = family.patch(base.model.diffusion_model)
        grid = tuple(-(-side // patch) for side in size)
        if family.video:
            grid = (-(-FRAMES // family.latent_frames(base.model.diffusion_model)), *grid)
        depth = family.depth(base.model.diffusion_model)
        assert maps.scores.shape == (STEPS, depth, batch, CONCEPTS, *grid) and maps.family == family.name
        assert maps.scores.isfinite().all() and maps.scores.std() > 0
        assert maps.features.shape == (depth, batch, 16, *grid) and (maps.features.float().std(dim=(3, 4)) > 0).all()
        assert torch.equal(sample(name, model, batch, size, negative), without)


@pytest.mark.parametrize("name", TINY)
def test_the_positive_prompt_is_read(core: Any, name: str) -> None:
    """One evaluation with both prompts, and one for each, give the same maps at the first step."""
    base, named = tiny_model(name), concepts(core, name)
    apply = core("adapters.comfy.sampling").apply_concept_attention
    even, _ = sizes(core("adapters.comfy.families").require_family(base), base)
    found = []
    for negative in (7, 4):
        patched, runs = apply(base, named, "output", 0.0, 1.0)
        found.append(runs.find(sample(name, patched, 1, even, negative)).scores[0])
    assert (found[0] - found[1]).abs().max() < 1e-4 * found[0].abs().max()


@pytest.mark.parametrize("name", TINY)
def test_a_block_that_another_node_skips_is_never_mislabelled(core: Any, name: str) -> None:
    base, named = tiny_model(name), concepts(core, name)
    families = core("adapters.comfy.families")
    if not families.require_family(base).stops_early:
        pytest.skip("ComfyUI has no block replacements for this family")
    skipping = base.clone()
    skipping.set_model_patch_replace(lambda args, extra: args, "dit", "double_block", 1)
    even, _ = sizes(families.require_family(base), base)
    without = sample(name, skipping, 1, even, 7)
    assert not torch.equal(without, sample(name, base, 1, even, 7))
    patched, runs = core("adapters.comfy.sampling").apply_concept_attention(skipping, named, "output", 0.0, 1.0)
    made = sample(name, patched, 1, even, 7)
    assert torch.equal(made, without)
    with pytest.raises(ValueError, match=r"did not pass on.*Remove that node"):
        runs.find(made)


@pytest.mark.parametrize("name", TINY)
def test_maps_of_an_existing_picture(core: Any, name: str) -> None:
    """One forward of a latent; with an earlier last block the maps are the whole forward's first ones, bit by bit.

    Readings that share a forward are what they are alone.
    """
    base, named = tiny_model(name), concepts(core, name)
    family = core("adapters.comfy.families").require_family(base)
    encode, even = core("adapters.comfy.encode"), sizes(family, base)[0]
    channels = base.model.latent_format.latent_channels
    shape = (1, channels, *((1,) if family.frames else ()), *even)
    latent, noise = randn(*shape, seed=5), randn(*shape, seed=6)

    def forward(last: int, projection: str = "output") -> Any:
        return encode.NoisedForward(family, base, prompt(name, 1, 7), named, projection, 0.5, last)

    def look(*forwards: Any) -> Any:
        return encode.read_together(forwards, latent, [noise], (64, 64), lambda: None)

    last = family.depth(base.model.diffusion_model) - 1
    (whole,), (early,) = look(forward(last)), look(forward(0))
    other, again = look(forward(last, "value"), forward(last))
    assert torch.equal(again.scores, whole.scores) and not torch.equal(other.scores, whole.scores)
    assert whole.scores.isfinite().all() and whole.scores.std() > 0 and early.blocks == (0,)
    assert torch.equal(early.scores, whole.scores[:, :1]) and torch.equal(early.features, whole.features[:1])


@pytest.mark.parametrize("name", TINY)
def test_lora_reaches_the_concepts(core: Any, name: str) -> None:
    """Changed weights, as ComfyUI patches them: the concepts see what they would in a model that was merged."""
    base, named = tiny_model(name), concepts(core, name)
    weights = base.model.diffusion_model.state_dict()
    keys = [key for key, weight in weights.items() if weight.ndim == 2 and key.endswith(".weight")]
    change = {
        key: 0.1 * randn(*weights[key].shape, seed=at) / weights[key].shape[1] ** 0.5
        for at, key in enumerate(keys)
    }
    patched, merged = base.clone(), tiny_model(name)
    patched.add_patches({f"diffusion_model.{key}": (delta,) for key, delta in change.items()})
    merged_weights = merged.model.diffusion_model.state_dict()
    for key, delta in change.items():
        merged_weights[key].add_(delta)
    apply, even = core("adapters.comfy.sampling").apply_concept_attention, sizes(family_of(core, base), base)[0]
    scores = []
    for model in (base, patched, merged):
        followed, runs = apply(model, named, "output", 0.0, 1.0)
        scores.append(runs.find(sample(name, followed, 1, even, 7)).scores[0])
    plain, changed, expected = scores
    assert (changed - expected).abs().max() < 1e-3 * expected.abs().max()
    assert (plain - expected).abs().max() > 0.01 * expected.abs().max()


@pytest.mark.parametrize("how", ["fp8", "quantised"])
@pytest.mark.parametrize("name", TINY)
def test_weights_in_other_forms(core: Any, name: str, how: str) -> None:
    """fp8 weights, and layers as GGUF nodes make them."""
    from comfy.model_patcher import ModelPatcher

    if how == "quantised" and name.startswith("cogvideox"):
        pytest.skip("ComfyUI itself casts this model's text and video to the dtype of the packed weight")
    case = read_case(FOLDER / f"{name}.safetensors")
    base = case.model(torch.float8_e4m3fn) if how == "fp8" else case.model(operations=quantised_operations())
    small = ModelPatcher(base, torch.device("cpu"), torch.device("cpu"))
    dtypes = {weight.dtype for weight in base.diffusion_model.parameters()}
    assert (torch.float8_e4m3fn if how == "fp8" else torch.int8) in dtypes
    even, named = sizes(family_of(core, small), small)[0], concepts(core, name)
    without = sample(name, small, 1, even, 7)
    apply = core("adapters.comfy.sampling").apply_concept_attention
    patched, runs = apply(small, named, "output", 0.0, 1.0)
    made = sample(name, patched, 1, even, 7)
    assert torch.equal(made, without) and made.isfinite().all()
    scores = runs.find(made).scores[0, 0]
    exact, others = apply(tiny_model(name), named, "output", 0.0, 1.0)
    whole = others.find(sample(name, exact, 1, even, 7)).scores[0, 0]
    assert (scores - whole).abs().mean() < 0.3 * whole.std()


@pytest.mark.parametrize("projection", ["cross_attention", "value"])
@pytest.mark.parametrize("name", TINY)
def test_the_other_projections(core: Any, name: str, projection: str) -> None:
    base = tiny_model(name)
    patched, runs = core("adapters.comfy.sampling").apply_concept_attention(
        base, concepts(core, name), projection, 0.0, 1.0
    )
    maps = runs.find(sample(name, patched, 1, sizes(family_of(core, base), base)[0], 7))
    assert maps.projection == projection and maps.scores.isfinite().all() and maps.scores.std() > 0


REFERENCES = ("flux2_dev", "flux2_klein", "krea2", "qwen_image", "mage_flow", "joy_image", "boogu")


@pytest.mark.parametrize("name", REFERENCES)
def test_reference_pictures_are_not_the_picture(core: Any, name: str) -> None:
    """Two references of other sizes. What the first block makes of the picture's own tokens does not depend on them."""
    from comfy.samplers import sampler_object

    base, named = tiny_model(name), concepts(core, name)
    apply, latents = core("adapters.comfy.sampling").apply_concept_attention, base.model.latent_format
    frame = (1,) if latents.latent_dimensions == 3 else ()
    shape = (1, latents.latent_channels, *frame, 6, 8)
    references = [randn(1, latents.latent_channels, *frame, *size, seed=size[0]) for size in ((4, 6), (5, 3))]

    def first_block(model: Any, **extra: Any) -> tuple[Tensor, Tensor]:
        import comfy.sample

        (context, given), = prompt(name, 1, 7)
        positive = [[context, {**given, **extra}]]
        arguments = sampler_object("euler"), torch.tensor([0.9, 0.0]), positive, positive, torch.zeros(shape)
        patched, runs = apply(model, named, "value", 0.0, 1.0)
        made, plain = (
            comfy.sample.sample_custom(one, randn(*shape, seed=3), 1.0, *arguments, disable_pbar=True)
            for one in (patched, model)
        )
        assert torch.equal(made, plain)
        return made, runs.find(made).scores[0, 0]

    alone, scores = first_block(base)
    method = {"reference_latents_method": "index"} if name == "krea2" else {}
    beside, with_references = first_block(base, reference_latents=references, **method)
    assert not torch.equal(alone, beside)
    assert (scores - with_references).abs().max() < 1e-4 * scores.abs().max()


CONTROLLED = ("longcat_image", "flux2_dev", "chroma", "qwen_image", "mage_flow", "lens", "sd3_medium", "sd35_large")


def control_net(hidden: int, tokens: int) -> Any:
    """A net of ComfyUI's own base class, whose residuals reach every block that this family lets a ControlNet reach."""
    from comfy.controlnet import ControlBase

    class Control(ControlBase):
        def get_control(self, x: Tensor, t: Tensor, cond: Any, batched: int, options: Any) -> dict[str, Any]:
            added = [0.5 * randn(len(x), tokens, hidden, seed=at) for at in range(2)]
            return {"input": added, "middle": [], "output": added}

        def copy(self) -> Any:
            return self

    return Control()


@pytest.mark.parametrize("name", CONTROLLED)
def test_control_nets(core: Any, name: str) -> None:
    import comfy.sample
    from comfy.samplers import sampler_object

    base, named = tiny_model(name), concepts(core, name)
    latents, family = base.model.latent_format, family_of(core, base)
    shape = (1, latents.latent_channels, *((1,) if latents.latent_dimensions == 3 else ()), *sizes(family, base)[0])
    patch = family.patch(base.model.diffusion_model)
    tokens = (shape[-2] // patch) * (shape[-1] // patch)
    hidden = read_case(FOLDER / f"{name}.safetensors").tensors["concept_vectors"].shape[-1]

    def run(model: Any, control: Any = None) -> Tensor:
        ((context, extra),) = prompt(name, 1, 7)
        positive = [[context, extra if control is None else {**extra, "control": control}]]
        arguments = sampler_object("euler"), torch.tensor([0.9, 0.5, 0.0]), positive, positive, torch.zeros(shape)
        return comfy.sample.sample_custom(model, randn(*shape, seed=3), 2.0, *arguments, disable_pbar=True)

    net = control_net(hidden, tokens)
    without = run(base, net)
    assert not torch.equal(without, run(base))
    patched, runs = core("adapters.comfy.sampling").apply_concept_attention(base, named, "output", 0.0, 1.0)
    made = run(patched, net)
    assert torch.equal(made, without)
    assert not torch.equal(runs.find(made).scores, runs.find(run(patched)).scores)


def test_people_are_told_of_every_family(core: Any) -> None:
    """A row in the README's table, and a word in the help page."""
    readme, page = ((ROOT / name).read_text() for name in ("README.md", "web/docs/ConceptAttentionApply.md"))
    for family in core("adapters.comfy.families").FAMILIES:
        assert f"| {family.name} |" in readme, family.name
        assert family.name.removesuffix(" I1") in page, family.name
        assert family.models and family.text.hint and family.vae


def test_every_family_is_here(core: Any) -> None:
    families = core("adapters.comfy.families")
    seen = {families.require_family(tiny_model(name)) for name in TINY}
    seen |= {families.require_family(oracle.tiny(name)) for name in oracle.MODELS}  # no golden file to build from
    others = {family for family in families.FAMILIES if "output" not in family.projections}  # test_cross_families
    assert {family for family in families.FAMILIES if family.name != "FLUX.1"} <= seen | others
