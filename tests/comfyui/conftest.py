"""A real ComfyUI in this process, with the pack loaded as ComfyUI itself loads it."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def comfy() -> SimpleNamespace:
    """ComfyUI's modules, on the CPU where there is no GPU."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = not torch.cuda.is_available()
    import comfy.model_management
    import comfy.sample
    import comfy.samplers
    import comfy.sd
    import comfy.utils
    import nodes

    comfy.utils.PROGRESS_BAR_ENABLED = False
    torch.set_num_threads(1)  # the models are tiny: threads would only wait for each other
    return SimpleNamespace(sd=comfy.sd, sample=comfy.sample, samplers=comfy.samplers, utils=comfy.utils, nodes=nodes)


@pytest.fixture(scope="session")
def pack(comfy: SimpleNamespace) -> dict[str, Any]:
    """The pack's node classes by id, loaded by ComfyUI's own loader."""
    assert asyncio.run(comfy.nodes.load_custom_node(str(ROOT), module_parent="custom_nodes"))
    return comfy.nodes.NODE_CLASS_MAPPINGS


@dataclass(frozen=True)
class Golden:
    """What the authors' own code computed, and the Flux that it computed it with."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]
    model: Any


def flux_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Every tensor of a FLUX.1 checkpoint of this size, under its original name."""
    hidden, heads = config["hidden_size"], config["num_heads"]
    head, mlp = hidden // heads, 4 * hidden
    linears = {
        "img_in": (hidden, 64),
        "txt_in": (hidden, config["context_in_dim"]),
        "time_in.in_layer": (hidden, 256),
        "time_in.out_layer": (hidden, hidden),
        "vector_in.in_layer": (hidden, config["vec_in_dim"]),
        "vector_in.out_layer": (hidden, hidden),
        "final_layer.linear": (64, hidden),
        "final_layer.adaLN_modulation.1": (2 * hidden, hidden),
    }
    if config["guidance_embed"]:
        linears |= {"guidance_in.in_layer": (hidden, 256), "guidance_in.out_layer": (hidden, hidden)}
    norms = []
    for i in range(config["depth"]):
        for stream in ("img", "txt"):
            block = f"double_blocks.{i}.{stream}"
            linears |= {
                f"{block}_mod.lin": (6 * hidden, hidden),
                f"{block}_attn.qkv": (3 * hidden, hidden),
                f"{block}_attn.proj": (hidden, hidden),
                f"{block}_mlp.0": (mlp, hidden),
                f"{block}_mlp.2": (hidden, mlp),
            }
            norms += [f"{block}_attn.norm"]
    for i in range(config["depth_single_blocks"]):
        block = f"single_blocks.{i}"
        linears |= {
            f"{block}.modulation.lin": (3 * hidden, hidden),
            f"{block}.linear1": (3 * hidden + mlp, hidden),
            f"{block}.linear2": (hidden, hidden + mlp),
        }
        norms += [f"{block}.norm"]
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in linears.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        shapes |= {f"{name}.query_norm.scale": (head,), f"{name}.key_norm.scale": (head,)}
    return shapes


def recipe_weights(config: dict[str, Any]) -> dict[str, Tensor]:
    """The golden cases' weights, drawn by their recipe (ALGORITHM.md)."""

    def draw(name: str, shape: tuple[int, ...]) -> Tensor:
        x = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode()) ^ config["seed"]))
        if name.endswith(".scale"):
            return 1 + 0.1 * x
        return 0.1 * x if name.endswith(".bias") else x / shape[-1] ** 0.5

    return {name: draw(name, shape) for name, shape in flux_shapes(config).items()}


@pytest.fixture(scope="session")
def load_flux(comfy: SimpleNamespace) -> Any:
    """Load recipe weights of any size by ComfyUI's own loader."""

    def load(config: dict[str, Any], dtype: torch.dtype = torch.float32) -> Any:
        model = comfy.sd.load_diffusion_model_state_dict(recipe_weights(config), model_options={"dtype": dtype})
        assert model is not None
        return model

    return load


class RoundedExp(TorchDispatchMode):
    """`exp` computed in float64 and rounded once."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.exp.default:
            return func(args[0].double()).to(args[0].dtype)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def rounded_exp() -> Iterator[None]:
    """Flux multiplies an `exp` by 1000 times the guidance, and takes the cosine.

    CPUs differ in the last bit of `exp`; with the bit as it should be, every machine is nearer to the authors' numbers
    (2e-6 instead of 1.4e-5 where it is wrong).
    """
    with RoundedExp():
        yield


@pytest.fixture(scope="session", params=["dev", "schnell", "batch"])
def golden(request: pytest.FixtureRequest, load_flux: Any) -> Golden:
    with safe_open(GOLDEN / f"{request.param}.safetensors", "pt") as file:
        config = json.loads(file.metadata()["config"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return Golden(config, tensors, load_flux(config))
