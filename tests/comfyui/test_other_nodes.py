"""Whatever other nodes do during a run, the picture is made all the same, and the reader says what was wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from .graphs import (
    advanced,
    apply,
    cfg_guider,
    empty_latent,
    ksampler,
    prompt,
    read,
    read_maps,
    tiny_flux,
    tiny_weights,
)


@pytest.fixture(scope="module")
def flux(comfy: Any) -> Any:
    return tiny_flux()


def unrecorded(pack: dict[str, Any], flux: Any, patch: Any, message: str, **options: Any) -> None:
    model, attention = apply(pack, flux, **options.pop("apply", {}))
    picture = ksampler(patch(model), **options)
    assert torch.equal(picture, ksampler(patch(flux), **options))
    with pytest.raises(ValueError, match=message):
        read(pack, attention, picture)


def test_no_recorded_step(pack: dict[str, Any], flux: Any) -> None:
    message = r"No step of this run lies between start_percent and end_percent.*Widen the range"
    part = {"start_percent": 0.5, "end_percent": 0.51}
    unrecorded(pack, flux, lambda model: model, message, positive=prompt(1), apply=part)


def test_only_area_prompts(pack: dict[str, Any], flux: Any) -> None:
    import nodes

    left = nodes.ConditioningSetArea().append(prompt(1), 80, 96, 0, 0, 1.0)[0]
    right = nodes.ConditioningSetArea().append(prompt(31), 80, 96, 80, 0, 1.0)[0]
    message = r"limited to an area of the picture.*add a prompt for the whole picture or use Conditioning Set Mask"
    unrecorded(pack, flux, lambda model: model, message, positive=left + right, cfg=2.0)


def replaced_block(model: Any) -> Any:
    """As caching and attention packs do: their own copy of the block's forward, which knows no patches."""

    def replace(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        return extra["original_block"]({**args, "transformer_options": {}})

    model = model.clone()
    for index in (1, 2):
        model.set_model_patch_replace(replace, "dit", "double_block", index)
    return model


def shortened_block(model: Any) -> Any:
    """As token-merging packs do: a block sees only some of the picture's tokens."""

    def replace(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        half, text = args["img"].shape[1] // 2, args["txt"].shape[1]
        pe = args["pe"][:, :, : text + half]
        out = extra["original_block"]({**args, "img": args["img"][:, :half].clone(), "pe": pe})
        return {"img": torch.cat([out["img"], args["img"][:, half:]], dim=1), "txt": out["txt"]}

    model = model.clone()
    model.set_model_patch_replace(replace, "dit", "double_block", 1)
    return model


def test_a_replaced_block_is_named(pack: dict[str, Any], flux: Any) -> None:
    unrecorded(pack, flux, replaced_block, r"[Dd]ouble block.* 1, 2 .*Remove that node", positive=prompt(1), cfg=2.0)
    unrecorded(pack, flux, shortened_block, r"[Dd]ouble block.* 1 .*Remove that node", positive=prompt(1))


def test_blocks_replaced_for_some_steps(pack: dict[str, Any], flux: Any) -> None:
    """Step-caching packs skip the blocks of some steps: the others are recorded."""
    calls = []

    def replace(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        calls.append(args)
        return extra["original_block"](args) if len(calls) != 2 else {"img": args["img"], "txt": args["txt"]}

    def patch(model: Any) -> Any:
        calls.clear()
        model = model.clone()
        model.set_model_patch_replace(replace, "dit", "double_block", 0)
        return model

    model, attention = apply(pack, flux)
    picture = ksampler(patch(model), prompt(1), steps=3)
    assert torch.equal(picture, ksampler(patch(flux), prompt(1), steps=3))
    assert len(read_maps(pack, attention, picture).sigmas) == 2


def test_tiles(pack: dict[str, Any], flux: Any) -> None:
    """Tiled-diffusion packs show the model a part of the picture at a time, several parts stacked as a batch."""

    def wrapper(apply_model: Any, args: dict[str, Any]) -> Tensor:
        x, c = args["input"], args["c"]
        left, right = x.chunk(2, dim=-1)
        parts = apply_model(torch.cat([left, right]), args["timestep"].repeat(2), **{
            name: value.repeat(2, *[1] * (value.ndim - 1)) if isinstance(value, Tensor) else value
            for name, value in c.items()
        })  # fmt: skip
        return torch.cat(parts.chunk(2), dim=-1)

    def patch(model: Any) -> Any:
        model = model.clone()
        model.set_model_unet_function_wrapper(wrapper)
        return model

    unrecorded(pack, flux, patch, r"a part of the picture or batch at a time, remove that node", positive=prompt(1))


def test_one_image_of_a_batch_at_a_time(pack: dict[str, Any], flux: Any) -> None:
    """Low-memory packs split a batch: no evaluation has a row for each image."""

    def wrapper(apply_model: Any, args: dict[str, Any]) -> Tensor:
        rows = range(len(args["input"]))
        return torch.cat([
            apply_model(args["input"][row : row + 1], args["timestep"][row : row + 1], **{
                name: value[row : row + 1] if isinstance(value, Tensor) else value for name, value in args["c"].items()
            })
            for row in rows
        ])  # fmt: skip

    def patch(model: Any) -> Any:
        model = model.clone()
        model.set_model_unet_function_wrapper(wrapper)
        return model

    unrecorded(pack, flux, patch, r"whole picture and batch", positive=prompt(1), latent=empty_latent(3))


@pytest.mark.parametrize("missing", ["positive", "uuids"])
def test_a_guider_of_its_own_kind(pack: dict[str, Any], flux: Any, missing: str) -> None:
    """Guiders may name their prompts as they like, and call the model with transformer options of their own."""
    import comfy.samplers

    class OwnGuider(comfy.samplers.CFGGuider):
        def predict_noise(self, x: Tensor, timestep: Tensor, model_options: Any = None, seed: Any = None) -> Tensor:
            if missing == "positive":
                return comfy.samplers.calc_cond_batch(
                    self.inner_model, [self.conds["mine"]], x, timestep, model_options
                )[0]
            cond = self.conds["positive"][0]["model_conds"]
            options = {**model_options["transformer_options"]}
            extra = {name: cond[name].process_cond(batch_size=len(x)).cond for name in ("c_crossattn", "y", "guidance")}
            return self.inner_model.apply_model(x, timestep, transformer_options=options, **extra)

    def guider(model: Any) -> Any:
        made = OwnGuider(model)
        made.inner_set_conds({"mine" if missing == "positive" else "positive": prompt(1)})
        return made

    model, attention = apply(pack, flux)
    picture, _ = advanced(guider(model))
    assert torch.equal(picture, advanced(guider(flux))[0])
    with pytest.raises(ValueError, match=r"positive prompt.*(KSampler|CFG Guider|guider)"):
        read(pack, attention, picture)


def test_noise_above_one(pack: dict[str, Any], flux: Any) -> None:
    """Samplers with churn, and nodes that multiply sigmas, start above the schedule: from 0 to 1 is all of it."""
    from comfy_extras.nodes_custom_sampler import KSamplerSelect, RandomNoise, SamplerCustomAdvanced

    model, attention = apply(pack, flux)
    out = SamplerCustomAdvanced.execute(
        RandomNoise.execute(1)[0],
        cfg_guider(model, prompt(1)),
        KSamplerSelect.execute("euler")[0],
        torch.tensor([1.1, 0.5, 0.0]),
        empty_latent(),
    )
    assert read_maps(pack, attention, out[0]["samples"]).sigmas == pytest.approx((1.1, 0.5))


def test_a_picture_of_not_a_numbers(pack: dict[str, Any], comfy: Any) -> None:
    """A model that overflows makes a black picture: the reader says so, and does not blame the connections."""
    weights = tiny_weights()
    weights["img_in.bias"] = torch.full_like(weights["img_in.bias"], torch.nan)
    model, attention = apply(pack, tiny_flux(weights=weights))
    picture = ksampler(model, prompt(1))
    assert picture.isnan().all()
    with pytest.raises(ValueError, match="not numbers"):
        read(pack, attention, picture)
