"""What is measured: a full-width Flux of random weights with and without the pack, one step of it, and the options."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[3]
CONTEXT_DIM, POOLED_DIM = 4096, 768
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def start_comfyui(args: argparse.Namespace) -> None:
    """Put ComfyUI and the pack on the path, and choose device and attention as ComfyUI's command line does."""
    sys.path[:0] = [str(args.comfyui), str(ROOT)]  # ComfyUI first: `nodes` is its module
    import comfy.cli_args

    comfy.cli_args.args.cpu = args.device == "cpu"
    comfy.cli_args.args.use_pytorch_cross_attention = True  # its choice on NVIDIA; its own for a CPU is slower
    logging.disable(logging.INFO)
    if args.device == "cpu":
        torch.set_num_threads(args.threads)


def build_flux(args: argparse.Namespace) -> Any:
    """A MODEL: Flux.1 dev's layers at the wanted depth, randomly initialised."""
    import comfy.model_management
    import comfy.model_patcher
    import comfy.supported_models

    config = comfy.supported_models.Flux(
        {
            "image_model": "flux",
            "in_channels": 16,
            "out_channels": 16,
            "patch_size": 2,
            "vec_in_dim": POOLED_DIM,
            "context_in_dim": CONTEXT_DIM,
            "hidden_size": args.hidden,
            "num_heads": args.hidden // 128,
            "mlp_ratio": 4.0,
            "depth": args.double_blocks,
            "depth_single_blocks": args.single_blocks,
            "axes_dim": [16, 56, 56],
            "theta": 10000,
            "qkv_bias": True,
            "txt_ids_dims": [],
            "guidance_embed": True,
        }
    )
    config.set_inference_dtype(DTYPES[args.dtype], None)
    device = comfy.model_management.get_torch_device()
    model = config.get_model({}, device=device)
    torch.manual_seed(0)
    for name, weight in model.diffusion_model.named_parameters():
        weight.requires_grad_(False)
        if weight.ndim == 2:
            weight.normal_(std=weight.shape[1] ** -0.5)
        else:
            weight.fill_(0.0 if name.endswith("bias") else 1.0)
    return comfy.model_patcher.ModelPatcher(model.eval(), load_device=device, offload_device=torch.device("cpu"))


def with_pack(model: Any, concepts: int) -> Any:
    """The MODEL as Apply Concept Attention hands it out."""
    from conceptattention_core.adapters.comfy.sampling import apply_concept_attention
    from conceptattention_core.concepts import Concepts

    names = tuple(f"concept {index}" for index in range(concepts))
    embeddings = torch.randn(1, concepts, CONTEXT_DIM, generator=torch.Generator().manual_seed(1))
    return apply_concept_attention(model, Concepts(names, 0, embeddings), "output", 0.0, 1.0)[0]


def sample_one_step(model: Any, args: argparse.Namespace) -> Tensor:
    """KSampler's own run of one Euler step without guidance by a second prompt, as Flux is used."""
    import comfy.sample

    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(args.batch, 16, *args.latent, generator=generator)
    context = torch.randn(1, args.text_tokens, CONTEXT_DIM, generator=generator)
    prompt = [[context, {"pooled_output": torch.zeros(1, POOLED_DIM), "guidance": 3.5}]]
    zeros = torch.zeros_like(noise)
    return comfy.sample.sample(
        model, noise, 1, 1.0, "euler", "simple", prompt, prompt, zeros, disable_pbar=True, seed=0
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Options on ComfyUI, on the model's and the picture's size, and on the machine: for any benchmark on this Flux."""
    add = parser.add_argument
    add("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH"), help="its folder (default: COMFYUI_PATH)")
    add("--pairs", type=int, default=5, help="timed pairs of runs (default: %(default)s)")
    add("--double-blocks", type=int, default=2, help="Flux.1 has 19 (default: %(default)s)")
    add("--single-blocks", type=int, default=1, help="Flux.1 has 38 (default: %(default)s)")
    add("--hidden", type=int, default=3072, help="hidden size, a multiple of 128 (default: %(default)s)")
    add("--latent", type=int, nargs=2, default=(128, 128), metavar=("H", "W"), help="even numbers (default: 128 128)")
    add("--text-tokens", type=int, default=256, help="length of the prompt (default: %(default)s)")
    add("--concepts", type=int, default=8, help="number of concepts (default: %(default)s)")
    add("--batch", type=int, default=1, help="pictures at once (default: %(default)s)")
    add("--dtype", choices=DTYPES, default="bf16", help="of weights and computation (default: %(default)s)")
    add("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    add("--threads", type=int, default=os.cpu_count(), help="on the CPU (default: all)")


def parse_arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line, once it names a ComfyUI."""
    args = parser.parse_args()
    if args.comfyui is None or not (args.comfyui / "comfy").is_dir():
        parser.error("no ComfyUI: give its folder as --comfyui, or set COMFYUI_PATH")
    return args


def describe_setting(args: argparse.Namespace) -> str:
    """One sentence on what is measured, for the head of a table."""
    device = torch.cuda.get_device_name() if args.device == "cuda" else f"CPU with {args.threads} threads"
    tokens = args.latent[0] * args.latent[1] // 4
    return (
        f"Flux of hidden size {args.hidden} with {args.double_blocks} double and {args.single_blocks} single blocks, "
        f"{tokens} image tokens, {args.text_tokens} text tokens, {args.concepts} concepts, "
        f"batch {args.batch}, {args.dtype}; {device}, PyTorch {torch.__version__}; medians of {args.pairs} pairs."
    )
