"""Every family that both hosts have: diffusers' transformer with ComfyUI's weights, against the independent oracles.

The same files hold ComfyUI's adapter to the same numbers (test_family_golden), so the two agree as well.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import Any

import diffusers
import pytest
import torch
from diffusers.loaders import single_file_utils
from diffusers.models.transformers.transformer_z_image import FeedForward
from einops import rearrange
from torch import Tensor
from torch.nn.functional import pad
from torch.testing import assert_close

from conceptattention_core import concepts as core
from conceptattention_core.adapters.diffusers.families import FAMILIES
from conceptattention_core.adapters.diffusers.families.base import Family
from conceptattention_core.adapters.diffusers.families.flux import image_ids
from conceptattention_core.adapters.diffusers.families.stream import pack
from conceptattention_core.adapters.diffusers.tap import Tap
from conceptattention_core.adapters.diffusers.weights import flux_weights
from conceptattention_core.record import Recorder

from . import test_family_oracle as oracle
from .golden_cases import FOLDER, Case, read_case
from .graphs import randn
from .test_cross_golden import SETTINGS, expected
from .test_family_golden import LOOSE, TOLERANCES, evaluate
from .test_family_golden import core as pack_modules  # noqa: F401

Transformer = torch.nn.Module
Inputs = dict[str, Any]


def sd3(case: Case, state: dict[str, Tensor]) -> tuple[Transformer, Inputs, Any]:
    sizes = case.config["unet_config"]
    width = 64 * sizes["depth"]
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8,
        num_layers=sizes["depth"],
        num_attention_heads=sizes["depth"],
        joint_attention_dim=32,
        caption_projection_dim=width,
        pooled_projection_dim=sizes["adm_in_channels"],
        pos_embed_max_size=sizes["pos_embed_max_size"],
        qk_norm="rms_norm" if "qk_norm" in sizes else None,
    )
    transformer.load_state_dict(single_file_utils.convert_sd3_transformer_checkpoint_to_diffusers(state))
    time = torch.full((len(case.x),), 1000 * case.config["sigma"])
    inputs = {"hidden_states": case.x, "pooled_projections": case.tensors["y"], "timestep": time}
    return transformer, {**inputs, "encoder_hidden_states": case.tensors["context"]}, lambda made: made


def chroma(case: Case, state: dict[str, Tensor]) -> tuple[Transformer, Inputs, Any]:
    sizes = case.config["unet_config"]
    transformer = diffusers.ChromaTransformer2DModel(
        num_layers=sizes["depth"],
        num_single_layers=sizes["depth_single_blocks"],
        num_attention_heads=sizes["num_heads"],
        joint_attention_dim=sizes["context_in_dim"],
        approximator_hidden_dim=sizes["hidden_dim"],
        approximator_layers=sizes["n_layers"],
    )
    network = {name: state.pop(name) for name in list(state) if name.startswith("distilled_guidance_layer.")}
    for ours, theirs in ((".in_layer", ".linear_1"), (".out_layer", ".linear_2"), (".scale", ".weight")):
        network = {name.replace(ours, theirs): value for name, value in network.items()}
    transformer.load_state_dict(flux_weights(state) | network)
    text = case.tensors["context"]
    inputs = {
        "hidden_states": pack(case.x),
        "encoder_hidden_states": text,
        "timestep": torch.full((len(text),), case.config["sigma"]),
        "img_ids": image_ids((case.x.shape[2] // 2, case.x.shape[3] // 2)),
        "txt_ids": torch.zeros(text.shape[1], 3),
    }
    # ComfyUI reads the modulation of the end from the table's 344th row, which a model of this size has not.
    return transformer, inputs, None


def flux2(case: Case, state: dict[str, Tensor]) -> tuple[Transformer, Inputs, Any]:
    sizes = case.config["unet_config"]
    transformer = diffusers.Flux2Transformer2DModel(
        num_layers=sizes["depth"],
        num_single_layers=sizes["depth_single_blocks"],
        num_attention_heads=sizes["num_heads"],
        joint_attention_dim=sizes["context_in_dim"],
        guidance_embeds=sizes["guidance_embed"],
    )
    transformer.load_state_dict(single_file_utils.convert_flux2_transformer_checkpoint_to_diffusers(state))
    text, (h, w) = case.tensors["context"], case.x.shape[-2:]
    guidance = case.tensors.get("guidance")
    inputs = {
        "hidden_states": rearrange(case.x, "b c h w -> b (h w) c"),
        "encoder_hidden_states": text,
        "timestep": torch.full((len(text),), case.config["sigma"]),
        "img_ids": pad(image_ids((h, w)), (0, 1)),
        # ComfyUI puts zeros before a conditioning of less than 512 tokens, but this one goes in as it is.
        "txt_ids": pad(torch.arange(text.shape[1])[:, None], (3, 0)),
        "guidance": None if guidance is None else guidance,
    }
    return transformer, inputs, lambda made: rearrange(made, "b (h w) c -> b c h w", h=h)


def qwen(case: Case, state: dict[str, Tensor]) -> tuple[Transformer, Inputs, Any]:
    sizes = case.config["unet_config"]
    transformer = diffusers.QwenImageTransformer2DModel(
        num_layers=sizes["num_layers"],
        num_attention_heads=sizes["num_attention_heads"],
        joint_attention_dim=sizes["joint_attention_dim"],
    )
    transformer.load_state_dict({name: value for name, value in state.items() if not name.startswith("__")})
    pictures = [case.x[:, :, 0], *(value[:, :, 0] for name, value in case.tensors.items() if "ref_latents" in name)]
    shapes = [(1, one.shape[2] // 2, one.shape[3] // 2) for one in pictures]
    inputs = {
        "hidden_states": torch.cat([pack(one) for one in pictures], dim=1),
        "encoder_hidden_states": case.tensors["context"],
        "timestep": torch.full((len(case.x),), case.config["sigma"]),
        "img_shapes": [shapes] * len(case.x),
    }
    (_, h, w), *_ = shapes

    def as_latent(made: Tensor) -> Tensor:
        return rearrange(made[:, : h * w], "b (h w) (c p q) -> b c 1 (h p) (w q)", h=h, p=2, q=2)

    return transformer, inputs, as_latent


def zimage(case: Case, state: dict[str, Tensor]) -> tuple[Transformer, Inputs, Any]:
    sizes = case.config["model"]
    taken = ("dim", "n_layers", "n_refiner_layers", "n_heads", "n_kv_heads", "cap_feat_dim", "axes_dims", "axes_lens")
    transformer = diffusers.ZImageTransformer2DModel(**{name: sizes[name] for name in taken})
    hidden = len(state["layers.0.feed_forward.w1.weight"])  # ComfyUI rounds this size up
    for layer in (*transformer.noise_refiner, *transformer.context_refiner, *transformer.layers):
        layer.feed_forward = FeedForward(sizes["dim"], hidden)
    middle = len(state["t_embedder.mlp.0.weight"])
    transformer.t_embedder.mlp[0] = torch.nn.Linear(256, middle)
    transformer.t_embedder.mlp[2] = torch.nn.Linear(middle, 256)
    transformer.load_state_dict(single_file_utils.convert_z_image_transformer_checkpoint_to_diffusers(state))
    inputs = {
        "x": list(case.x[:, :, None]),
        "t": torch.full((len(case.x),), 1 - case.config["timestep"]),
        "cap_feats": list(case.tensors["context"]),
    }
    return transformer, inputs, lambda made: -torch.stack(made)[:, :, 0]


def krea2(case: Case, state: dict[str, Tensor]) -> tuple[Transformer, Inputs, Any]:
    sizes = case.config["model"]
    transformer = diffusers.Krea2Transformer2DModel(
        num_layers=sizes["layers"],
        attention_head_dim=sizes["features"] // sizes["heads"],
        num_attention_heads=sizes["heads"],
        num_key_value_heads=sizes["kvheads"],
        intermediate_size=len(state["blocks.0.mlp.up.weight"]),
        text_hidden_dim=sizes["txtdim"],
        num_text_layers=sizes["txtlayers"],
        text_num_attention_heads=sizes["txtheads"],
        text_num_key_value_heads=sizes["txtkvheads"],
        text_intermediate_size=len(state["txtfusion.refiner_blocks.0.mlp.up.weight"]),
    )
    transformer.load_state_dict(single_file_utils.convert_krea2_transformer_checkpoint_to_diffusers(state))
    text, (h, w) = case.tensors["context"], (case.x.shape[2] // 2, case.x.shape[3] // 2)
    inputs = {
        "hidden_states": pack(case.x),
        "encoder_hidden_states": text.unflatten(-1, (sizes["txtlayers"], -1)),
        "timestep": torch.full((len(text),), case.config["timestep"]),
        "position_ids": pad(image_ids((h, w)), (0, 0, text.shape[1], 0)),
    }
    return transformer, inputs, lambda made: rearrange(made, "b (h w) (c p q) -> b c (h p) (w q)", h=h, p=2, q=2)


def longcat(case: Case, state: dict[str, Tensor]) -> tuple[Transformer, Inputs, Any]:
    sizes = case.config["unet_config"]
    transformer = diffusers.LongCatImageTransformer2DModel(
        num_layers=sizes["depth"],
        num_single_layers=sizes["depth_single_blocks"],
        num_attention_heads=sizes["num_heads"],
        joint_attention_dim=sizes["context_in_dim"],
    )
    weights = {name.replace("time_text_embed", "time_embed"): value for name, value in flux_weights(state).items()}
    transformer.load_state_dict(weights)
    text, (h, w) = case.tensors["context"], (case.x.shape[2] // 2, case.x.shape[3] // 2)
    inputs = {
        "hidden_states": pack(case.x),
        "encoder_hidden_states": text,
        "timestep": torch.full((len(text),), case.config["sigma"]),
        "img_ids": image_ids((h, w)) + torch.tensor([1, text.shape[1], text.shape[1]]),
        "txt_ids": torch.arange(text.shape[1])[:, None] * torch.tensor([0, 1, 1]),
    }
    return transformer, inputs, lambda made: rearrange(made, "b (h w) (c p q) -> b c (h p) (w q)", h=h, p=2, q=2)


def aura_flow(case: Case, state: dict[str, Tensor]) -> tuple[Transformer, Inputs, Any]:
    sizes = case.config["unet_config"]
    transformer = diffusers.AuraFlowTransformer2DModel(
        num_mmdit_layers=sizes["n_double_layers"],
        num_single_dit_layers=sizes["n_layers"] - sizes["n_double_layers"],
        num_attention_heads=sizes["n_heads"],
        attention_head_dim=sizes["dim"] // sizes["n_heads"],
        joint_attention_dim=sizes["cond_seq_dim"],
        caption_projection_dim=sizes["dim"],
        pos_embed_max_size=sizes["max_seq"],
    )
    # The two hosts centre an odd number of rows otherwise, and this case has three: one row further down the table.
    table = state["positional_encoding"]
    state["positional_encoding"] = table.unflatten(1, (8, 8)).roll(case.x.shape[2] // 2 % 2, 1).flatten(1, 2)
    transformer.load_state_dict(single_file_utils.convert_auraflow_transformer_checkpoint_to_diffusers(state))
    time = torch.full((len(case.x),), case.config["sigma"])
    inputs = {"hidden_states": case.x, "encoder_hidden_states": case.tensors["context"], "timestep": time}
    return transformer, inputs, lambda made: made


def hidream(case: Case, state: dict[str, Tensor]) -> tuple[Transformer, Inputs, Any]:
    sizes = {name: size for name, size in case.config["unet_config"].items() if name != "image_model"}
    # What is no square diffusers fills up to `max_resolution` with tokens that the others see, and ComfyUI does not.
    transformer = diffusers.HiDreamImageTransformer2DModel(**{**sizes, "max_resolution": case.x.shape[2:]})
    transformer.load_state_dict(state)
    inputs = {
        "hidden_states": case.x,
        "timesteps": torch.full((len(case.x),), 1000 * case.config["sigma"]),
        "encoder_hidden_states_t5": case.tensors["context"],
        "encoder_hidden_states_llama3": case.tensors["encoder_hidden_states_llama3"].transpose(0, 1),
        "pooled_embeds": case.tensors["y"],
    }
    return transformer, inputs, lambda made: -made


def joy_image(case: Case, state: dict[str, Tensor]) -> tuple[Transformer, Inputs, Any]:
    sizes = {name: size for name, size in case.config["unet_config"].items() if name != "image_model"}
    transformer = diffusers.JoyImageEditTransformer3DModel(**sizes, theta=10000)
    transformer.load_state_dict(state)
    time = torch.full((len(case.x),), 1000 * case.config["sigma"])
    inputs = {"hidden_states": case.x, "encoder_hidden_states": case.tensors["context"], "timestep": time}
    return transformer, inputs, lambda made: made


def cogvideo(case: Case, state: dict[str, Tensor]) -> tuple[Transformer, Inputs, Any]:
    sizes = case.config["model"]
    transformer = diffusers.CogVideoXTransformer3DModel(**sizes)
    parts = {".blocks.": ".transformer_blocks.", ".attn_out.": ".attn1.to_out.0.", "_linear_": ".linear_"}
    parts |= {f".{name}.": f".attn1.to_{name}." for name in "qkv"}
    parts |= {f".norm_{name}.": f".attn1.norm_{name}." for name in "qk"}
    parts |= {".ff_proj.": ".ff.net.0.proj.", ".ff_out.": ".ff.net.2."}
    state = {f".{name}": value for name, value in state.items()}
    for ours, theirs in parts.items():
        state = {name.replace(ours, theirs): value for name, value in state.items()}
    transformer.load_state_dict({name[1:]: value for name, value in state.items()})
    video, together = case.x.transpose(1, 2), sizes["patch_size_t"] or 1
    count, (h, w) = video.shape[1], (video.shape[3] // 2, video.shape[4] // 2)
    video = torch.cat((video, video[:, : -count % together]), dim=1)  # as ComfyUI fills the last token
    # The pipeline counts 1.0's places in tokens, ComfyUI in 1.875 of them.
    places = case.model().diffusion_model._get_rotary_emb(h, w, video.shape[1] // together, video.device)
    inputs = {
        "hidden_states": video,
        "encoder_hidden_states": case.tensors["context"],
        "timestep": torch.full((len(video),), case.config["timestep"]),
        "image_rotary_emb": places,
    }
    return transformer, inputs, lambda made: made[:, :count].transpose(1, 2)


def wan(case: Case, state: dict[str, Tensor]) -> tuple[Transformer, Inputs, Any]:
    sizes = case.config["model"]
    transformer = diffusers.WanTransformer3DModel(
        num_attention_heads=sizes["num_heads"],
        attention_head_dim=sizes["dim"] // sizes["num_heads"],
        **{name: sizes[name] for name in ("text_dim", "freq_dim", "ffn_dim", "num_layers")},
    )
    transformer.load_state_dict(single_file_utils.convert_wan_transformer_to_diffusers(state))
    time = torch.full((len(case.x),), case.config["timestep"])
    inputs = {"hidden_states": case.x, "timestep": time, "encoder_hidden_states": case.tensors["context"]}
    return transformer, inputs, lambda made: made


def hunyuan(case: Case, state: dict[str, Tensor]) -> tuple[Transformer, Inputs, Any]:
    sizes, newer = case.config["unet_config"], case.config["family"] == "HunyuanVideo15"
    state = {name.replace("img_in.proj", "img_in"): value for name, value in state.items()}
    text = {name.removeprefix("txt_in."): state.pop(name) for name in list(state) if name.startswith("txt_in.")}
    kind = state.pop("cond_type_embedding.weight", None)
    weights = {name.replace("x_embedder", "x_embedder.proj"): value for name, value in flux_weights(state).items()}
    given = {"num_attention_heads": sizes["num_heads"], "num_layers": sizes["depth"], "text_embed_dim": 32}
    told = {
        "hidden_states": case.x,
        "timestep": torch.full((len(case.x),), 1000 * case.config["sigma"]),
        "encoder_hidden_states": case.tensors["context"],
        "encoder_attention_mask": torch.ones(case.tensors["context"].shape[:2]),
    }
    for ours, theirs in REFINER.items():
        text = {name.replace(ours, theirs): value for name, value in text.items()}
    for name in [name for name in text if "self_attn.qkv" in name]:
        parts = text.pop(name).chunk(3)
        text |= {name.replace("self_attn.qkv", f"attn.to_{one}"): part for one, part in zip("qkv", parts, strict=True)}
    weights |= {f"context_embedder.{name}": value for name, value in text.items()}
    if not newer:
        transformer = diffusers.HunyuanVideoTransformer3DModel(
            num_single_layers=sizes["depth_single_blocks"], pooled_projection_dim=sizes["vec_in_dim"], **given
        )
        transformer.load_state_dict(weights)
        told |= {"pooled_projections": case.tensors["y"], "guidance": 1000 * case.tensors["guidance"]}
        return transformer, told, lambda made: made
    # It has no single blocks, and what says a picture or quoted text is told that there is none.
    others = {"text_embed_2_dim": 8, "image_embed_dim": 8}
    transformer = diffusers.HunyuanVideo15Transformer3DModel(**given, **others)
    assert kind is not None
    weights = {re.sub("^time_text_embed", "time_embed", name): value for name, value in weights.items()}
    weights = {name: value for name, value in weights.items() if not name.startswith("single_")}
    weights["cond_type_embed.weight"] = kind
    missing, unexpected = transformer.load_state_dict(weights, strict=False)
    assert not unexpected and all(name.startswith(("image_embedder", "context_embedder_2")) for name in missing)
    told["hidden_states"] = torch.cat((case.x, case.tensors["c_concat"]), dim=1)
    told |= {"image_embeds": torch.zeros(2, 3, 8), "encoder_hidden_states_2": torch.zeros(2, 3, 8)}
    return transformer, {**told, "encoder_attention_mask_2": torch.zeros(2, 3)}, None


def ltx(case: Case, state: dict[str, Tensor]) -> tuple[Transformer, Inputs, Any]:
    sizes, text = case.config["model"], case.tensors["context"]
    transformer = diffusers.LTXVideoTransformer3DModel(**sizes, out_channels=sizes["in_channels"])
    transformer.load_state_dict(single_file_utils.convert_ltx_transformer_checkpoint_to_diffusers(state))
    frames, h, w = case.x.shape[2:]
    inputs = {
        "hidden_states": rearrange(case.x, "b c t h w -> b (t h w) c"),
        "timestep": 1000 * case.tensors["t"],
        "encoder_hidden_states": text,
        "encoder_attention_mask": torch.ones(text.shape[:2]),
        "num_frames": frames,
        "height": h,
        "width": w,
        "rope_interpolation_scale": (8 / 25, 32, 32),
    }
    return transformer, inputs, lambda made: rearrange(made, "b (t h w) c -> b c t h w", t=frames, h=h)


REFINER = {
    "individual_token_refiner.blocks": "token_refiner.refiner_blocks",
    "input_embedder": "proj_in",
    "t_embedder.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "c_embedder.in_layer": "time_text_embed.text_embedder.linear_1",
    "c_embedder.out_layer": "time_text_embed.text_embedder.linear_2",
    "adaLN_modulation.1": "norm_out.linear",
    "self_attn.proj": "attn.to_out.0",
    "mlp.0": "ff.net.0.proj",
    "mlp.2": "ff.net.2",
}


def sdxl(case: Case, state: dict[str, Tensor]) -> tuple[Transformer, Inputs, Any]:
    sizes, reads = case.config["model"], "CrossAttnDownBlock2D"
    config = {"layers_per_block": 1, "addition_embed_type": "text_time"}
    transformer = diffusers.UNet2DConditionModel(
        block_out_channels=tuple(sizes["model_channels"] * part for part in sizes["channel_mult"]),
        down_block_types=("DownBlock2D", reads, reads),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, *sizes["transformer_depth"][1:]),
        attention_head_dim=tuple(sizes["channel_mult"]),  # which is the number of heads
        use_linear_projection=True,
        cross_attention_dim=sizes["context_dim"],
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=sizes["adm_in_channels"],
        **config,
    )
    named = {f"model.diffusion_model.{name}": value for name, value in state.items()}
    transformer.load_state_dict(single_file_utils.convert_ldm_unet_checkpoint(named, config))
    # The file has what is added to the timestep as one vector.
    transformer.add_embedding.register_forward_pre_hook(lambda module, args: (case.tensors["y"],))
    added = {"text_embeds": torch.zeros(len(case.x), 8), "time_ids": torch.zeros(len(case.x), 6)}
    inputs = {"sample": case.x, "timestep": case.tensors["t"], "encoder_hidden_states": case.tensors["context"]}
    return transformer, {**inputs, "added_cond_kwargs": added}, lambda made: made


BUILDERS = {
    "sdxl_unet": sdxl,
    "HunyuanVideo": hunyuan,
    "HunyuanVideo15": hunyuan,
    "ltx": ltx,
    "wan": wan,
    "cogvideox_1_0": cogvideo,
    "cogvideox_1_5": cogvideo,
    "AuraFlow": aura_flow,
    "HiDream": hidream,
    "JoyImage": joy_image,
    "SD3": sd3,
    "Chroma": chroma,
    "Flux2": flux2,
    "QwenImage": qwen,
    "zimage": zimage,
    "krea2": krea2,
    "LongCatImage": longcat,
}
"""By the family that a file names."""

FILES = {path.stem: read_case(path).config for path in sorted(FOLDER.glob("*.safetensors"))}
FAMILY_OF = {name: config.get("family", config.get("class", name)) for name, config in FILES.items()}
KNOWN = [name for name, family in FAMILY_OF.items() if family in BUILDERS]
QWEN = [name for name in KNOWN if FAMILY_OF[name] == "QwenImage"]
CROSS = [setting for setting in SETTINGS if setting[0] in KNOWN]
"""Of families without a text stream: file, and projection."""


def record(
    family: Family, transformer: Any, inputs: Inputs, concepts: Any, projection: Any = "output"
) -> tuple[Any, Any]:
    """One evaluation with the concepts: maps, and what the transformer gives out."""
    recorders = []

    def choose(evaluation: Any) -> Recorder:
        frame = family.frame(evaluation.grid, evaluation.times, evaluation.token_pixels)
        recorders.append(Recorder(concepts, projection, evaluation.batch, frame, (0.0, 1.0)))
        return recorders[0]

    tap = Tap(family, transformer, None, concepts, choose, failed=lambda: None)
    with torch.no_grad():
        made = transformer(**inputs, return_dict=False)
    tap.remove()
    run = recorders[0].finish((), "")
    assert run.maps is not None, run.problem
    return run.maps, made[0] if len(made) == 1 else made


def weights_of(base: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in base.diffusion_model.state_dict().items()}


@pytest.mark.usefixtures("rounded_exp", "comfy")
@pytest.mark.parametrize("name", [name for name in KNOWN if name not in (*QWEN, *dict(CROSS))])
def test_oracle(name: str) -> None:
    case = read_case(FOLDER / f"{name}.safetensors")
    transformer, inputs, as_latent = BUILDERS[FAMILY_OF[name]](case, weights_of(case.model()))
    (family,) = [family for family in FAMILIES if family.owns(transformer)]
    maps, made = record(family, transformer.eval(), inputs, case.concepts(core))
    expected = case.tensors
    if "velocity" in expected:
        assert_close(as_latent(made), expected["velocity"], atol=5e-5, rtol=0)
    elif as_latent is not None:
        assert_close(case.x - case.config["sigma"] * as_latent(made), expected["denoised"], atol=5e-5, rtol=0)
    level = case.config.get("sigma", case.config.get("timestep", 0) / (1000 if family.video else 1))
    assert maps.family == family.name and maps.sigmas[0] == pytest.approx(level)
    assert_close(maps.scores[0].flatten(3), expected["scores"], atol=5e-4, rtol=0)
    if maps.times:  # the oracle knows token frames
        maps = replace(maps, times=tuple(range(maps.scores.shape[4])))
    shares = maps.saliency(0, -1, 1 / maps.temperature)
    shares = rearrange(shares, "(b p) c h w -> b c (p h w)", b=maps.scores.shape[2])
    tolerance = LOOSE.get(FAMILY_OF[name], TOLERANCES)["saliency"]
    assert_close(shares, expected["saliency"].flatten(2), atol=tolerance, rtol=0)


@pytest.mark.usefixtures("rounded_exp", "comfy")
@pytest.mark.parametrize(("name", "projection"), CROSS)
def test_oracle_of_a_cross_attention_family(name: str, projection: str) -> None:
    """As test_cross_golden has it of ComfyUI's adapter."""
    case = read_case(FOLDER / f"{name}.safetensors")
    transformer, inputs, as_latent = BUILDERS[FAMILY_OF[name]](case, weights_of(case.model()))
    (family,) = [family for family in FAMILIES if family.owns(transformer)]
    maps, made = record(family, transformer.eval(), inputs, case.concepts(core), projection)
    output = case.tensors["velocity" if "velocity" in case.tensors else "model_output"]
    assert_close(as_latent(made), output, atol=5e-5, rtol=0)
    scores = expected(case, projection, tuple(maps.scores.shape[4:]))
    assert_close(maps.scores[0], scores, atol=5e-5, rtol=0)
    assert_close(maps.saliency(), replace(maps, scores=scores[None]).saliency(), atol=1e-5, rtol=0)


@pytest.mark.usefixtures("rounded_exp")
@pytest.mark.parametrize("name", QWEN)
def test_qwen_image_is_what_comfyui_makes_of_it(name: str, pack_modules: Any) -> None:  # noqa: F811
    """The two hosts centre an odd number of rows otherwise, and the files have three: the same weights on four."""
    from comfy.model_patcher import ModelPatcher

    case = read_case(FOLDER / f"{name}.safetensors")
    draw = torch.Generator().manual_seed(0)
    given = {"x": (2, 16, 1, 8, 12), "ref_latents_0": (2, 16, 1, 4, 4)}
    drawn = {key: torch.randn(shape, generator=draw) for key, shape in given.items() if key in case.tensors}
    case = replace(case, tensors={**case.tensors, **drawn})
    base = case.model()
    apply = pack_modules("adapters.comfy.sampling").apply_concept_attention
    plain = ModelPatcher(base, torch.device("cpu"), torch.device("cpu"))
    model, runs = apply(plain, case.concepts(pack_modules("concepts")), "output", 0.0, 1.0, None)
    latent, denoised, _ = evaluate(case, model, case.config["sigma"])
    expected = runs.find(latent)

    transformer, inputs, as_latent = qwen(case, weights_of(base))
    (family,) = [family for family in FAMILIES if family.owns(transformer)]
    maps, made = record(family, transformer.eval(), inputs, case.concepts(core))
    assert_close(case.x - case.config["sigma"] * as_latent(made), denoised, atol=5e-5, rtol=0)
    assert maps.scores.shape == expected.scores.shape == (1, 3, 2, 3, 4, 6)
    assert_close(maps.scores, expected.scores, atol=5e-4, rtol=0)
    assert_close(maps.saliency(), expected.saliency(), atol=1e-5, rtol=0)
    for field in ("default_blocks", "temperature", "reading"):
        assert getattr(maps, field) == getattr(expected, field)
    assert maps.reading == ("paper" if maps.family == "FLUX.1" else "auto"), "who is not measured chooses blocks itself"


@pytest.mark.usefixtures("rounded_exp")
def test_lumina2_is_what_comfyui_makes_of_it(pack_modules: Any) -> None:  # noqa: F811
    """As Ovis-Image below. In a batch of captions of several lengths the pictures stand in different places."""
    given, model = oracle.MODELS["lumina2"], oracle.tiny("lumina2")
    text, captions = randn(1, oracle.PROMPT, given.width, seed=1), randn(3, oracle.CAPTION, given.width, seed=2)
    x = randn(1, given.channels, *given.size, seed=9)

    def concepts(module: Any) -> Any:
        named = tuple(module.Caption(rows, (1,), 2 + at, 9) for at, rows in enumerate(captions))
        return module.Concepts(("a", "b", "c"), 0, captions[:, 1][None], named)

    apply = pack_modules("adapters.comfy.sampling").apply_concept_attention
    patched, runs = apply(model, concepts(pack_modules("concepts")), "output", 0.0, 1.0)
    latent, denoised = oracle.evaluate(patched, given, text)
    expected = runs.find(latent)

    state, unet = weights_of(model.model), given.unet
    hidden, heads, shared = unet["dim"], unet["n_heads"], unet["n_kv_heads"]
    for name in [name for name in state if name.endswith("attention.qkv.weight")]:
        split = state.pop(name).split([hidden, hidden * shared // heads, hidden * shared // heads])
        state |= {name.replace("qkv", f"to_{kind}"): part for kind, part in zip("qkv", split, strict=True)}
    transformer = diffusers.Lumina2Transformer2DModel(
        hidden_size=hidden,
        num_layers=unet["n_layers"],
        num_attention_heads=heads,
        num_kv_heads=shared,
        cap_feat_dim=unet["cap_feat_dim"],
        axes_dim_rope=tuple(unet["axes_dims"]),
        axes_lens=tuple(unet["axes_lens"]),
    )
    transformer.load_state_dict(single_file_utils.convert_lumina2_to_diffusers(state))
    longer, short = torch.cat((text, text), dim=1), oracle.PROMPT
    batch = {
        "hidden_states": x.expand(2, -1, -1, -1),
        "timestep": torch.full((2,), 1 - oracle.SIGMA),
        "encoder_hidden_states": torch.cat((torch.cat((text, 0 * text), dim=1), longer)),
        "encoder_attention_mask": torch.tensor([[1] * short + [0] * short, [1] * 2 * short]),
    }
    (family,) = [family for family in FAMILIES if family.owns(transformer)]
    alone = {name: value[:1, :short] if name.startswith("encoder") else value[:1] for name, value in batch.items()}
    maps, made = record(family, transformer.eval(), alone, concepts(core))
    assert_close(x + oracle.SIGMA * made, denoised, atol=5e-5, rtol=0)
    assert_close(maps.scores, expected.scores, atol=5e-4, rtol=0)
    # Both are rounded to float32, and each other's last bits apart: 1.1e-5 was seen.
    assert_close(maps.saliency(0, -1), expected.saliency(0, -1), atol=2e-5, rtol=0)

    both, _ = record(family, transformer, batch, concepts(core))
    other, _ = record(family, transformer, {name: value[1:] for name, value in batch.items()}, concepts(core))
    each = torch.cat((maps.saliency(0, -1), other.saliency(0, -1)))
    assert_close(both.saliency(0, -1), each, atol=5e-5, rtol=0)
    assert (each[0] - each[1]).abs().max() > 1e-2


@pytest.mark.usefixtures("rounded_exp")
def test_ovis_image_is_what_comfyui_makes_of_it(pack_modules: Any) -> None:  # noqa: F811
    """It has no file: ComfyUI's own numbers, which an oracle holds (test_family_oracle)."""
    given, model = oracle.MODELS["ovis"], oracle.tiny("ovis")
    text, captions = randn(1, oracle.PROMPT, given.width, seed=1), randn(3, oracle.CAPTION, given.width, seed=2)
    x = randn(1, given.channels, *given.size, seed=9)

    def concepts(module: Any) -> Any:
        named = tuple(module.Caption(rows, (1,), 2 + at, 9) for at, rows in enumerate(captions))
        return module.Concepts(("a", "b", "c"), 0, captions[:, 1][None], named)

    apply = pack_modules("adapters.comfy.sampling").apply_concept_attention
    patched, runs = apply(model, concepts(pack_modules("concepts")), "output", 0.0, 1.0)
    latent, denoised = oracle.evaluate(patched, given, text)
    expected = runs.find(latent)

    state = weights_of(model.model)
    for name in [name for name in state if name.endswith(("gate_proj.weight", "gate_proj.bias"))]:
        up, stem = name.replace("gate_proj", "up_proj"), name.replace("gate_proj.", "")
        block, _, kind = stem.rpartition(".")
        state[f"{block}.0.{kind}"] = torch.cat((state.pop(up), state.pop(name)))
        state[f"{block}.2.{kind}"] = state.pop(f"{block}.down_proj.{kind}")
    weights = {"context_embedder_norm.weight": state.pop("txt_norm.weight")} | flux_weights(state)
    sizes: dict[str, Any] = {"num_layers": 3, "num_single_layers": 2, "num_attention_heads": 2}
    transformer = diffusers.OvisImageTransformer2DModel(joint_attention_dim=given.width, **sizes)
    transformer.load_state_dict({name.replace("time_text_embed.", ""): value for name, value in weights.items()})
    inputs = {
        "hidden_states": pack(x),
        "encoder_hidden_states": text,
        "timestep": torch.tensor([oracle.SIGMA]),
        "img_ids": image_ids((3, 4)),
        "txt_ids": torch.arange(oracle.PROMPT)[:, None] * torch.tensor([0, 1, 1]),
    }
    (family,) = [family for family in FAMILIES if family.owns(transformer)]
    maps, made = record(family, transformer.eval(), inputs, concepts(core))
    velocity = rearrange(made, "b (h w) (c p q) -> b c (h p) (w q)", h=3, p=2, q=2)
    assert_close(x - oracle.SIGMA * velocity, denoised, atol=5e-5, rtol=0)
    assert_close(maps.scores, expected.scores, atol=5e-4, rtol=0)
    assert_close(maps.saliency(0, -1), expected.saliency(0, -1), atol=1e-5, rtol=0)


@pytest.mark.usefixtures("rounded_exp", "comfy")
def test_joy_image_edit_plus_is_the_same_model() -> None:
    """It has its picture as a list of patches, and its references' sizes are its own affair."""
    case = read_case(FOLDER / "joy_image.safetensors")
    sizes = {name: size for name, size in case.config["unet_config"].items() if name != "image_model"}
    transformer = diffusers.JoyImageEditPlusTransformer3DModel(**sizes, theta=10000)
    transformer.load_state_dict(weights_of(case.model()))
    (family,) = [family for family in FAMILIES if family.owns(transformer)]
    told = {"encoder_hidden_states": case.tensors["context"]}
    alone = family.inputs(transformer, case.x[:, :, 0], case.config["sigma"], 1.0, told)
    maps, _ = record(family, transformer.eval(), alone, case.concepts(core))
    assert_close(maps.scores[0].flatten(3), case.tensors["scores"], atol=5e-4, rtol=0)
    assert_close(maps.saliency(0, -1), case.tensors["saliency"].unflatten(2, (3, 4)), atol=1e-5, rtol=0)


HUNYUAN = {
    "txt_in.": "context_embedder.",
    "input_embedder.": "proj_in.",
    "t_embedder.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "c_embedder.in_layer": "time_text_embed.text_embedder.linear_1",
    "c_embedder.out_layer": "time_text_embed.text_embedder.linear_2",
    "individual_token_refiner.blocks": "token_refiner.refiner_blocks",
    "adaLN_modulation.1": "norm_out.linear",
    "self_attn.proj": "attn.to_out.0",
    "mlp.0": "ff.net.0.proj",
    "mlp.2": "ff.net.2",
    "img_in.": "x_embedder.",
    "time_r_in.in_layer": "time_guidance_embed.timestep_embedder_r.linear_1",
    "time_r_in.out_layer": "time_guidance_embed.timestep_embedder_r.linear_2",
}
"""What is not as in FLUX.1, as diffusers names it."""


@pytest.mark.usefixtures("rounded_exp")
@pytest.mark.parametrize("name", ["hunyuan_image", "hunyuan_image_distilled"])
def test_hunyuan_image_is_what_comfyui_makes_of_it(name: str, pack_modules: Any) -> None:  # noqa: F811
    """As Ovis-Image. The distilled one reads where its step goes to."""
    given, model = oracle.MODELS[name], oracle.tiny(name)
    text, captions = randn(1, oracle.PROMPT, given.width, seed=1), randn(3, oracle.CAPTION, given.width, seed=2)
    x, unet = randn(1, given.channels, *given.size, seed=9), given.unet

    def concepts(module: Any) -> Any:
        named = tuple(module.Caption(rows, (1,), 2 + at, 9) for at, rows in enumerate(captions))
        return module.Concepts(("a", "b", "c"), 0, captions[:, 1][None], named)

    apply = pack_modules("adapters.comfy.sampling").apply_concept_attention
    patched, runs = apply(model, concepts(pack_modules("concepts")), "output", 0.0, 1.0)
    latent, denoised = oracle.evaluate(patched, given, text)
    expected = runs.find(latent)

    state = weights_of(model.model)
    own = {key: state.pop(key) for key in list(state) if key.startswith(("txt_in.", "img_in.", "time_r_in."))}
    for ours, theirs in HUNYUAN.items():
        own = {key.replace(ours, theirs): value for key, value in own.items()}
    for key in [key for key in own if "self_attn.qkv" in key]:
        split = own.pop(key).chunk(3)
        own |= {key.replace("self_attn.qkv", f"attn.to_{kind}"): one for kind, one in zip("qkv", split, strict=True)}
    others = {key.replace("time_text_embed", "time_guidance_embed"): one for key, one in flux_weights(state).items()}
    transformer = diffusers.HunyuanImageTransformer2DModel(
        num_attention_heads=unet["num_heads"],
        num_layers=unet["depth"],
        num_single_layers=unet["depth_single_blocks"],
        text_embed_dim=unet["context_in_dim"],
        guidance_embeds=True,
        use_meanflow=unet["meanflow"],
    )
    transformer.load_state_dict(own | others)
    inputs = {
        "hidden_states": x,
        "timestep": torch.tensor([1000 * oracle.SIGMA]),
        "timestep_r": torch.tensor([250.0]) if unet["meanflow"] else None,
        "encoder_hidden_states": text,
        "encoder_attention_mask": torch.ones(text.shape[:2]),
        "guidance": 1000 * given.extra["guidance"],
    }
    (family,) = [family for family in FAMILIES if family.owns(transformer)]
    maps, made = record(family, transformer.eval(), inputs, concepts(core))
    assert_close(x - oracle.SIGMA * made, denoised, atol=5e-5, rtol=0)
    assert_close(maps.scores, expected.scores, atol=5e-4, rtol=0)
    assert_close(maps.saliency(0, -1), expected.saliency(0, -1), atol=1e-5, rtol=0)
    assert (maps.image_size, maps.token_pixels) == (expected.image_size, expected.token_pixels)


def test_both_hosts_have_the_same_defaults(pack_modules: Any) -> None:  # noqa: F811
    """A measurement of one family's blocks and temperature is written into both files."""
    theirs = {family.name: family for family in pack_modules("adapters.comfy.families").FAMILIES}
    for ours in FAMILIES:
        family = theirs[ours.name]
        assert (ours.default_blocks, ours.temperature) == (family.default_blocks, family.temperature)
        assert tuple(ours.projections) == tuple(family.projections)


def test_every_family_has_a_case() -> None:
    """FLUX.1 has the authors' own numbers: test_diffusers_parity."""
    if "CONCEPT_GOLDEN_DIR" in os.environ:
        pytest.skip("other cases than this repository's")
    own = {"HiDream": "HiDream I1", "SD3": "Stable Diffusion 3", "Flux2": "FLUX.2", "QwenImage": "Qwen-Image"}
    own |= {"cogvideox_1_0": "CogVideoX", "cogvideox_1_5": "CogVideoX"}
    own |= {"HunyuanVideo15": "HunyuanVideo 1.5", "wan": "Wan", "ltx": "LTX-Video"}
    own |= {"sdxl_unet": "SDXL"}
    own |= {"zimage": "Z-Image", "krea2": "Krea 2", "LongCatImage": "LongCat-Image"}
    checked = {own.get(FAMILY_OF[name], FAMILY_OF[name]) for name in KNOWN}
    apart = {"FLUX.1", "Ovis-Image", "Lumina 2", "HunyuanImage 2.1", "Stable Diffusion 1.5"}
    apart |= {"Cosmos-Predict2", "Cosmos-Predict2 video", "LTX-2", "Anima"}
    assert {family.name for family in FAMILIES} == apart | checked
