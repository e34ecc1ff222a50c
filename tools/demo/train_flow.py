"""Stage 3: the Flux and its text encoders, by rectified flow on latents and captions.

There is no loss on concept maps. Whole scenes drawn small teach layout cheaply (their patches sit where those of a
full-size picture would), close-ups teach what the nouns look like, whole scenes at full size, in turns with more
close-ups, finish the model. The learning rate is constant until it falls to zero over the last part of the last phase.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from . import common
from .flux import Flux, FluxSizes, patchify, rotations
from .latents import LatentSet
from .text import CLIP_SIZES, T5_LENGTH, T5_SIZES, Batcher, TextEncoders, Tokenizers, Tokens, Vocabulary

WARMUP = 100
MUON_RATE, ADAM_RATE = 2e-3, 1.5e-3
WEIGHT_DECAY = 0.02
EMA = 0.998
UNKNOWN_WORDS = 0.1
ZERO_POOLED = 0.75
NOUNS_ONLY = 0.75
FALL = 0.6
"""Part of the full-size phase over which the learning rate falls."""
SAVE_EVERY = 200


@dataclass(frozen=True)
class Phase:
    """`steps` steps on one set of latents, whose neighbouring patches are `stride` positions apart.

    beside: what every other step uses instead.
    """

    data: LatentSet
    steps: int
    batch: int
    stride: float = 1.0
    beside: Phase | None = None


class DemoModel(nn.Module):
    """Text encoders and Flux, trained together."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.text = TextEncoders(vocabulary)
        self.flux = Flux(FluxSizes(context=T5_SIZES["d_model"], pooled=CLIP_SIZES["hidden_size"]))


def vocabulary_of(data: LatentSet, tokenizers: Tokenizers, seed: int) -> Vocabulary:
    """The tokens of several captions of every scene."""
    rng = np.random.default_rng(seed)
    rows = np.arange(len(data.words))
    return tokenizers.vocabulary({text for _ in range(4) for text in data.captions(rng, rows)})


def optimisers(model: DemoModel) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices, AdamW for everything else."""
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        inner = "_blocks." in name and parameter.ndim == 2 and "mod" not in name
        (matrices if inner else others).append(parameter)
    muon = torch.optim.Muon(matrices, lr=MUON_RATE, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(others, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY)]


def train(
    folder: Path, phases: list[Phase], tokenizers: Tokenizers, vocabulary: Vocabulary, seed: int
) -> tuple[DemoModel, float]:
    """Train, or go on from the checkpoint in `folder`; returns the averaged model on the CPU and its last mean loss."""
    torch.manual_seed(seed)
    device, path = common.device(), folder / "flow.pt"
    model, average = DemoModel(vocabulary).to(device), DemoModel(vocabulary).to(device)
    average.load_state_dict(model.state_dict())
    optims = optimisers(model)
    start, loss_mean = 0, 0.0
    if checkpoint := common.load(path):
        model.load_state_dict(checkpoint["model"])
        average.load_state_dict(checkpoint["average"])
        for optim, state in zip(optims, checkpoint["optimisers"], strict=True):
            optim.load_state_dict(state)
        start, loss_mean = checkpoint["step"], checkpoint["loss"]
    batcher = Batcher(tokenizers, vocabulary)
    common.compile_blocks(model.flux)
    base_rates = [group["lr"] for optim in optimisers(model) for group in optim.param_groups]
    total = sum(phase.steps for phase in phases)
    clock = time.time()
    for step, latent, tokens, stride in _batches(phases, batcher, start, seed):
        factor = min((step + 1) / WARMUP, 1.0, (total - step) / (FALL * phases[-1].steps + 1))
        groups = [group for optim in optims for group in optim.param_groups]
        for group, rate in zip(groups, base_rates, strict=True):
            group["lr"] = rate * factor
        loss = _loss(model, latent.to(device), tokens.to(device), stride, np.random.default_rng((seed, step, 1)))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optim in optims:
            optim.step()
            optim.zero_grad(set_to_none=True)
        with torch.no_grad():
            weight = 1.0 - min(EMA, (step + 1) / (step + 10))
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), weight)
        loss_mean += (loss.item() - loss_mean) * max(0.02, 1 / (step + 1))
        if (step + 1) % 50 == 0:
            print(f"flow {step + 1}/{total} loss {loss_mean:.4f} {time.time() - clock:.0f} s", flush=True)
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == total:
            states = [optim.state_dict() for optim in optims]
            common.save(
                path,
                model=model.state_dict(),
                average=average.state_dict(),
                optimisers=states,
                step=step + 1,
                loss=loss_mean,
                vocabulary=dataclasses.asdict(vocabulary),
            )
    return average.to("cpu").eval(), loss_mean


def _batches(
    phases: list[Phase], batcher: Batcher, start: int, seed: int
) -> Iterator[tuple[int, Tensor, Tokens, float]]:
    first = 0
    for phase in phases:
        for step in range(max(start, first), first + phase.steps):
            rng = np.random.default_rng((seed, step))
            part = phase.beside if phase.beside and step % 2 else phase
            rows = rng.integers(len(part.data.words), size=part.batch)
            tokens = batcher(part.data.captions(rng, rows), rng, UNKNOWN_WORDS, NOUNS_ONLY)
            yield step, part.data.latents[rows].float(), tokens, part.stride
        first += phase.steps


def _loss(model: DemoModel, latent: Tensor, tokens: Tokens, stride: float, rng: np.random.Generator) -> Tensor:
    """Mean squared error of the velocity `noise - latent` at logit-normal times."""
    device, count = latent.device, len(latent)
    time_drawn = 1 / (1 + np.exp(-rng.standard_normal(count)))
    t = torch.from_numpy(time_drawn).float().to(device)
    keep = torch.from_numpy(rng.random(count) >= ZERO_POOLED).float().to(device)
    clean = patchify(latent)
    noise = torch.from_numpy(rng.standard_normal(tuple(clean.shape), dtype=np.float32)).to(device)
    mixed = clean + t[:, None, None] * (noise - clean)
    grid = latent.shape[-1] // 2
    seen = torch.cat((tokens.flux_seen, tokens.flux_seen.new_ones(clean.shape[:2])), dim=1)[:, None, None]
    rotation = rotations(T5_LENGTH, grid, stride).to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        context, pooled = model.text(tokens)
        velocity = model.flux(mixed, context, pooled * keep[:, None], t, rotation, seen)
    return (velocity.float() - (noise - clean)).square().mean()
