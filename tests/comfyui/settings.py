"""What may surround a sampler: each setting changes the MODEL, the prompts or the latent as some node would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .graphs import GRID, TINY, empty_latent, prompt, randn, tiny_flux, tiny_weights


@dataclass(frozen=True)
class Setting:
    """What surrounds the sampler. plain: the same without the node in question; the pictures have to differ."""

    patch: Callable[[Any], Any] = lambda model: model
    positive: list[Any] = field(default_factory=lambda: prompt(1))
    negative: list[Any] = field(default_factory=lambda: prompt(11))
    latent: dict[str, Tensor] = field(default_factory=empty_latent)
    cfg: float = 1.0
    weights: dict[str, Tensor] | None = None
    steps: int = 2
    changes_picture: bool = True


def plain() -> Setting:
    return Setting(changes_picture=False)


def cfg_in_one_batch() -> Setting:
    return Setting(cfg=3.0)


def cfg_in_two_calls() -> Setting:
    return Setting(cfg=3.0, negative=prompt(11, tokens=5))


def cfg_batch_of_three() -> Setting:
    return Setting(cfg=3.0, latent=empty_latent(3))


def two_positive_prompts() -> Setting:
    return Setting(positive=prompt(1) + prompt(31), cfg=3.0)


def masked_prompts() -> Setting:
    import nodes

    left = torch.zeros(1, 8 * 2 * GRID[0], 8 * 2 * GRID[1])
    left[..., : left.shape[-1] // 2] = 1
    masked = nodes.ConditioningSetMask().append(prompt(31), left, "default", 1.0)[0]
    return Setting(positive=prompt(1) + masked)


def area_beside_a_whole_prompt() -> Setting:
    import nodes

    area = nodes.ConditioningSetArea().append(prompt(31), 64, 64, 32, 0, 1.0)[0]
    return Setting(positive=prompt(1) + area, cfg=2.0)


def prompts_by_timestep() -> Setting:
    import nodes

    def between(conditioning: list[Any], start: float, end: float) -> list[Any]:
        return nodes.ConditioningSetTimestepRange().set_range(conditioning, start, end)[0]

    # From 0.5 to 0.6 no positive prompt applies.
    return Setting(positive=between(prompt(1), 0, 0.5) + between(prompt(31), 0.6, 1), cfg=2.0, steps=5)


def lora_weights() -> dict[str, Tensor]:
    """A LoRA on both streams' attention, in the common generic form."""
    lora, size = {}, TINY["hidden_size"]
    for block in range(TINY["depth"]):
        for stream in ("img", "txt"):
            name = f"diffusion_model.double_blocks.{block}.{stream}_attn.qkv"
            lora[f"{name}.lora_down.weight"] = randn(4, size, seed=block) / size**0.5
            lora[f"{name}.lora_up.weight"] = randn(3 * size, 4, seed=10 + block) / 4
            lora[f"{name}.alpha"] = torch.tensor(4.0)
    return lora


def add_lora(model: Any) -> Any:
    import comfy.sd

    return comfy.sd.load_lora_for_models(model, None, lora_weights(), 1.0, 0.0)[0]


def lora() -> Setting:
    return Setting(patch=add_lora)


def lora_as_a_scheduled_hook() -> Setting:
    import comfy.hooks

    hooks = comfy.hooks.create_hook_lora(lora_weights(), 1.0, 0.0)
    keyframes = comfy.hooks.HookKeyframeGroup()
    keyframes.add(comfy.hooks.HookKeyframe(strength=0.0))
    keyframes.add(comfy.hooks.HookKeyframe(strength=1.0, start_percent=0.3))
    hooks.set_keyframes_on_hooks(keyframes)
    return Setting(positive=comfy.hooks.set_hooks_for_conditioning(prompt(1), hooks), cfg=2.0, steps=3)


def controlnet() -> Setting:
    """An XLabs ControlNet of one block, loaded by ComfyUI from made-up weights."""
    import comfy.controlnet
    import nodes

    size = TINY["hidden_size"]
    flux = tiny_weights(depth=1, depth_single_blocks=0)
    weights = {name: weight for name, weight in flux.items() if not name.startswith("final_layer")}
    weights |= {
        "controlnet_blocks.0.weight": randn(size, size, seed=3) / size**0.5,
        "controlnet_blocks.0.bias": torch.zeros(size),
        "pos_embed_input.weight": randn(size, 64, seed=4) / 8,
        "pos_embed_input.bias": torch.zeros(size),
    }
    for layer in range(0, 15, 2):
        weights[f"input_hint_block.{layer}.weight"] = randn(16, 16 if layer else 3, 3, 3, seed=layer) / 12
        weights[f"input_hint_block.{layer}.bias"] = torch.zeros(16)
    net = comfy.controlnet.load_controlnet_state_dict(weights, model_options={"dtype": torch.float32})
    picture = torch.rand(1, 96, 160, 3, generator=torch.Generator().manual_seed(0))
    positive, negative = nodes.ControlNetApplyAdvanced().apply_controlnet(
        prompt(1), prompt(11), net, picture, 0.7, 0.0, 1.0
    )
    return Setting(positive=positive, negative=negative, cfg=2.0)


def controlnet_union() -> Setting:
    """An InstantX union ControlNet as diffusers writes it: it sees the hint's latent, and a text token for its mode."""
    import comfy.controlnet
    import nodes
    from comfy_extras.nodes_controlnet import SetUnionControlNetType
    from diffusers import FluxControlNetModel

    torch.manual_seed(0)
    made = FluxControlNetModel(
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=128,
        num_attention_heads=TINY["num_heads"],
        joint_attention_dim=TINY["context_in_dim"],
        pooled_projection_dim=TINY["vec_in_dim"],
        guidance_embeds=True,
        num_mode=7,
    )
    for block in (*made.controlnet_blocks, *made.controlnet_single_blocks, made.controlnet_x_embedder):
        torch.nn.init.normal_(block.weight, std=0.1)  # they are zero before training
    net = comfy.controlnet.load_controlnet_state_dict(made.state_dict(), model_options={"dtype": torch.float32})
    net = SetUnionControlNetType.execute(net, "depth")[0]
    vae = nodes.NODE_CLASS_MAPPINGS["ConceptAttentionDemoModel"].execute()[2]
    picture = torch.rand(1, 96, 160, 3, generator=torch.Generator().manual_seed(0))
    positive, negative = nodes.ControlNetApplyAdvanced().apply_controlnet(
        prompt(1), prompt(11), net, picture, 0.7, 0.0, 1.0, vae=vae
    )
    return Setting(positive=positive, negative=negative, cfg=2.0)


def kontext(*methods: str, sizes: tuple[tuple[int, int], ...] = ((12, 20),)) -> Setting:
    from comfy_extras.nodes_edit_model import ReferenceLatent
    from comfy_extras.nodes_flux import FluxKontextMultiReferenceLatentMethod

    positive = prompt(1)
    for seed, size in enumerate(sizes):
        positive = ReferenceLatent.execute(positive, {"samples": randn(1, 16, *size, seed=seed)})[0]
    for method in methods:
        positive = FluxKontextMultiReferenceLatentMethod.execute(positive, method)[0]
    return Setting(positive=positive, cfg=2.0)


def kontext_two_references() -> Setting:
    return kontext(sizes=((12, 20), (7, 9)))


def kontext_index() -> Setting:
    return kontext("index")


def attention_override() -> Setting:
    def patch(model: Any) -> Any:
        model = model.clone()

        def override(function: Any, *args: Any, **kwargs: Any) -> Tensor:
            return 0.9 * function(*args, **kwargs)

        model.model_options["transformer_options"]["optimized_attention_override"] = override
        return model

    return Setting(patch=patch)


def attn1_patches() -> Setting:
    def patch(model: Any) -> Any:
        model = model.clone()
        model.set_model_attn1_patch(lambda q, k, v, **_: {"q": q, "k": 1.2 * k, "v": 0.8 * v})
        model.set_model_attn1_output_patch(lambda attention, extra_options: 1.1 * attention)
        return model

    return Setting(patch=patch)


def double_block_replacement() -> Setting:
    def replace(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        out = extra["original_block"](args)
        return {"img": out["img"] + 0.5 * out["img"].roll(1, 1), "txt": out["txt"]}

    def patch(model: Any) -> Any:
        model = model.clone()
        model.set_model_patch_replace(replace, "dit", "double_block", 1)
        return model

    return Setting(patch=patch)


def skip_layer_guidance() -> Setting:
    from comfy_extras.nodes_slg import SkipLayerGuidanceDiT

    return Setting(patch=lambda model: SkipLayerGuidanceDiT.execute(model, 2.0, 0.0, 1.0, "1", "0")[0], cfg=2.0)


def easy_cache() -> Setting:
    from comfy_extras.nodes_easycache import EasyCacheNode

    return Setting(patch=lambda model: EasyCacheNode.execute(model, 3.0, 0.0, 1.0, False)[0], steps=6)


def lazy_cache() -> Setting:
    from comfy_extras.nodes_easycache import LazyCacheNode

    return Setting(patch=lambda model: LazyCacheNode.execute(model, 3.0, 0.0, 1.0, False)[0], steps=6)


def model_sampling() -> Setting:
    from comfy_extras.nodes_model_advanced import ModelSamplingFlux

    return Setting(patch=lambda model: ModelSamplingFlux().patch(model, 2.0, 0.5, 1024, 1024)[0])


def model_merge() -> Setting:
    from comfy_extras.nodes_model_merging import ModelMergeSimple

    other = tiny_flux(weights=tiny_weights(seed=22))
    return Setting(patch=lambda model: ModelMergeSimple().merge(model, other, 0.9)[0])


def fill() -> Setting:
    latent = {"samples": randn(1, 16, 12, 20, seed=7), "noise_mask": torch.zeros(1, 1, 96, 160)}
    latent["noise_mask"][..., 80:] = 1
    extra = {"concat_latent_image": randn(1, 16, 12, 20, seed=8), "concat_mask": latent["noise_mask"]}
    return Setting(
        positive=prompt(1, **extra),
        negative=prompt(11, **extra),
        cfg=2.0,
        latent=latent,
        weights=tiny_weights(img_channels=384),
    )


def noise_mask_by_image() -> Setting:
    masks = torch.rand(2, 1, 96, 160, generator=torch.Generator().manual_seed(0))
    return Setting(latent={"samples": randn(2, 16, 12, 20, seed=7), "noise_mask": masks})


SETTINGS = (
    plain,
    cfg_in_one_batch,
    cfg_in_two_calls,
    cfg_batch_of_three,
    two_positive_prompts,
    masked_prompts,
    area_beside_a_whole_prompt,
    prompts_by_timestep,
    lora,
    lora_as_a_scheduled_hook,
    controlnet,
    controlnet_union,
    kontext,
    kontext_two_references,
    kontext_index,
    attention_override,
    attn1_patches,
    double_block_replacement,
    skip_layer_guidance,
    easy_cache,
    lazy_cache,
    model_sampling,
    model_merge,
    fill,
    noise_mask_by_image,
)
