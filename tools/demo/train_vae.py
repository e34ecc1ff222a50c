"""Stages 1 and 2: the autoencoder, on crops of scenes, then on whole ones, the latents held where they are.

Beside the picture's own error, the latent's mean and covariance are pulled to 0 and I (so that the flow model sees
whitened channels), noise on the latent makes the decoder forgiving, and half-size latents must decode to half-size
pictures, which keeps the latent smooth and easy to denoise.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...conceptattention_core.evaluate.datasets.scenes.scenes import scene
from . import common
from .vae import Autoencoder

CROP, BATCH, SCENES = 128, 8, 800
RATE, WARMUP = 2e-3, 60
NOISE = 0.2
MOMENTS = 0.02
HALF_SIZE_EVERY = 4
FINISH_BATCH, FINISH_RATE, FINISH_NOISE, FINISH_EMA = 4, 1e-3, 0.15, 0.99
DRIFT = 0.05


def pictures(seeds: range, size: int) -> Tensor:
    """Scenes as (N, 3, size, size) uint8."""
    return torch.from_numpy(np.stack([scene(seed, size).image for seed in seeds])).permute(0, 3, 1, 2).contiguous()


def normalised(images: Tensor) -> Tensor:
    return images.float() / 127.5 - 1.0


def moment_penalty(latent: Tensor) -> Tensor:
    """Squared distance of the batch's mean from 0 and of its covariance from I."""
    samples = latent.permute(0, 2, 3, 1).flatten(0, 2)
    centred = samples - samples.mean(0)
    covariance = centred.T @ centred / len(samples)
    return (
        samples.mean(0).square().sum() + (covariance - torch.eye(len(covariance), device=latent.device)).square().sum()
    )


@torch.no_grad()
def psnr(model: Autoencoder, images: Tensor) -> float:
    """Mean over pictures of the round trip's PSNR in dB, pixels clamped as ComfyUI does."""
    values = []
    for image in normalised(images).split(1):
        back = model.decode(model.encode(image)).clamp(-1, 1)
        values.append(10 * torch.log10(4.0 / (back - image).square().mean()).item())
    return sum(values) / len(values)


def train(folder: Path, steps: int, seed: int) -> Autoencoder:
    """Train both halves, or go on from the checkpoint in `folder`; returns the model on the CPU."""
    torch.manual_seed(seed)
    device, path = common.device(), folder / "vae.pt"
    model = Autoencoder().to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.97), weight_decay=0.01)
    start = _resume(path, model, optimiser)
    encode, decode = common.compiled(model.encode), common.compiled(model.decode)
    clock = time.time()
    for step, batch in _batches(start, steps, seed):
        batch = batch.to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            latent = encode(batch)
            given, wanted = latent, batch
            if step % HALF_SIZE_EVERY == 0:
                given, wanted = F.avg_pool2d(given, 2), F.avg_pool2d(wanted, 2)
            error = decode(_noisy(given, NOISE)).float() - wanted
        error_loss, moments = _error_loss(error), moment_penalty(latent)
        _update(optimiser, error_loss + MOMENTS * moments, RATE * common.cosine(step, steps, WARMUP))
        if (step + 1) % 50 == 0 or step + 1 == steps:
            report = f"loss {error_loss.item():.4f} moments {moments.item():.3f}"
            print(f"vae {step + 1}/{steps} {report} {time.time() - clock:.0f} s", flush=True)
        if (step + 1) % 100 == 0 or step + 1 == steps:
            common.save(path, model=model.state_dict(), optimiser=optimiser.state_dict(), step=step + 1)
    return model.to("cpu").eval()


def finish(folder: Path, model: Autoencoder, steps: int, seed: int) -> Autoencoder:
    """Train on whole scenes while the latents stay near where crops have put them; returns averaged weights.

    Goes on from the checkpoint in `folder`.
    """
    device, path = common.device(), folder / "vae-finished.pt"
    model = model.to(device, memory_format=torch.channels_last)
    held, average = copy.deepcopy(model), copy.deepcopy(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=FINISH_RATE, betas=(0.9, 0.97), weight_decay=0.01)
    start = _resume(path, model, optimiser)
    if checkpoint := common.load(path):
        average.load_state_dict(checkpoint["average"])
    images = pictures(range(2 * SCENES, 3 * SCENES), 256) if start < steps else torch.empty(0)
    encode, decode, clock = common.compiled(model.encode), common.compiled(model.decode), time.time()
    for step in range(start, steps):
        torch.manual_seed(seed + step)
        batch = normalised(images[torch.randint(len(images), (FINISH_BATCH,))])
        batch = batch.to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            latent = encode(batch)
            with torch.no_grad():
                wanted = held.encode(batch)
            error = (decode(_noisy(latent, FINISH_NOISE)).float() - batch).square().mean()
        drift = (latent - wanted).square().mean()
        _update(optimiser, error + DRIFT * drift, FINISH_RATE * common.cosine(step, steps, WARMUP))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - FINISH_EMA)
        if (step + 1) % 50 == 0 or step + 1 == steps:
            errors = f"error {error.item():.5f} drift {drift.item():.4f}"
            print(f"vae on whole scenes {step + 1}/{steps} {errors} {time.time() - clock:.0f} s", flush=True)
            states = {"model": model.state_dict(), "average": average.state_dict()}
            common.save(path, **states, optimiser=optimiser.state_dict(), step=step + 1)
    return average.to("cpu").eval()


def _resume(path: Path, model: torch.nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """Load a checkpoint if there is one; returns the next step."""
    checkpoint = common.load(path)
    if checkpoint is None:
        return 0
    model.load_state_dict(checkpoint["model"])
    optimiser.load_state_dict(checkpoint["optimiser"])
    return checkpoint["step"]


def _update(optimiser: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(optimiser.param_groups[0]["params"], 1.0)
    optimiser.step()


def _noisy(latent: Tensor, most: float) -> Tensor:
    amount = torch.rand(len(latent), 1, 1, 1, device=latent.device) * most
    return latent + amount * torch.randn_like(latent)


def _error_loss(error: Tensor) -> Tensor:
    return error.square().mean() + 0.1 * error.abs().mean()


def _batches(start: int, steps: int, seed: int) -> Iterator[tuple[int, Tensor]]:
    """Half crops of full-size scenes, half whole scenes drawn small; mirrored at random."""
    if start >= steps:
        return
    large, small = pictures(range(SCENES), 256), pictures(range(SCENES, 2 * SCENES), CROP)
    for step in range(start, steps):
        rng = np.random.default_rng((seed, step))
        rows = []
        for index in range(BATCH):
            if index % 2:
                rows.append(small[rng.integers(len(small))])
            else:
                y, x = rng.integers(large.shape[-1] - CROP + 1, size=2)
                rows.append(large[rng.integers(len(large)), :, y : y + CROP, x : x + CROP])
        batch = torch.stack(rows)
        yield step, normalised(batch.flip(-1) if rng.random() < 0.5 else batch)
