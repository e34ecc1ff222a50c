"""Families without a golden file, against an oracle of their own: the model itself, with the concepts in its prompt.

The concepts' captions stand beside the prompt in one conditioning, and every attention is computed anew in float64
under a mask: prompt and picture see only each other, a caption sees itself in the text path, and in the blocks its
concept sees concepts and picture. Nothing of the pack's stream takes part. That the picture comes out as without them
proves the mask; where its places depend on the prompt's length the captions come first, else last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import pytest
import torch
from einops import rearrange
from torch import Tensor
from torch.testing import assert_close

from .golden_cases import draw_weights
from .graphs import randn

PROMPT, CAPTION, OWN, CONCEPTS, SIGMA = 5, 3, 1, 3, 0.6
"""Rows of the prompt and of a caption, the caption's own row, how many captions, and the noise level."""


@dataclass(frozen=True)
class Given:
    """A tiny model. first: captions stand before the prompt. joint: blocks that concepts enter. size: of the latent."""

    config: str
    unet: dict[str, Any]
    width: int
    joint: int = 3
    first: bool = False
    channels: int = 16
    size: tuple[int, int] = (6, 8)
    extra: dict[str, Tensor] = field(default_factory=dict)


FLUX = {"in_channels": 16, "out_channels": 16, "patch_size": 2, "depth": 3, "depth_single_blocks": 2}
FLUX |= {"context_in_dim": 32, "hidden_size": 256, "num_heads": 2, "mlp_ratio": 4.0, "axes_dim": [16, 56, 56]}
FLUX |= {"theta": 10000, "qkv_bias": True, "guidance_embed": False, "vec_in_dim": None, "image_model": "flux"}
NEXT_DIT = {"image_model": "lumina2", "patch_size": 2, "in_channels": 16, "dim": 240, "n_layers": 3}
NEXT_DIT |= {"n_refiner_layers": 2, "n_heads": 6, "n_kv_heads": 2, "qk_norm": True, "cap_feat_dim": 32}
NEXT_DIT |= {"axes_dims": [16, 12, 12], "axes_lens": [300, 64, 64], "rope_theta": 10000.0}
PLAIN = {name: value for name, value in FLUX.items() if name != "guidance_embed"}
CHROMA = {"in_dim": 64, "out_dim": 256, "hidden_dim": 64, "n_layers": 2, "vec_in_dim": 16, "txt_ids_dims": []}
NERF = {"image_model": "chroma_radiance", "in_channels": 3, "out_channels": 3, "patch_size": 16}
NERF |= {"nerf_hidden_size": 16, "nerf_mlp_ratio": 2, "nerf_depth": 1, "nerf_max_freqs": 4, "nerf_tile_size": 0}
NERF |= {"nerf_final_head_type": "conv", "nerf_embedder_dtype": torch.float32, "use_x0": False}
GUIDANCE = {"guidance": torch.tensor([0.0])}
RADIANCE = {"channels": 3, "size": (48, 64), "extra": GUIDANCE}
HUNYUAN = {"image_model": "hunyuan_video", "in_channels": 64, "out_channels": 64, "patch_size": [1, 1], "depth": 3}
HUNYUAN |= {"depth_single_blocks": 2, "context_in_dim": 32, "hidden_size": 256, "num_heads": 2, "mlp_ratio": 4.0}
HUNYUAN |= {"axes_dim": [64, 64], "theta": 256, "qkv_bias": True, "vec_in_dim": None, "guidance_embed": True}
HUNYUAN |= {"byt5": False, "use_cond_type_embedding": False, "vision_in_dim": None, "meanflow_sum": False}
HUNYUAN_GIVEN = {"channels": 64, "extra": {"guidance": torch.tensor([6.0])}}

MODELS = {
    "ovis": Given("Flux", {**FLUX, "yak_mlp": True, "txt_norm": True, "txt_ids_dims": [1, 2]}, 32),
    "lumina2": Given("Lumina2", NEXT_DIT, 32, first=True),
    "radiance": Given("ChromaRadiance", {**PLAIN, **CHROMA, **NERF, "use_sequential_txt_ids": False}, 32, **RADIANCE),
    "radiance_sequential": Given(
        "ChromaRadiance", {**PLAIN, **CHROMA, **NERF, "use_sequential_txt_ids": True}, 32, **RADIANCE
    ),
    "chroma": Given("Chroma", {**PLAIN, **CHROMA, "image_model": "chroma", "in_channels": 64, "out_channels": 64}, 32,
                    extra=GUIDANCE),
    "hunyuan_image": Given("HunyuanImage21", {**HUNYUAN, "meanflow": False}, 32, **HUNYUAN_GIVEN),
    "hunyuan_image_distilled": Given("HunyuanImage21", {**HUNYUAN, "meanflow": True}, 32, **HUNYUAN_GIVEN),
}  # fmt: skip


class MaskedAttention:
    """The oracle: an override that computes attention in float64 under the mask, and keeps what the blocks give."""

    def __init__(self, given: Given, text: int) -> None:
        self.given, self.text = given, text
        self.kept: list[tuple[Tensor, Tensor]] = []

    def kinds(self, length: int) -> Tensor:
        """What each row is: -1 prompt, -2 picture, caption i its own row 2i, its other rows 2i + 1."""
        captions = torch.tensor([2 * at + (row != OWN) for at in range(CONCEPTS) for row in range(CAPTION)])
        prompt = torch.full((PROMPT,), -1)
        text = torch.cat((captions, prompt) if self.given.first else (prompt, captions))
        return torch.cat((text, torch.full((length - len(text),), -2)))

    def allowed(self, length: int) -> Tensor:
        """``(S, S)``, row sees column."""
        kind = self.kinds(length)
        if length == self.text:  # a refiner of the text: every caption for itself, and so the prompt
            group = torch.where(kind < 0, kind, kind // 2)
            return group[:, None] == group[None]
        concept, host = (kind >= 0) & (kind % 2 == 0), kind < 0
        see = host[:, None] & host[None]
        see |= concept[:, None] & (concept | (kind == -2))[None]
        return see | torch.eye(length, dtype=torch.bool)

    def __call__(self, function: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, *_: Any, **options: Any) -> Tensor:
        assert options.get("skip_reshape")
        q, k, v = q.double(), k.double(), v.double()
        length = q.shape[2]
        if length < self.text or length not in (self.text, self.whole()):
            mask = torch.ones(length, length, dtype=torch.bool)  # the picture alone
        else:
            mask = self.allowed(length)
        logits = torch.einsum("b h q d, b h k d -> b h q k", q, k) / math.sqrt(q.shape[3])
        out = torch.einsum("b h q k, b h k d -> b h q d", logits.masked_fill(~mask, -torch.inf).softmax(dim=-1), v)
        out = rearrange(out, "b h q d -> b q (h d)")
        if length == self.whole():
            kind = self.kinds(length)
            self.kept.append((out[:, (kind >= 0) & (kind % 2 == 0)], out[:, kind == -2]))
        return out.float()

    def whole(self) -> int:
        patch = self.given.unet["patch_size"]
        patch = patch[-1] if isinstance(patch, list) else patch
        return self.text + (self.given.size[0] // patch) * (self.given.size[1] // patch)


@pytest.fixture
def core(pack: dict[str, Any]) -> Any:
    package = pack["ConceptAttention"].__module__.rsplit(".", 2)[0] + ".conceptattention_core"
    return lambda name: import_module(f"{package}.{name}")


def evaluate(model: Any, given: Given, context: Tensor, override: Any = None) -> tuple[Tensor, Tensor]:
    """One evaluation by ComfyUI's own guider: the LATENT, and the denoised picture."""
    from comfy.conds import CONDConstant, CONDRegular
    from comfy.samplers import KSAMPLER, CFGGuider

    x = randn(1, given.channels, *given.size, seed=9)
    made: list[Tensor] = []

    def once(wrapped: Any, _: Tensor, sigmas: Tensor, extra_args: dict[str, Any], *__: Any, **___: Any) -> Tensor:
        made.append(wrapped(x, torch.full((1,), SIGMA), **extra_args))
        return made[0]

    conds = {name: CONDRegular(value) for name, value in given.extra.items()} | {"c_crossattn": CONDRegular(context)}
    if given.config == "Lumina2":
        conds["num_tokens"] = CONDConstant(context.shape[1])
    model = model.clone()
    if override is not None:
        model.model_options["transformer_options"]["optimized_attention_override"] = override
    model.model.extra_conds = lambda **_: conds
    try:
        guider = CFGGuider(model)
        guider.inner_set_conds({"positive": [[context, {}]]})
        empty, sigmas = torch.zeros_like(x), torch.tensor([SIGMA, 0.25, 0.0])
        latent = guider.sample(empty, empty.clone(), KSAMPLER(once), sigmas)
    finally:
        del model.model.extra_conds
    return latent, made[0]


def tiny(name: str) -> Any:
    """The MODEL of this name, with the golden cases' kind of weights."""
    import comfy.supported_models
    from comfy.model_patcher import ModelPatcher

    given = MODELS[name]
    base = getattr(comfy.supported_models, given.config)(dict(given.unet)).get_model({})
    draw_weights(base.diffusion_model, 7)
    return ModelPatcher(base, torch.device("cpu"), torch.device("cpu"))


def apart(refiner: Any) -> Any:
    """Hunyuan's refiner, which looks at the mean of all it is given: the prompt and each caption by themselves."""
    whole, parts = refiner.forward, [PROMPT, *[CAPTION] * CONCEPTS]
    return lambda text, *args, **options: torch.cat(
        [whole(part, *args, **options) for part in text.split(parts, dim=1)], dim=1
    )


@pytest.mark.parametrize("name", MODELS)
def test_family(core: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given, model = MODELS[name], tiny(name)
    prompt, captions = randn(1, PROMPT, given.width, seed=1), randn(CONCEPTS, CAPTION, given.width, seed=2)

    rows = rearrange(captions, "c t w -> 1 (c t) w")
    oracle = MaskedAttention(given, PROMPT + CONCEPTS * CAPTION)
    parts = (rows, prompt) if given.first else (prompt, rows)
    with monkeypatch.context() as patch:
        if given.config == "HunyuanImage21":
            refiner = model.model.diffusion_model.txt_in
            patch.setattr(refiner, "forward", apart(refiner))
        _, seen = evaluate(model, given, torch.cat(parts, dim=1), oracle)
    concept, image = (torch.stack(part) for part in zip(*oracle.kept[: given.joint], strict=True))
    expected = torch.einsum("l b c d, l b n d -> l b c n", concept, image).float()

    # In the oracle's sequence a concept stands this far from where the prompt begins.
    begin = -CONCEPTS * CAPTION if given.first else PROMPT
    module = core("concepts")
    named = tuple(
        module.Caption(rows, (OWN,), begin + CAPTION * at + OWN, PROMPT) for at, rows in enumerate(captions)
    )
    pooled = captions[:, OWN][None]
    concepts = module.Concepts(tuple("abc"), 0, pooled, named)
    patched, runs = core("adapters.comfy.sampling").apply_concept_attention(model, concepts, "output", 0.0, 1.0)
    latent, denoised = evaluate(patched, given, prompt)
    _, plain = evaluate(model, given, prompt)

    assert torch.equal(denoised, plain)
    assert_close(seen, plain, atol=1e-4, rtol=0)  # the mask shuts the captions off
    maps = runs.find(latent)
    assert_close(maps.scores[0].flatten(3), expected, atol=5e-4, rtol=0)
    shares = maps.saliency(0, -1, 1 / maps.temperature).flatten(2)
    assert_close(shares, expected.softmax(dim=2).mean(dim=0), atol=1e-5, rtol=0)
