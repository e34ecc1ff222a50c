"""Concept Attention Mask in real graphs: run by ComfyUI's own executor, from the demo model to stock mask nodes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

SIZE = (96, 160)
SETTINGS: dict[str, Any] = {
    "concept": "sky",
    "method": "soft",
    "method.low": 0.3,
    "method.high": 0.7,
    "method.gamma": 1.0,
    "grow": 0,
    "blur": 0,
    "fill_holes": False,
    "keep": "all",
    "min_area": 0.0,
    "invert": False,
    "refine_edges": True,
    "min_presence": 0.0,
    "first_block": -10,
    "last_block": -1,
    "softmax_temperature": 1.0,
}
METHODS: dict[str, dict[str, Any]] = {
    "soft": {"method.low": 0.2, "method.high": 0.6, "method.gamma": 1.5},
    "mean": {},
    "otsu": {},
    "percentile": {"method.percentile": 70.0},
    "threshold": {"method.threshold": 0.25},
    "argmax": {},
}


def method_settings(method: str) -> dict[str, Any]:
    """API-format inputs with this method and just its own knobs."""
    plain = {name: value for name, value in SETTINGS.items() if not name.startswith("method")}
    return {**plain, "method": method, **METHODS[method]}


class Keep:
    """An output node that keeps what it is given, for the test to look at."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"value": ("*",)}, "hidden": {"node": "UNIQUE_ID"}})
    RETURN_TYPES, FUNCTION, OUTPUT_NODE, CATEGORY = (), "keep", True, "tests"
    kept: dict[str, Any]

    @classmethod
    def VALIDATE_INPUTS(cls, input_types: dict[str, str]) -> bool:
        return True

    def keep(self, value: Any, node: str) -> dict[str, Any]:
        self.kept[node] = value
        return {}


class KeepList(Keep):
    """The same, of a list as a whole."""

    INPUT_IS_LIST = True

    def keep(self, value: Any, node: Any) -> dict[str, Any]:
        self.kept[node[0]] = value
        return {}


@dataclass
class Host:
    """ComfyUI's executor with its cache, and what `Keep` nodes were given last: unchanged ones do not run."""

    executor: Any
    kept: dict[str, Any]

    def run(self, graph: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Validate and run an API-format graph. Raises AssertionError with ComfyUI's message where it fails."""
        import execution

        valid, error, outputs, node_errors = asyncio.run(execution.validate_prompt("test", graph, None))
        assert valid and not node_errors, f"{error} {node_errors}"
        self.executor.execute(graph, "test", {}, outputs)
        failures = [data["exception_message"] for event, data in self.executor.status_messages if "error" in event]
        assert self.executor.success, failures
        return dict(self.kept)


@pytest.fixture(scope="module")
def host(comfy: SimpleNamespace, pack: dict[str, Any]) -> Any:
    """Without a browser, and with the stock mask nodes."""
    import execution

    extras = Path(comfy.nodes.__file__).parent / "comfy_extras"
    for name in ("nodes_mask", "nodes_sd3"):
        assert asyncio.run(comfy.nodes.load_custom_node(str(extras / f"{name}.py"), module_parent="comfy_extras"))
    kept: dict[str, Any] = {}
    pack["TestKeep"] = type("TestKeep", (Keep,), {"kept": kept})
    pack["TestKeepList"] = type("TestKeepList", (KeepList,), {"kept": kept})
    silent = SimpleNamespace(client_id=None, last_node_id=None, send_sync=lambda *_: None)
    ram = {"ram": 0.0, "ram_inactive": 0.0, "lru": 0}
    yield Host(execution.PromptExecutor(silent, cache_args=ram), kept)
    del pack["TestKeep"], pack["TestKeepList"]


def demo_graph(**settings: Any) -> dict[str, dict[str, Any]]:
    """The demo model, two steps, and the mask of one concept with the decoded picture ("picture", "mask" ...)."""
    height, width = SIZE
    return {
        "demo": node("ConceptAttentionDemoModel"),
        "prompt": node("CLIPTextEncode", clip=["demo", 1], text="a house on the grass under the sky"),
        "other": node("CLIPTextEncode", clip=["demo", 1], text="the moon in the night sky"),
        "empty": node("EmptySD3LatentImage", width=width, height=height, batch_size=2),
        "apply": node(
            "ConceptAttentionApply",
            model=["demo", 0],
            clip=["demo", 1],
            concepts="house, grass, sky",
            background="background",
            token_pooling="mean",
            projection="output",
            start_percent=0.0,
            end_percent=1.0,
        ),
        "sample": sampler(["apply", 0], "prompt", ["empty", 0]),
        "picture": node("VAEDecode", samples=["sample", 0], vae=["demo", 2]),
        "read": node(
            "ConceptAttention",
            concept_attention=["apply", 1],
            samples=["sample", 0],
            concept="",
            threshold=0.5,
            softness=0.1,
            first_block=-10,
            last_block=-1,
            softmax_temperature=1.0,
        ),
        "mask": node("ConceptAttentionMask", maps=["read", 3], image=["picture", 0], **(settings or SETTINGS)),
        "kept mask": node("TestKeep", value=["mask", 0]),
        "kept preview": node("TestKeep", value=["mask", 1]),
        "kept presence": node("TestKeep", value=["mask", 2]),
        "kept maps": node("TestKeep", value=["read", 3]),
        "kept picture": node("TestKeep", value=["picture", 0]),
    }


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def sampler(
    model: list[Any], positive: str, latent: list[Any], denoise: float = 1.0, output: int = 0
) -> dict[str, Any]:
    return node(
        "KSampler",
        model=model,
        seed=5,
        steps=2,
        cfg=1.0,
        sampler_name="euler",
        scheduler="simple",
        positive=[positive, output],
        negative=[positive, output],
        latent_image=latent,
        denoise=denoise,
    )


@pytest.mark.parametrize("method", METHODS)
def test_every_method_by_the_executor(host: Host, method: str) -> None:
    settings = {
        **method_settings(method),
        "concept": "sky + house - grass",
        "keep": "several",
        "keep.regions": 3,
        "min_area": 0.5,
        "fill_holes": True,
        "grow": 2,
        "blur": 3,
    }
    kept = host.run(demo_graph(**settings))
    mask, preview, presence = kept["kept mask"], kept["kept preview"], kept["kept presence"]
    assert mask.shape == (2, *SIZE) and preview.shape == (2, *SIZE, 3)
    for made in (mask, preview):
        assert made.dtype == torch.float32 and made.device.type == "cpu" and made.is_contiguous()
        assert made.min() >= 0 and made.max() <= 1
    # A fixed threshold and the competition may find nothing; the others measure the map itself.
    assert set(mask.amax(dim=(1, 2)).tolist()) <= ({0, 1} if method in ("threshold", "argmax") else {1})
    assert isinstance(presence, float) and 0 <= presence <= 1
    outside = mask == 0
    assert_close(preview[outside], kept["kept picture"][outside].clamp(0, 1))
    assert not (mask == 1).any() or (preview[mask == 1] - kept["kept picture"][mask == 1]).abs().mean() > 0.05
    # The same recipe by the core: the sockets' values arrive where they belong.
    core = import_module(type(kept["kept maps"]).__module__.replace(".maps", ".masks.recipe"))
    knobs = {name.removeprefix("method."): value for name, value in METHODS[method].items()}
    recipe = core.MaskRecipe(
        "sky + house - grass", method=method, keep=3, min_area=0.5, fill_holes=True, grow=2, blur=3, **knobs
    )
    expected = core.make_mask(kept["kept maps"], recipe, kept["kept picture"])
    assert torch.equal(mask, expected.mask) and presence == float(expected.presence.max())


def test_regions_by_number_and_as_segments(host: Host) -> None:
    """The n-th region is the n-th of the list; segments are the same regions, labelled, for whoever takes SEGS."""
    whole = {**SETTINGS, "method": "mean", "concept": "sky + house", "refine_edges": False}
    graph = demo_graph(**whole)
    graph |= {f"kept {name}": node("TestKeepList", value=["mask", at]) for name, at in (("regions", 3), ("segs", 4))}
    kept = host.run(graph)
    regions, segs = kept["kept regions"], kept["kept segs"]
    sizes = [len(found) for _, found in segs]
    assert sum(sizes) == len(regions) and max(sizes) > 1 and [size for size, _ in segs] == [SIZE, SIZE]
    found = [segment for _, of_picture in segs for segment in of_picture]
    for region, segment in zip(regions, found, strict=True):
        left, top, right, bottom = segment.crop_region
        pasted = torch.zeros(SIZE)
        pasted[top:bottom, left:right] = torch.from_numpy(segment.cropped_mask)
        assert torch.equal(pasted, region[0]) and segment.label == "sky + house" and 0 < segment.confidence <= 1
    second = host.run(demo_graph(**{**whole, "keep": "one", "keep.region": 2}))["kept mask"]
    for mask, first, count in zip(second, (0, sizes[0]), sizes, strict=True):
        assert torch.equal(mask, regions[first + 1][0] if count > 1 else torch.zeros(SIZE))


def test_without_an_image(host: Host) -> None:
    graph = demo_graph()
    del graph["mask"]["inputs"]["image"]
    kept = host.run(graph)
    assert kept["kept mask"].shape == (2, *SIZE)
    ground = kept["kept preview"][kept["kept mask"] == 0]
    assert len(ground) and (ground == 0.5).all()


def test_an_absent_concept_and_a_wrong_one(host: Host) -> None:
    kept = host.run(demo_graph(**{**SETTINGS, "min_presence": 1.0}))
    assert kept["kept presence"] < 1 and not kept["kept mask"].any()
    kept = host.run(demo_graph(**{**SETTINGS, "min_presence": 1.0, "invert": True}))
    assert (kept["kept mask"] == 1).all()
    with pytest.raises(AssertionError, match=r"no concept 'hause'\. Did you mean 'house'"):
        host.run(demo_graph(**{**SETTINGS, "concept": "sky + hause"}))
    with pytest.raises(AssertionError, match=r"Required input is missing.*low"):
        host.run(demo_graph(**{**method_settings("mean"), "method": "soft"}))


@pytest.mark.parametrize("method", ["soft", "mean"])
@pytest.mark.parametrize("min_presence", [0.0, 1.0])
def test_stock_nodes_take_every_mask(host: Host, method: str, min_presence: float) -> None:
    """A mask that is there, and an empty one: what the stock nodes make of it is what they promise."""
    graph = demo_graph(**{**method_settings(method), "min_presence": min_presence})
    mask = ["mask", 0]
    graph |= {
        "GrowMask": node("GrowMask", mask=mask, expand=4, tapered_corners=True),
        "FeatherMask": node("FeatherMask", mask=mask, left=4, top=4, right=4, bottom=4),
        "ThresholdMask": node("ThresholdMask", mask=mask, value=0.5),
        "InvertMask": node("InvertMask", mask=mask),
        "MaskComposite": node(
            "MaskComposite", destination=mask, source=["InvertMask", 0], x=0, y=0, operation="multiply"
        ),
        "CropMask": node("CropMask", mask=mask, x=8, y=16, width=40, height=32),
        "MaskToImage": node("MaskToImage", mask=mask),
        "SetLatentNoiseMask": node("SetLatentNoiseMask", samples=["sample", 0], mask=mask),
        "redone": sampler(["demo", 0], "other", ["SetLatentNoiseMask", 0]),
        "inpaint": node(
            "InpaintModelConditioning",
            positive=["other", 0],
            negative=["other", 0],
            vae=["demo", 2],
            pixels=["picture", 0],
            mask=mask,
            noise_mask=True,
        ),
        "repainted": sampler(["demo", 0], "inpaint", ["inpaint", 2]),
    }
    stock = ("GrowMask", "FeatherMask", "ThresholdMask", "InvertMask", "MaskComposite", "CropMask", "MaskToImage")
    for name in (*stock, "sample", "redone", "repainted"):
        graph[f"kept {name}"] = node("TestKeep", value=[name, 0])
    graph["kept original"] = node("TestKeep", value=["inpaint", 2])
    kept = host.run(graph)

    made: Tensor = kept["kept mask"]
    assert made.any() == (min_presence == 0)
    assert (kept["kept GrowMask"] >= made).all()
    assert (kept["kept FeatherMask"] <= made).all()
    assert torch.equal(kept["kept ThresholdMask"], (made > 0.5).float())
    assert torch.equal(kept["kept InvertMask"], 1 - made)
    assert_close(kept["kept MaskComposite"], made * (1 - made))
    assert torch.equal(kept["kept CropMask"], made[:, 16:48, 8:48])
    assert torch.equal(kept["kept MaskToImage"], made[..., None].expand(-1, -1, -1, 3))
    touched = torch.nn.functional.interpolate(made[:, None], scale_factor=1 / 8, mode="bilinear") > 0
    for before, after in (("sample", "redone"), ("original", "repainted")):
        change = (kept[f"kept {before}"]["samples"] - kept[f"kept {after}"]["samples"]).abs()
        assert change[~touched.expand_as(change)].max() < 1e-5
        if min_presence == 0:
            assert change[touched.expand_as(change)].mean() > 0.05


def test_maps_of_a_broken_run(host: Host, pack: dict[str, Any]) -> None:
    maps = host.run(demo_graph())["kept maps"]
    scores = maps.scores.clone()
    scores[0, 0, 0, 0, 0, 0] = float("nan")
    inputs = {name: value for name, value in SETTINGS.items() if "." not in name}
    inputs |= {"method": {"method": "mean"}, "keep": {"keep": "all"}}
    with pytest.raises(ValueError, match=r"not numbers.*bf16"):
        pack["ConceptAttentionMask"].execute(replace(maps, scores=scores), **inputs)
