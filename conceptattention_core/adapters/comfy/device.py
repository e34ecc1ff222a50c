"""Which device ComfyUI computes on, where nobody has started its server."""

from __future__ import annotations

import torch


def choose_device() -> None:
    """Do what `--cpu` does where there is no GPU. To be called before any of ComfyUI's models is imported."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = not torch.cuda.is_available()
