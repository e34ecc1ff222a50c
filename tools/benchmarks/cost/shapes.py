"""Every family at its full block shape, with two blocks that concepts enter and one of those that they do not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Shape:
    """One family's model.

    config: ComfyUI's class for it; unet: what ComfyUI would detect of a checkpoint, but for depth. own, others: the
    lists of blocks that concepts enter and do not; whole: how many of each the released model has. text: usual rows of
    a prompt; width: its channels. pooled: channels of the pooled vector. cells: latent cells a side of a picture of
    1024 x 1024. frames: latents have a frame axis. extra: further conditioning, by shape.
    """

    config: str
    unet: dict[str, Any]
    own: str
    whole: tuple[int, int]
    text: int
    width: int
    others: str = ""
    pooled: int = 0
    channels: int = 16
    cells: int = 128
    frames: bool = False
    extra: dict[str, tuple[int, ...]] = field(default_factory=dict)


def flux(hidden: int, **changes: Any) -> dict[str, Any]:
    return {
        "image_model": "flux",
        "in_channels": 16,
        "out_channels": 16,
        "patch_size": 2,
        "hidden_size": hidden,
        "num_heads": hidden // 128,
        "mlp_ratio": 4.0,
        "depth": 2,
        "depth_single_blocks": 1,
        "axes_dim": [16, 56, 56],
        "theta": 10000,
        "qkv_bias": True,
        "txt_ids_dims": [],
        "guidance_embed": False,
        "vec_in_dim": None,
        **changes,
    }


def chroma() -> dict[str, Any]:
    """Flux's shape with a network that gives every block its modulation, and no choice about guidance."""
    own = {"image_model": "chroma", "in_channels": 64, "out_channels": 64, "in_dim": 64, "out_dim": 3072}
    own |= {"hidden_dim": 5120, "n_layers": 5}
    return {key: value for key, value in flux(3072, context_in_dim=4096, **own).items() if key != "guidance_embed"}


def flux2(hidden: int, context: int, **changes: Any) -> dict[str, Any]:
    two = {"image_model": "flux2", "in_channels": 128, "out_channels": 128, "patch_size": 1, "mlp_ratio": 3.0}
    two |= {"axes_dim": [32] * 4, "theta": 2000, "qkv_bias": False, "txt_ids_dims": [3], "global_modulation": True}
    two |= {"mlp_silu_act": True, "ops_bias": False, "default_ref_method": "index", "ref_index_scale": 10.0}
    return flux(hidden, context_in_dim=context, **{**two, **changes})


NEXT_DIT = {"image_model": "lumina2", "patch_size": 2, "in_channels": 16, "n_layers": 2, "n_refiner_layers": 1}
NEXT_DIT |= {"qk_norm": True, "n_kv_heads": 30, "n_heads": 30, "dim": 3840, "cap_feat_dim": 2560, "rope_theta": 256.0}
NEXT_DIT |= {"axes_dims": [32, 48, 48], "axes_lens": [1536, 512, 512], "ffn_dim_multiplier": 8.0 / 3.0}
NEXT_DIT |= {"z_image_modulation": True, "time_scale": 1000.0, "pad_tokens_multiple": 32}

QWEN = {"image_model": "qwen_image", "in_channels": 64, "out_channels": 16, "num_layers": 2}
AURA = {"max_seq": 9216, "cond_seq_dim": 2048, "n_double_layers": 2, "n_layers": 3}
BOOGU = {"image_model": "boogu", "num_layers": 1, "num_double_stream_layers": 2, "num_refiner_layers": 1}
HIDREAM = {"image_model": "hidream", "attention_head_dim": 128, "axes_dims_rope": [64, 32, 32], "patch_size": 2}
HIDREAM |= {"caption_channels": [4096, 4096], "max_resolution": [128, 128], "in_channels": 16, "out_channels": 16}
HIDREAM |= {"llama_layers": [0, 1, 2], "num_attention_heads": 20, "num_routed_experts": 4, "num_activated_experts": 2}
HIDREAM |= {"num_layers": 2, "num_single_layers": 1, "text_emb_dim": 2048}

DOUBLE, SINGLE = "double_blocks", "single_blocks"

SHAPES = {
    "FLUX.1": Shape(
        *("Flux", flux(3072, context_in_dim=4096, vec_in_dim=768, guidance_embed=True), DOUBLE, (19, 38), 256, 4096),
        *(SINGLE, 768),
    ),
    "LongCat-Image": Shape(
        *("LongCatImage", flux(3072, context_in_dim=3584, txt_ids_dims=[1, 2]), DOUBLE, (10, 20), 512, 3584, SINGLE)
    ),
    "FLUX.2 Klein 4B": Shape(*("Flux2", flux2(3072, 7680), DOUBLE, (5, 20), 512, 7680, SINGLE), channels=128, cells=64),
    "Z-Image": Shape("ZImage", NEXT_DIT, "layers", (30, 0), 256, 2560),
    "Krea 2": Shape("Krea2", {"image_model": "krea2", "layers": 2}, "blocks", (28, 0), 256, 30720, frames=True),
    "Qwen-Image": Shape("QwenImage", QWEN, "transformer_blocks", (60, 0), 256, 3584, frames=True),
    "Chroma": Shape(
        *("Chroma", chroma(), DOUBLE, (19, 38), 256, 4096, SINGLE),
    ),
    "HiDream I1": Shape(
        *("HiDream", HIDREAM, "double_stream_blocks", (16, 32), 128, 4096, "single_stream_blocks", 2048),
        extra={"conditioning_llama3": (1, 3, 128, 4096)},
    ),
    "AuraFlow": Shape("AuraFlow", AURA, "double_layers", (4, 32), 256, 2048, "single_layers", channels=4),
    "Mage-Flow": Shape(
        *("MageFlow", {"image_model": "mage_flow", "num_layers": 2}, "transformer_blocks", (28, 0), 256, 2560),
        channels=128,
        cells=64,
    ),
    "Lens": Shape(
        *("Lens", {"image_model": "lens", "num_layers": 2}, "transformer_blocks", (48, 0), 256, 11520),
        channels=128,
        cells=64,
    ),
    "JoyImage": Shape(
        *("JoyImage", {"image_model": "joyimage", "num_layers": 2}, DOUBLE, (20, 0), 256, 4096), frames=True
    ),
    "PixelDiT": Shape(
        *("PixelDiTT2I", {"image_model": "pixeldit_t2i", "patch_depth": 2, "pixel_depth": 1}, "patch_blocks", (14, 2)),
        *(300, 2304, "pixel_blocks"),
        channels=3,
        cells=1024,
    ),
    "Boogu": Shape(
        *("Boogu", BOOGU, "double_stream_layers", (8, 32), 256, 4096, "single_stream_layers"),
    ),
}
"""SD3 is not here: ComfyUI makes its width of its depth, so that two blocks are never as wide as the real ones."""
