"""Cosmos-Predict2 and Anima beside the model's own forward on the prompt and the concepts, behind real text encoders.

The oracle is the model's class itself, given each concept's rows behind those of the prompt, with an attention function
that hides them from the picture and keeps their logits and values. The rows are what ComfyUI makes of the concept as a
prompt: encoder, `extra_conds` and, in Anima, the model's adapter.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

from . import encoders
from .graphs import randn
from .helpers import APPLY
from .test_video import build

CONCEPTS = {"palm tree": (0, 1), "lighthouse": (0, 1), "skyscraper": (0, 1, 2, 3), "café": (0,)}
"""And which of T5's pieces are their own."""
COSMOS = {"image_model": "cosmos_predict2", "max_img_h": 240, "max_img_w": 240, "max_frames": 128, "in_channels": 16}
COSMOS |= {"out_channels": 16, "patch_spatial": 2, "patch_temporal": 1, "model_channels": 96, "num_blocks": 3}
COSMOS |= {"num_heads": 2, "concat_padding_mask": True, "crossattn_emb_channels": encoders.WIDTH}
COSMOS |= {"pos_emb_cls": "rope3d", "pos_emb_learnable": True, "use_adaln_lora": True, "adaln_lora_dim": 16}
MODELS = {
    "anima": ("Anima", {**COSMOS, "image_model": "anima", "crossattn_emb_channels": 32}, "anima", (1, 32, 64)),
    "cosmos": ("CosmosT2IPredict2", COSMOS, "cosmos", (1, 32, 64)),
    "cosmos_video": ("CosmosI2VPredict2", {**COSMOS, "in_channels": 17}, "cosmos", (3, 7, 10)),
}
"""ComfyUI's configuration, its settings, the text encoder, and a latent: of pictures one with as many tokens as the
prompt has rows, which self attention has then as well."""
SETTINGS = [(name, projection) for name in MODELS for projection in ("cross_attention", "value")]
SETTINGS += [("cosmos_video", "gram")]


@pytest.fixture
def core(pack: dict[str, Any]) -> Any:
    package = pack["ConceptAttention"].__module__.rsplit(".", 2)[0] + ".conceptattention_core"
    return lambda name: import_module(f"{package}.{name}")


@pytest.fixture(scope="module")
def clips(comfy: Any) -> Iterator[Any]:
    """Let go of with this module: what lives on to the interpreter's end cannot be taken down by ComfyUI."""
    found = {name: encoders.encoder(name) for name in ("anima", "cosmos")}
    yield found.__getitem__
    found.clear()


@pytest.fixture(autouse=True)
def as_comfyui_runs_nodes() -> Iterator[None]:
    """Where gradients could be wanted Anima's adapter is a part of its forward."""
    with torch.inference_mode():
        yield


@pytest.fixture
def tiny(comfy: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    from comfy.ldm.anima import model

    # Its size is no setting of the model's.
    small = {"source_dim": encoders.WIDTH, "target_dim": 32, "model_dim": 64, "num_layers": 2, "num_heads": 2}
    monkeypatch.setattr(model, "LLMAdapter", partial(model.LLMAdapter, **small))
    return lambda name: build(*MODELS[name][:2], 5)


def sample(model: Any, clip: Any, shape: tuple[int, ...], steps: int) -> Tensor:
    import nodes

    one, other = (nodes.CLIPTextEncode().encode(clip, text)[0] for text in ("a boat on the sea", ""))
    given = 0, steps, 3.0, "euler", "simple", one, other, {"samples": torch.zeros(shape)}
    return nodes.KSampler().sample(model, *given)[0]["samples"]


class Hidden:
    """An attention function in which the last keys of each text attention are concepts, unseen by the picture."""

    def __init__(self, keys: int, concepts: int) -> None:
        self.keys, self.concepts = keys, concepts
        self.logits: list[Tensor] = []
        self.values: list[Tensor] = []
        self.outputs: list[Tensor] = []

    def __call__(self, _: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, **given: Any) -> Tensor:
        assert given["skip_reshape"]
        logits = q.double() @ k.double().transpose(2, 3) / q.shape[3] ** 0.5
        prompt = slice(0, self.keys if k.shape[2] == self.keys + self.concepts else k.shape[2])
        output = (logits[..., prompt].softmax(dim=3) @ v[:, :, prompt].double()).transpose(1, 2)
        if k.shape[2] == self.keys + self.concepts:
            self.logits.append(logits[..., self.keys :])
            self.values.append(v[:, :, self.keys :].double())
            self.outputs.append(output)
        return output.flatten(2).to(q.dtype)

    def scores(self, projection: str, frames: int) -> Tensor:
        """``(blocks, C, N)``"""
        each = []
        for logits, values, output in zip(self.logits, self.values, self.outputs, strict=True):
            if projection == "cross_attention":
                each.append(logits[0].mean(dim=0).T)
            elif projection == "value":
                each.append(torch.einsum("h c d, n h d -> c n", values[0], output[0]))
            else:
                each.append(torch.cat([gram(*frame) for frame in self.frame_by_frame(logits, output, frames)], dim=1))
        return torch.stack(each)

    @staticmethod
    def frame_by_frame(logits: Tensor, output: Tensor, frames: int) -> list[tuple[Tensor, Tensor]]:
        return list(zip(logits[0].chunk(frames, dim=1), output[0].transpose(0, 1).chunk(frames, dim=1), strict=True))


def gram(logits: Tensor, output: Tensor) -> Tensor:
    """``(C, n)`` of one frame. logits: ``(H, n, C)``; output: ``(H, n, d)``."""
    heads = [said[asked.argmax(dim=0)] @ said.T for asked, said in zip(logits, output, strict=True)]
    return torch.stack(heads).mean(dim=0)


def rows_of(base: Any, clip: Any, name: str) -> Tensor:
    """A prompt's rows, ``(T, width)``, as the blocks are given them."""
    made = clip.encode_from_tokens(clip.tokenize(name), return_dict=True)
    latent = torch.zeros(1, 16, 1, 8, 8)
    given = {"cross_attn": made.pop("cond"), "noise": latent, "latent_image": latent, "device": latent.device, **made}
    return base.extra_conds(**given)["c_crossattn"].cond[0]


@pytest.mark.parametrize(("name", "projection"), SETTINGS)
def test_beside_the_models_own_forward(pack: dict[str, Any], clips: Any, tiny: Any, name: str, projection: str) -> None:
    *_, encoder, size = MODELS[name]
    model, clip, shape = tiny(name), clips(encoder), (1, 16, *size)
    settings = {**APPLY, "background": "", "projection": projection}
    patched, record = pack["ConceptAttentionApply"].execute(model, clip, ", ".join(CONCEPTS), **settings).result
    dit, seen = model.model.diffusion_model, []
    handle = dit.register_forward_pre_hook(lambda _, args, kwargs: seen.append((args, kwargs)), with_kwargs=True)
    maps = record.find(sample(patched, clip, shape, 1))
    handle.remove()

    args, kwargs = seen[0]
    context = kwargs["context"]
    positive = rows_of(model.model, clip, "a boat on the sea")
    row = next(at for at, rows in enumerate(context) if torch.equal(rows, positive))
    concepts = torch.stack([rows_of(model.model, clip, one)[list(own)].mean(dim=0) for one, own in CONCEPTS.items()])
    hidden = Hidden(context.shape[1], len(CONCEPTS))
    given = {**kwargs, "context": torch.cat([context[row], concepts])[None]}
    given["transformer_options"] = {"optimized_attention_override": hidden}
    dit(*(one[row : row + 1] for one in args), **given)
    expected = hidden.scores(projection, size[0])
    assert maps.scores.shape == (1, 3, 1, len(CONCEPTS), *((3, 4, 5) if size[0] == 3 else (16, 32)))
    assert (maps.scores[0, :, 0].flatten(2) - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("name", MODELS)
def test_the_picture_is_the_same(pack: dict[str, Any], clips: Any, tiny: Any, name: str) -> None:
    *_, encoder, (frames, *_) = MODELS[name]
    model, clip, shape = tiny(name), clips(encoder), (2, 16, frames, 7, 10)
    settings = {**APPLY, "background": "sky", "projection": "value"}
    patched, record = pack["ConceptAttentionApply"].execute(model, clip, "boat, sea", **settings).result
    made = sample(patched, clip, shape, 2)
    assert torch.equal(made, sample(model, clip, shape, 2)) and made.std() > 0
    assert record.find(made).scores.shape == (2, 3, 2, 3, *((3,) if frames == 3 else ()), 4, 5)


@pytest.mark.parametrize("name", MODELS)
def test_an_existing_picture(core: Any, clips: Any, tiny: Any, name: str) -> None:
    """What noise alone looks like is not what a picture looks like."""
    model, clip, encode = tiny(name), clips(MODELS[name][2]), core("adapters.comfy.encode")
    family = core("adapters.comfy.families").require_family(model)
    named = core("adapters.comfy.text").encode_concepts(clip, ("boat", "sea"), 0, "mean", model)
    prompt = encode.encode_prompt(clip, "a boat on the sea", 3.5, family.pooled_width(model.model.diffusion_model))
    latent, noise = randn(1, 16, 1, 8, 12, seed=5), randn(1, 16, 1, 8, 12, seed=6)
    found = []
    for level in (0.2, 1.0):
        forward = encode.NoisedForward(family, model, prompt, named, "cross_attention", level, 2)
        pictures = (latent, randn(1, 16, 1, 8, 12, seed=7))
        found.append([forward.maps(one, [noise], (64, 96), lambda: None).scores for one in pictures])
    (low, other), (high, alike) = found
    assert low.shape == (1, 3, 1, 2, *((1,) if family.video else ()), 4, 6)
    assert (low - other).abs().mean() > 10 * (high - alike).abs().mean()


def test_animas_clip_and_cosmos_clip_are_told_apart(pack: dict[str, Any], clips: Any, tiny: Any) -> None:
    """Both have T5's tokenizer and rows of one width."""
    for name, other in (("anima", "cosmos"), ("cosmos", "anima")):
        with pytest.raises(ValueError, match="do not belong together"):
            pack["ConceptAttentionApply"].execute(tiny(name), clips(other), "boat, sea", **APPLY)
