"""What must hold for every family without a text stream, on tiny models, and what its maps are beside DAAM's."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch
from einops import rearrange
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn.functional import interpolate

from . import encoders
from .golden_cases import CLASSES, FOLDER, Case, draw_weights, read_case
from .graphs import randn
from .helpers import APPLY, READ

TINY = ("sdxl_unet", "sd15", "wan", "ltx")
CONCEPTS, STEPS, WIDTH = 3, 2, 48
"""WIDTH: channels of the text, in every tiny model here."""
UNET = {"image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 32, "num_res_blocks": [1, 1]}
UNET |= {"channel_mult": [1, 2], "transformer_depth": [1, 1], "transformer_depth_middle": 1, "legacy": False}
UNET |= {"transformer_depth_output": [1, 1, 1, 1], "use_spatial_transformer": True, "use_temporal_attention": False}
SD15 = {**UNET, "use_linear_in_transformer": False, "context_dim": WIDTH, "num_heads": 2, "adm_in_channels": None}
XL = {**UNET, "use_linear_in_transformer": True, "context_dim": 2 * encoders.WIDTH, "num_head_channels": 32}
XL |= {"transformer_depth": [0, 2], "transformer_depth_output": [0, 0, 2, 2], "num_classes": "sequential"}
XL |= {"adm_in_channels": encoders.WIDTH + 6 * 256}


@pytest.fixture
def core(pack: dict[str, Any]) -> Any:
    package = pack["ConceptAttention"].__module__.rsplit(".", 2)[0] + ".conceptattention_core"
    return lambda name: import_module(f"{package}.{name}")


def case_of(name: str) -> Case:
    return read_case(FOLDER / f"{name}.safetensors")


def unet(config: str, settings: dict[str, Any], seed: int = 5) -> Any:
    import comfy.supported_models
    from comfy.model_patcher import ModelPatcher

    made = getattr(comfy.supported_models, config)(dict(settings))
    made.unet_config |= settings
    base = made.get_model({})
    draw_weights(base.diffusion_model, seed)
    return ModelPatcher(base, torch.device("cpu"), torch.device("cpu"))


def tiny_model(name: str, dtype: torch.dtype = torch.float32) -> Any:
    from comfy.model_patcher import ModelPatcher

    if name in CLASSES:
        model = ModelPatcher(case_of(name).model(), torch.device("cpu"), torch.device("cpu"))
    else:
        model = unet("SD15", SD15)
    if dtype != torch.float32:
        model.model.diffusion_model.to(dtype)
        model.model.diffusion_model.dtype = dtype
        if hasattr(model.model.diffusion_model, "patch_embedding"):
            model.model.diffusion_model.patch_embedding.float()  # Wan's stays so
    return model


def prompt(seed: int, tokens: int) -> list[Any]:
    extra = {"pooled_output": randn(1, 16, seed=seed + 1), "attention_mask": torch.ones(1, tokens, dtype=torch.long)}
    return [[randn(1, tokens, WIDTH, seed=seed), extra]]


def concepts(core: Any) -> Any:
    """Three captions of different lengths, whose second and third row are their own."""
    module = core("concepts")
    captions = tuple(module.Caption(randn(5 + at, WIDTH, seed=at), (1, 2), 1, 5 + at) for at in range(CONCEPTS))
    pooled = torch.stack([module.pool_tokens(one.tokens, one.own, "mean") for one in captions])[None]
    return module.Concepts(tuple("abc"), 0, pooled, captions)


def shape_of(model: Any, batch: int, size: tuple[int, ...]) -> tuple[int, ...]:
    latents = model.model.latent_format.latent_channels
    return (batch, getattr(model.model.diffusion_model, "in_channels", latents), *size)  # LTX's golden case has less


def sizes(model: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A latent whose sides are whole on every grid, and one with sides that are not."""
    frames = (3,) if model.model.latent_format.latent_dimensions == 3 else ()
    return (*frames, 8, 12), (*frames, 7, 10)


def sample(model: Any, batch: int, size: tuple[int, ...], negative_tokens: int, tokens: int = 7) -> Tensor:
    """A real run of the sampler with CFG: in one evaluation where both prompts have one length, else in two."""
    import comfy.sample
    from comfy.samplers import sampler_object

    shape = shape_of(model, batch, size)
    sampling = model.get_model_object("model_sampling")
    sigmas = torch.tensor([float(sampling.percent_to_sigma(0.2)), float(sampling.percent_to_sigma(0.6)), 0.0])
    given = prompt(1, tokens), prompt(11, negative_tokens), torch.zeros(shape)
    noise, sampler = randn(*shape, seed=3), sampler_object("euler")
    if "SDXL" in type(model.model).__name__ and "adm_in_channels" in model.model.model_config.unet_config:
        # The golden case's vector is 32 channels wide, too few for SDXL's own sizes.
        width = model.model.model_config.unet_config["adm_in_channels"]
        model.model.encode_adm = lambda **given: randn(1, width, seed=2)
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
    base, named = tiny_model(name, dtype), concepts(core)
    apply = core("adapters.comfy.sampling").apply_concept_attention
    family = core("adapters.comfy.families").require_family(base)
    even, odd = sizes(base)
    settings = [(base, 1, even, 7), (base, 2, odd, 4), (with_override(base), 1, odd, 7)]
    for at, (model, batch, size, negative) in enumerate(settings):
        without = sample(model, batch, size, negative)
        assert without.isfinite().all()
        patched, runs = apply(model, named, family.projections[at % len(family.projections)], 0.0, 1.0)
        made = sample(patched, batch, size, negative)
        assert torch.equal(made, without)
        maps = runs.find(made)
        dit = base.model.diffusion_model
        grid = tuple(-(-side // family.patch(dit)) for side in size[-2:])
        assert maps.scores.shape == (STEPS, family.depth(dit), batch, CONCEPTS, *size[:-2], *grid)
        assert maps.family == family.name and maps.projection == family.projections[at % len(family.projections)]
        assert maps.scores.isfinite().all() and maps.scores.std() > 0
        assert torch.equal(sample(model, batch, size, negative), without)


@pytest.mark.parametrize("name", TINY)
def test_the_positive_prompt_is_read(core: Any, name: str) -> None:
    """One evaluation with both prompts, and one for each, give the same maps at the first step."""
    base, named, found = tiny_model(name), concepts(core), []
    for negative in (7, 4):
        patched, runs = core("adapters.comfy.sampling").apply_concept_attention(base, named, "value", 0.0, 1.0)
        found.append(runs.find(sample(patched, 1, sizes(base)[0], negative)).scores[0])
    assert (found[0] - found[1]).abs().max() < 1e-4 * found[0].abs().max()


@pytest.mark.parametrize("name", [name for name in TINY if name != "sdxl_unet"])  # its block is a mean of two
def test_a_prompt_as_long_as_the_picture(core: Any, name: str) -> None:
    """Self attention has as many keys then. The first block's maps are those of its text attention all the same."""
    base, named = tiny_model(name), concepts(core)
    family = core("adapters.comfy.families").require_family(base)
    grid = [side // family.patch(base.model.diffusion_model) for side in sizes(base)[0][-2:]]
    tokens = grid[0] * grid[1] * (sizes(base)[0][0] if len(sizes(base)[0]) == 3 else 1)
    attention = first_text_attention(base.model.diffusion_model)
    asked: list[Tensor] = []
    handle = attention.register_forward_hook(lambda module, given, _: asked.append(given[0].clone()))
    patched, runs = core("adapters.comfy.sampling").apply_concept_attention(base, named, "cross_attention", 0.0, 1.0)
    maps = runs.find(sample(patched, 1, sizes(base)[0], 4, tokens))
    handle.remove()
    queries, keys = queries_and_keys(base.model, attention, asked[0], named)
    heads = attention.heads if hasattr(attention, "heads") else attention.num_heads
    width = queries.shape[-1]
    expected = torch.einsum("b n d, b c d -> b c n", queries, keys) / (heads * (width / heads) ** 0.5)
    assert (maps.scores[0, 0].flatten(2) - expected).abs().max() < 1e-4 * expected.abs().max()


def first_text_attention(dit: Any) -> Any:
    found = (module for at, module in dit.named_modules() if at.endswith(("attn2", "cross_attn")))
    return next(found)


def queries_and_keys(base: Any, attention: Any, hidden: Tensor, named: Any) -> tuple[Tensor, Tensor]:
    """By the attention's own layers, as its forward calls them."""
    own = torch.stack([one.tokens[list(one.own)] for one in named.captions])
    if hasattr(base.diffusion_model, "text_embedding"):
        rows = base.diffusion_model.text_embedding(own).mean(dim=1)[None]
        return attention.norm_q(attention.q(hidden)), attention.norm_k(attention.k(rows))
    if hasattr(base.diffusion_model, "caption_projection"):
        rows = base.diffusion_model.caption_projection(own).mean(dim=1)[None]
        return attention.q_norm(attention.to_q(hidden)), attention.k_norm(attention.to_k(rows))
    return attention.to_q(hidden), attention.to_k(named.embeddings)


@pytest.mark.parametrize("name", TINY)
def test_there_is_no_output(core: Any, name: str) -> None:
    base, named = tiny_model(name), concepts(core)
    with pytest.raises(ValueError, match=r"only reads the prompt.*no stream of text.*Choose cross_attention or value"):
        core("adapters.comfy.sampling").apply_concept_attention(base, named, "output", 0.0, 1.0)


@pytest.fixture(scope="module")
def clip(comfy: Any) -> Any:
    """Let go of with this module: what lives on to the interpreter's end cannot be taken down by ComfyUI."""
    return encoders.encoder("sdxl")


def sampled(clip: Any, patch: Any, text: str, cfg: float) -> tuple[Any, Any, Any]:
    """A tiny SDXL with a real CLIP behind `patch`, sampled by KSampler: the record, its LATENT and the plain one."""
    import nodes

    model = unet("SDXL", XL)
    patched, record = patch(model)
    positive, negative = (nodes.CLIPTextEncode().encode(clip, one)[0] for one in (text, ""))
    given = 0, 3, cfg, "euler", "normal", positive, negative, {"samples": torch.zeros(1, 4, 32, 48)}
    return record, *(nodes.KSampler().sample(one, *given)[0] for one in (patched, model))


def test_from_apply_to_mask_and_heat_map(pack: dict[str, Any], clip: Any) -> None:
    settings = {**APPLY, "background": "sky", "projection": "cross_attention"}

    def apply(model: Any) -> Any:
        return pack["ConceptAttentionApply"].execute(model, clip, "lighthouse, palm tree", **settings).result

    record, latent, plain = sampled(clip, apply, "a lighthouse on a hill", 5.0)
    assert torch.equal(latent["samples"], plain["samples"])
    _, _, _, maps = pack["ConceptAttention"].execute(record, latent, **READ).result
    assert maps.family == "SDXL" and maps.projection == "cross_attention" and maps.scores.shape[2:] == (1, 3, 16, 24)
    mask, preview, presence, *_ = pack["ConceptAttentionMask"].execute(**mask_inputs(record, latent)).result
    assert mask.shape == (1, 256, 384) and preview.shape == (1, 256, 384, 3) and 0 <= presence <= 1
    assert 0 < mask.mean() < 1
    style = {"layout": "pictures", "colors": "heat", "scale": "shared", "alpha": 0.6}
    style |= {"first_block": -65, "last_block": -65, "softmax_temperature": 1.0}
    (pictures,) = pack["ConceptAttentionHeatmap"].execute(record, "", **style, samples=latent).result
    assert pictures.shape == (3, 256, 384, 3) and pictures.std() > 0


def mask_inputs(record: Any, latent: Any) -> dict[str, Any]:
    plain = dict(grow=0, blur=0, fill_holes=False, min_area=0.0, invert=False, refine_edges=False, min_presence=0.0)
    blocks = dict(first_block=-65, last_block=-65, softmax_temperature=1.0)
    return {"maps": record, "samples": latent, "concept": "lighthouse", "method": {"method": "argmax"},
            "keep": {"keep": "all"}, **plain, **blocks}  # fmt: skip


class Daam:
    """What DAAM computes: each text attention's softmax over the prompt's pieces, summed over heads, blocks, steps."""

    def __init__(self, word: int, grid: tuple[int, int]) -> None:
        """word: the piece of the prompt that is looked for."""
        self.word, self.grid = word, grid
        self.heat, self.merged = torch.zeros(grid), torch.zeros(grid)
        """merged: the same with one softmax of the heads' mean instead of the mean of the heads' softmax."""

    def __call__(self, function: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, *args: Any, **kwargs: Any) -> Tensor:
        if k.shape[1] == 77:
            query, key = (rearrange(one, "1 n (h d) -> h n d", h=heads) for one in (q, k))
            scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5
            self.heat += self.in_grid(scores.softmax(dim=2)[:, :, self.word].mean(dim=0))
            self.merged += self.in_grid(scores.mean(dim=0).softmax(dim=1)[:, self.word])
        return function(q, k, v, heads, *args, **kwargs)

    def in_grid(self, own: Tensor) -> Tensor:
        ratio = (self.grid[0] * self.grid[1] / len(own)) ** 0.5
        own = own.unflatten(0, [round(side / ratio) for side in self.grid])
        return interpolate(own[None, None], self.grid, mode="bilinear")[0, 0]


def test_beside_daam(core: Any, clip: Any) -> None:
    """A word that is in the prompt, in one run of the same model, ordered by place.

    DAAM's probability is a word's part of all that a place reads of the prompt: start, end and padding are in it, too.
    A share is the concept's part among the concepts that a user names. So the two differ by what a word is measured
    against: with every piece of the prompt named as a concept they order places alike but for one thing. DAAM takes its
    softmax head by head, a share is that of the heads' mean: with the heads put together before DAAM's softmax the two
    agree, and without that as far as heads do among themselves (on random weights not far).
    """
    words, at = core("concepts"), 1
    rows = clip.encode_from_tokens(clip.tokenize("lighthouse by the sea"), return_dict=True)["cond"][0].float()
    captions = tuple(words.Caption(rows, (piece,), piece, len(rows)) for piece in range(len(rows)))
    named = words.Concepts(tuple(f"piece {piece}" for piece in range(len(rows))), 0, rows[None], captions)
    daam = Daam(at, (16, 24))

    def apply(model: Any) -> Any:
        model.model_options["transformer_options"]["optimized_attention_override"] = daam
        return core("adapters.comfy.sampling").apply_concept_attention(model, named, "cross_attention", 0.0, 1.0)

    record, latent, _ = sampled(clip, apply, "lighthouse by the sea", 1.0)
    maps = record.find(latent["samples"])
    share, score = maps.saliency()[0, at], maps.scores[:, :, 0, at].mean(dim=(0, 1))
    merged, agreement, alone = (
        float(spearmanr(one.flatten(), other.flatten()).statistic)
        for one, other in ((daam.merged, share), (daam.heat, share), (daam.heat, score))
    )
    print(f"rank correlation with DAAM {agreement:.3f}, its heads put together {merged:.3f}, raw scores {alone:.3f}")
    assert merged >= 0.95 and agreement >= 0.85 > alone


def patched(kind: str, model: Any) -> Any:
    """A model behind one of ComfyUI's own nodes that change how a UNet samples."""
    from comfy_extras import nodes_freelunch, nodes_hypertile, nodes_model_downscale, nodes_pag, nodes_tomesd

    smaller = nodes_model_downscale.PatchModelAddDownscale.execute
    made = {
        "half the size": lambda: smaller(model, 1, 2.0, 0.0, 1.0, True, "bicubic", "bicubic"),
        "two thirds at first": lambda: smaller(model, 1, 1.5, 0.0, 0.7, True, "bicubic", "bicubic"),
        "FreeU": lambda: nodes_freelunch.FreeU_V2.execute(model, 1.3, 1.4, 0.9, 0.2),
        "tiles": lambda: nodes_hypertile.HyperTile.execute(model, 32, 2, 0, False),
        "merged tokens": lambda: nodes_tomesd.TomePatchModel.execute(model, 0.3),
        "perturbed": lambda: nodes_pag.PerturbedAttentionGuidance.execute(model, 3.0),
    }[kind]()
    return made[0]


@pytest.mark.parametrize(
    "kind", ["half the size", "two thirds at first", "FreeU", "tiles", "merged tokens", "perturbed"]
)
def test_nodes_that_change_a_unet(core: Any, kind: str) -> None:
    """Before Apply and behind it: the picture is theirs, and so are the maps."""
    base, named, size = unet("SD15", SD15), concepts(core), (18, 26)
    apply = core("adapters.comfy.sampling").apply_concept_attention

    def run(model: Any) -> Tensor:
        torch.manual_seed(0)  # of those that draw which tokens to merge
        return sample(model, 1, size, 7)

    without = run(patched(kind, base))
    assert not torch.equal(without, run(base)) or kind == "tiles"
    model, before = apply(patched(kind, base), named, "cross_attention", 0.0, 1.0)
    made = run(model)
    assert torch.equal(made, without)
    other, behind = apply(base, named, "cross_attention", 0.0, 1.0)
    assert torch.equal(run(patched(kind, other)), without)
    maps = before.find(made)
    assert torch.equal(maps.scores, behind.find(made).scores)
    assert maps.scores.shape[3:] == (CONCEPTS, *size) and maps.scores.isfinite().all() and len(maps.scores) == STEPS


def test_a_grid_that_a_node_has_changed(core: Any) -> None:
    grid_of = core("cross").grid_of
    assert grid_of(9 * 13, (9, 13)) == (9, 13)
    for grid, like in (((6, 9), (9, 13)), ((5, 7), (9, 13)), ((32, 48), (64, 96)), ((1, 7), (3, 20))):
        assert grid_of(grid[0] * grid[1], like) == grid
