"""Custom nodes that the server tests load beside the pack: places where a workflow can fail on demand, tiny models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.model_patcher
import comfy.patcher_extension
import comfy.sd
import comfy.sdxl_clip
import comfy.supported_models
import comfy.text_encoders.cogvideo
import comfy.text_encoders.wan
import torch
from comfy.supported_models_base import ClipTarget
from comfy_api.latest import ComfyExtension, io


class TestLatentCheckpoint(io.ComfyNode):
    """Hands a LATENT on, or fails."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestLatentCheckpoint",
            inputs=[io.Latent.Input("samples"), io.Boolean.Input("fail")],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, samples: dict[str, Any], fail: bool) -> io.NodeOutput:
        if fail:
            raise RuntimeError("failed on demand")
        return io.NodeOutput(samples)


class TestModelCheckpoint(io.ComfyNode):
    """Hands a MODEL on; at the evaluation with this number (1 is the first) sampling fails, 0: never."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestModelCheckpoint",
            inputs=[io.Model.Input("model"), io.Int.Input("fail_at")],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model: Any, fail_at: int) -> io.NodeOutput:
        if not fail_at:
            return io.NodeOutput(model)
        evaluations = 0

        def count(executor: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal evaluations
            evaluations += 1
            if evaluations == fail_at:
                raise RuntimeError("failed while sampling")
            return executor(*args, **kwargs)

        model = model.clone()
        model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, "test", count)
        return io.NodeOutput(model)


class TestTinyModel(io.ComfyNode):
    """A model with random weights, a few layers small, and the CLIP that belongs to it: a video model, or SDXL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestTinyModel",
            inputs=[io.Combo.Input("kind", options=["wan", "cogvideo", "sdxl"])],
            outputs=[io.Model.Output(), io.Clip.Output()],
        )

    @classmethod
    def execute(cls, kind: str) -> io.NodeOutput:
        kinds = {"wan": tiny_wan, "cogvideo": tiny_cogvideo, "sdxl": tiny_sdxl}
        config, settings, (tokenizer, encoder, data) = kinds[kind]()
        made = config(dict(settings))
        made.unet_config |= settings
        base = made.get_model({})
        base.diffusion_model.load_state_dict(drawn(base.diffusion_model))
        target = ClipTarget(tokenizer, lambda **given: filled(encoder(**given)))
        clip = comfy.sd.CLIP(target, tokenizer_data=data, model_options={"dtype": torch.float32, **ENCODERS})
        cpu = torch.device("cpu")
        return io.NodeOutput(comfy.model_patcher.ModelPatcher(base, cpu, cpu), clip)


WIDTH = 16
T5 = {"d_model": WIDTH, "d_ff": 32, "d_kv": 8, "num_heads": 2, "num_layers": 3}
CLIP = {"hidden_size": WIDTH, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 3}
ENCODERS = {f"{name}_model_config": T5 for name in ("umt5xxl", "t5xxl")}
ENCODERS |= {f"{name}_model_config": CLIP for name in ("clip_l", "clip_g")}


def tiny_wan() -> Any:
    settings = {"image_model": "wan2.1", "model_type": "t2v", "patch_size": [1, 2, 2], "in_dim": 16, "out_dim": 16}
    settings |= {"dim": 96, "ffn_dim": 192, "freq_dim": 64, "text_dim": WIDTH, "num_heads": 2, "num_layers": 3}
    # UMT5's vocabulary comes with checkpoints; Pile-T5's comes with ComfyUI.
    vocabulary = Path(comfy.text_encoders.wan.__file__).parent / "t5_pile_tokenizer" / "tokenizer.model"
    text = comfy.text_encoders.wan
    return (
        comfy.supported_models.WAN21_T2V,
        settings,
        (text.WanT5Tokenizer, text.te(), {"spiece_model": vocabulary.read_bytes()}),
    )


def tiny_cogvideo() -> Any:
    settings = {"image_model": "cogvideox", "num_attention_heads": 2, "attention_head_dim": 64, "in_channels": 16}
    settings |= {"out_channels": 16, "time_embed_dim": 64, "text_embed_dim": WIDTH, "num_layers": 3, "patch_size": 2}
    settings |= {"use_rotary_positional_embeddings": True, "patch_size_t": None}
    text = comfy.text_encoders.cogvideo
    return comfy.supported_models.CogVideoX_T2V, settings, (text.CogVideoXTokenizer, text.cogvideo_te(), {})


def tiny_sdxl() -> Any:
    settings = {"image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 32, "num_res_blocks": [1, 1]}
    settings |= {"channel_mult": [1, 2], "transformer_depth": [0, 2], "transformer_depth_output": [0, 0, 2, 2]}
    settings |= {"transformer_depth_middle": 1, "use_spatial_transformer": True, "use_linear_in_transformer": True}
    settings |= {"context_dim": 2 * WIDTH, "num_head_channels": 32, "use_temporal_attention": False, "legacy": False}
    settings |= {"num_classes": "sequential", "adm_in_channels": WIDTH + 6 * 256}
    text = comfy.sdxl_clip
    return comfy.supported_models.SDXL, settings, (text.SDXLTokenizer, text.SDXLClipModel, {})


def drawn(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Random weights for every entry of a module's state dict."""
    generator, found = torch.Generator().manual_seed(0), {}
    for name, weight in module.state_dict().items():
        x = torch.randn(weight.shape, generator=generator)
        found[name] = 1 + 0.1 * x if weight.ndim < 2 else x / weight.shape[-1] ** 0.5
    return found


def filled(model: torch.nn.Module) -> torch.nn.Module:
    """A text encoder with random weights, some of which layers that may be quantised lack until they are loaded."""
    layers = {at: module._orig_shape for at, module in model.named_modules() if hasattr(module, "_orig_shape")}
    model.load_state_dict({f"{at}.weight": torch.empty(shape) for at, shape in layers.items()}, strict=False)
    model.load_state_dict(drawn(model))
    return model


class TestExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [TestLatentCheckpoint, TestModelCheckpoint, TestTinyModel]


async def comfy_entrypoint() -> TestExtension:
    return TestExtension()
