"""Stage 4: the Flux and its text encoders, by rectified flow on latents and captions.

Windows round an object, at their true places in the scene, teach what the nouns look like and where things are, at a
quarter of a whole scene's cost; then whole scenes alone teach how a picture hangs together (a window has its thing in
the middle, which a whole scene need not).

Two small losses beside the flow's own help a model of this size, which would need far more training to get there by
itself as a full-size Flux does. Linear heads, thrown away after training, name each image token's noun from the image
stream behind two of the blocks: pictures form sooner when the features that make them mean something (REPA, arXiv
2410.06940, with our labels for its encoder). And the attention outputs of a caption's nouns are to agree with those of
the patches that show them: in the later double blocks, and at the very end in all of them, so that the mean over all is
worth reading. So the demo's concept maps are partly taught: they test this pack, and are no evidence for the paper's
claim that such maps come about by themselves.
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
from torch.nn import functional as F

from ...conceptattention_core.evaluate.datasets.scenes.scenes import NOUNS
from . import common
from .flux import Flux, FluxSizes, patchify, rotations
from .latents import LatentSet
from .text import CLIP_SIZES, NAMED, T5_SIZES, Batcher, TextEncoders, Tokenizers, Tokens, Vocabulary

WARMUP = 100
MUON_RATE, ADAM_RATE = 2e-3, 1.5e-3
WEIGHT_DECAY = 0.02
EMA = 0.999
TIME_SPREAD = 1.2
"""Deviation of the logit of the times learnt; its mean is a phase's own."""
UNKNOWN_WORDS = 0.1
ZERO_POOLED = 0.75
NOUNS_ONLY = 0.75
LAYOUT_BLOCKS = (1, 3)
LAYOUT_WEIGHT, AGREEMENT_WEIGHT = 0.15, 0.06
SAVE_EVERY = 200


@dataclass(frozen=True)
class Phase:
    """`steps` steps on batches of `batch` whole scenes, or of windows of `window` x `window` tokens.

    time_shift: mean of the logit of the times learnt. A thing covers some thousand latent values, so that where it is
    shows through noise of t = 0.9: what a picture is made of is decided there, in the first quarter of a sampler's
    steps, and for it a phase must look there, once the things themselves are known.
    rate: of the learning rates; fall: over which last part of the phase they fall to zero.
    agreement_blocks: the double blocks whose attention outputs are to agree with the nouns' places.
    """

    steps: int
    batch: int
    time_shift: float
    window: int | None = None
    rate: float = 1.0
    fall: float = 0.0
    agreement_blocks: tuple[int, ...] = (2, 3, 4, 5)

    def factor(self, left: int) -> float:
        """What the learning rates are multiplied by with `left` of the phase's steps to go."""
        return self.rate * min(1.0, left / (self.fall * self.steps + 1)) if self.fall else self.rate


class DemoModel(nn.Module):
    """Text encoders and Flux, trained together, and the heads that only training needs."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        sizes = FluxSizes(context=T5_SIZES["d_model"], pooled=CLIP_SIZES["hidden_size"])
        self.text, self.flux = TextEncoders(vocabulary), Flux(sizes)
        self.layout = nn.ModuleList(nn.Linear(sizes.hidden, len(NOUNS) + 1) for _ in LAYOUT_BLOCKS)

    def layout_error(self, streams: list[Tensor], layout: Tensor) -> Tensor:
        """Cross-entropy of the heads, mean over blocks. layout: (B, N, 1 + nouns) that sums to 1."""
        errors = [
            F.cross_entropy(head(F.layer_norm(streams[block], streams[block].shape[-1:])).float().mT, layout.mT)
            for head, block in zip(self.layout, LAYOUT_BLOCKS, strict=True)
        ]
        return torch.stack(errors).mean()


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
    folder: Path, data: LatentSet, phases: list[Phase], tokenizers: Tokenizers, vocabulary: Vocabulary, seed: int
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
    for step, factor, batch in _batches(data, phases, batcher, start, seed):
        factor *= min((step + 1) / WARMUP, 1.0)
        groups = [group for optim in optims for group in optim.param_groups]
        for group, rate in zip(groups, base_rates, strict=True):
            group["lr"] = rate * factor
        rng = np.random.default_rng((seed, step, 1))
        loss, layout_loss, agreement_loss = _losses(model, batch.to(device), rng)
        (loss + LAYOUT_WEIGHT * layout_loss + AGREEMENT_WEIGHT * agreement_loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optim in optims:
            optim.step()
            optim.zero_grad(set_to_none=True)
        with torch.no_grad():
            weight = 1.0 - min(EMA, (step + 1) / (step + 10))
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), weight)
        loss_mean += (loss.item() - loss_mean) * max(0.02, 1 / (step + 1))
        if (step + 1) % 50 == 0:
            report = f"loss {loss_mean:.4f} layout {layout_loss.item():.2f} agreement {agreement_loss.item():.2f}"
            print(f"flow {step + 1}/{total} {report} {time.time() - clock:.0f} s", flush=True)
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


@dataclass(frozen=True)
class Batch:
    """Latents (B, 16, 2g, 2g), corners (B or 1, 2) in tokens, layouts (B, g * g, 1 + nouns) that sum to 1, and text.

    phase: the one that it is learnt in.
    """

    latent: Tensor
    corners: Tensor
    layout: Tensor
    tokens: Tokens
    phase: Phase

    def to(self, device: torch.device) -> Batch:
        return Batch(self.latent.to(device), self.corners, self.layout.to(device), self.tokens.to(device), self.phase)


def _batches(
    data: LatentSet, phases: list[Phase], batcher: Batcher, start: int, seed: int
) -> Iterator[tuple[int, float, Batch]]:
    """Number of the step, factor of the learning rates, batch."""
    first = 0
    for phase in phases:
        for step in range(max(start, first), first + phase.steps):
            rng = np.random.default_rng((seed, step))
            rows = rng.integers(len(data.words), size=phase.batch)
            if phase.window is None:
                latent, layout, texts = data.latents[rows], data.layouts[rows], data.captions(rng, rows)
                corners = torch.zeros(1, 2)
            else:
                side = phase.window
                places, texts = zip(*(data.window(rng, row, side) for row in rows), strict=True)
                cut = [(row, *place) for row, place in zip(rows, places, strict=True)]
                latent = torch.stack(
                    [data.latents[row, :, 2 * y : 2 * (y + side), 2 * x : 2 * (x + side)] for row, y, x in cut]
                )
                layout = torch.stack([data.layouts[row, y : y + side, x : x + side] for row, y, x in cut])
                corners = torch.tensor(places)
            layout = layout.flatten(1, 2).float()
            tokens = batcher(texts, rng, UNKNOWN_WORDS, NOUNS_ONLY)
            layout = layout / layout.sum(-1, keepdim=True)
            factor = phase.factor(first + phase.steps - step)
            yield step, factor, Batch(latent.float(), corners, layout, tokens, phase)
        first += phase.steps


def _losses(model: DemoModel, batch: Batch, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Mean squared error of the velocity `noise - latent` at logit-normal times, and the two losses beside it."""
    latent, tokens = batch.latent, batch.tokens
    device, count = latent.device, len(latent)
    time_drawn = 1 / (1 + np.exp(-batch.phase.time_shift - TIME_SPREAD * rng.standard_normal(count)))
    t = torch.from_numpy(time_drawn).float().to(device)
    keep = torch.from_numpy(rng.random(count) >= ZERO_POOLED).float().to(device)
    clean = patchify(latent)
    noise = torch.from_numpy(rng.standard_normal(tuple(clean.shape), dtype=np.float32)).to(device)
    mixed = clean + t[:, None, None] * (noise - clean)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        context, pooled = model.text(tokens)
        context, nouns, read = seen_first(context, tokens.nouns, tokens.flux_seen)
        seen = torch.cat((read, read.new_ones(clean.shape[:2])), dim=1)[:, None, None]
        rotation = rotations(read.shape[1], latent.shape[-1] // 2, batch.corners).to(device)
        velocity, streams, outputs = model.flux(mixed, context, pooled * keep[:, None], t, rotation, seen)
        layout_loss = model.layout_error(streams, batch.layout)
    agreement_loss = agreement_error([outputs[block] for block in batch.phase.agreement_blocks], nouns, batch.layout)
    return (velocity.float() - (noise - clean)).square().mean(), layout_loss, agreement_loss


def agreement_error(outputs: list[Tensor], nouns: Tensor, layout: Tensor) -> Tensor:
    """Cross-entropy of the softmax over a caption's nouns of the product of attention outputs with where they are.

    outputs: of some double blocks (B, T + N, D); nouns: (B, T), k for `NAMED[k - 1]`, 0 for none; layout: (B, N, 1 +
    nouns). What has no noun of its own in the caption belongs to "background", where the caption has that.
    """
    pieces = F.one_hot(nouns, len(NAMED) + 1)[..., 1:].float()
    there = pieces.sum(dim=1) > 0
    wanted = layout[..., 1:] * there[:, None, :-1]
    rest = (1 - wanted.sum(dim=-1, keepdim=True)).clamp_min(0) * there[:, None, -1:]
    wanted = torch.cat((wanted, rest), dim=-1)
    errors = []
    for output in outputs:
        text, image = output.float().split((nouns.shape[1], layout.shape[1]), dim=1)
        pooled = torch.einsum("btn,btd->bnd", pieces, text) / pieces.sum(dim=1).clamp_min(1)[..., None]
        scores = torch.einsum("bpd,bnd->bpn", image, pooled).masked_fill(~there[:, None], -1e4)
        errors.append(-(wanted * scores.log_softmax(dim=-1)).sum() / wanted.sum().clamp_min(1))
    return torch.stack(errors).mean()


def seen_first(context: Tensor, nouns: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Text tokens that the Flux sees, moved to the front: (B, T, D), (B, T), (B, T), with T a multiple of 16.

    All text has one and the same position in a Flux, so that their order means nothing to it.
    """
    length = -(-int(seen.sum(dim=1).max()) // 16) * 16
    order = seen.int().argsort(dim=1, descending=True, stable=True)[:, :length]
    context = context.gather(1, order[..., None].expand(-1, -1, context.shape[-1]))
    return context, nouns.gather(1, order), seen.gather(1, order)
