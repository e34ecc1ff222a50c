"""Records: the scores that one sampling run leaves behind, found again by the latent that it made."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace

import torch
from einops import reduce
from torch import Tensor

from .concepts import Concepts
from .features import FeatureMean
from .maps import LAST_TEN, TOKEN_PIXELS, ConceptAttentionMaps, Reading, select_blocks
from .scores import Projection
from .steps import RUN_BYTES, StepScores
from .stream import ConceptKeys

KEEP_RUNS = 8
"""Earlier prompts' runs that a store keeps, for hosts that return to a cached latent."""

STORE_BYTES = 2 * 2**30
"""What a store may hold, unless its host has less memory to give."""


@dataclass(frozen=True)
class Run:
    """A finished sampling run.

    latents: what it gave out, ``(batch, channels, ...)`` on the CPU: the last sample, and the last denoised one.
    maps: what was recorded, or None with the `problem` that a reader has to be told.
    group: the prompt that the run belongs to; a store never drops a run of the newest one.
    continues: the latent that it began with, where it added no noise: if another run gave it out, both are one run.
    """

    latents: tuple[Tensor, ...]
    maps: ConceptAttentionMaps | None
    problem: str
    group: str
    continues: Tensor | None = None

    def bytes(self) -> int:
        """What it keeps in memory."""
        begun = () if self.continues is None else (self.continues,)
        maps = () if self.maps is None else (self.maps.scores, self.maps.features)
        kept = [tensor for tensor in (*self.latents, *begun, *maps) if tensor is not None]
        return sum(tensor.numel() * tensor.element_size() for tensor in kept)


@dataclass(frozen=True)
class Frame:
    """What a model family says about the maps of one run, before it begins.

    grid: ``(h, w)`` tokens, of a video ``(frames, h, w)``; image_size: ``(H, W)`` pixels. The rest as in
    `ConceptAttentionMaps`.
    """

    grid: tuple[int, ...]
    image_size: tuple[int, int]
    token_pixels: int = TOKEN_PIXELS
    family: str = "FLUX.1"
    default_blocks: tuple[int, int] = LAST_TEN
    temperature: float = 1.0
    times: tuple[float, ...] = ()
    reading: Reading = "paper"


@dataclass
class Recorder:
    """Collects one run's scores, a running mean for each noise level. Lives as long as the run.

    batch: pictures of the run; sigma_range: the noise levels to record, ``(low, high)``.
    attend_to: what the concepts attend to, for the paper's ablation (see `stream.py`).
    limit: bytes that the run's scores and features may take. Where all steps are more, neighbours share a mean
    (`steps.py`); where a single one is, only the family's default blocks are kept, and features are only where they fit
    beside it. The maps tell, by `sigmas` and `blocks`.
    """

    concepts: Concepts
    projection: Projection
    batch: int
    frame: Frame
    sigma_range: tuple[float, float]
    attend_to: ConceptKeys = "both"
    limit: int = RUN_BYTES
    _steps: StepScores = field(init=False)
    _features: FeatureMean = field(default_factory=FeatureMean)
    _blocks: tuple[int, ...] = ()
    _latest: tuple[float, tuple[int, ...], Tensor] | None = None
    _skipped: str = ""

    def __post_init__(self) -> None:
        self._steps = StepScores(self.limit)

    def wants(self, sigma: float) -> bool:
        """Whether this noise level lies in the recorded part of the schedule."""
        low, high = self.sigma_range
        return low <= sigma <= high

    def add(self, sigma: float, blocks: tuple[int, ...], scores: Tensor, features: Tensor | None = None) -> None:
        """Take one evaluation's scores, ``(blocks, k * batch, C, N)``, k prompts being averaged.

        features: ``(blocks, k * batch, N, channels)`` float32, of families that have them.
        Samplers that evaluate a noise level more than once (Heun) count as one step: their scores are averaged.
        """
        if scores.numel() * 4 > self.limit * (scores.shape[1] // self.batch):
            with contextlib.suppress(ValueError):  # none of them was run
                kept = select_blocks(blocks, *self.frame.default_blocks)
                blocks, scores = tuple(blocks[position] for position in kept), scores[kept]
                features = None if features is None else features[kept]
        mean = reduce(scores, "l (k b) c n -> l b c n", "mean", b=self.batch).unflatten(-1, self.frame.grid)
        if mean.numel() * 4 > self.limit:
            self.skip(
                f"One step's maps would take {mean.numel() // 2**18} MiB, more than the {self.limit // 2**20} MiB that "
                "a run may take. Name fewer concepts, or sample fewer or smaller pictures at once."
            )
            return
        if features is not None:
            means = reduce(features, "l (k b) n f -> l b f n", "mean", b=self.batch).unflatten(-1, self.frame.grid)
            self._keep(means, mean)
        self._blocks, self._latest = blocks, (sigma, blocks, mean)
        self._steps.add(sigma, mean)

    def _keep(self, features: Tensor, scores: Tensor) -> None:
        """Take an evaluation's features, ``(blocks, batch, channels, *grid)``, where they fit beside its scores."""
        room = features.numel() * 4
        if scores.numel() * 4 + room <= self.limit:
            self._steps.limit = self.limit - room
            self._features.add(features)

    def latest(self) -> tuple[float, tuple[int, ...], Tensor] | None:
        """Noise level, blocks and scores ``(blocks, batch, C, *grid)`` of the last evaluation that was recorded."""
        return self._latest

    def skip(self, reason: str) -> None:
        """Note that an evaluation could not be recorded: the reader is told if none could."""
        self._skipped = reason

    def finish(self, latents: tuple[Tensor, ...], group: str, release: bool = True) -> Run:
        """The immutable result of the run. release: let go of what was collected, which is read once then."""
        if not self._steps:
            low, high = self.sigma_range
            problem = self._skipped or (
                f"No step of this run lies between start_percent and end_percent (noise levels {high:.3f} to "
                f"{low:.3f}). Widen the range in Apply Concept Attention, or use more steps."
            )
            return Run(latents, None, problem, group)
        scores, sigmas = self._steps.means(release)
        features = self._features.mean()
        if release:
            self._features = FeatureMean()
        if not all(step.isfinite().all() for step in scores) or not (features is None or features.isfinite().all()):
            problem = (
                "The model computed values that are not numbers, so there are no maps (the picture is probably black). "
                "Load the model in another precision: bf16 instead of fp16."
            )
            return Run(latents, None, problem, group)
        maps = ConceptAttentionMaps(
            scores=scores,
            concepts=self.concepts.names,
            background_count=self.concepts.background_count,
            blocks=self._blocks,
            sigmas=sigmas,
            image_size=self.frame.image_size,
            projection=self.projection,
            token_pixels=self.frame.token_pixels,
            family=self.frame.family,
            default_blocks=self.frame.default_blocks,
            reading=self.frame.reading,
            temperature=self.frame.temperature,
            times=self.frame.times,
            features=features,
        )
        return Run(latents, maps, "", group)


class RunStore:
    """The finished runs of one patched model. Bounded by number (a few earlier prompts') and by bytes.

    limit: bytes; the oldest runs go first, and the newest one always stays.
    """

    def __init__(self, limit: int = STORE_BYTES) -> None:
        self._runs: list[Run] = []
        self.limit = limit

    def __len__(self) -> int:
        return len(self._runs)

    def publish(self, run: Run) -> None:
        """Keep a finished run, and let go of those too old to be asked for. What it continues is as young as itself."""
        begun = [] if run.continues is None else self._parts(run.continues)
        runs = [replace(kept, group=run.group) if any(kept is one for one in begun) else kept for kept in self._runs]
        earlier = [kept for kept in runs if kept.group != run.group]
        current = [kept for kept in runs if kept.group == run.group]
        self._runs = [*earlier[-KEEP_RUNS:], *current, run]
        while len(self._runs) > 1 and self.bytes() > self.limit:
            del self._runs[0]

    def bytes(self) -> int:
        """What its runs keep in memory."""
        return sum(run.bytes() for run in self._runs)

    def find(self, samples: Tensor) -> ConceptAttentionMaps:
        """The maps of the run that made this latent, told by its values; of a run in several parts, those of all.

        samples: ``(batch, channels, ...)``, or a nested tensor whose first is that: a video with its sound.
        Raises ValueError, saying what to connect, where no run made it.
        """
        if samples.is_nested:
            samples = samples.unbind()[0]
        parts = self._parts(samples.cpu())
        if parts:
            recorded = [run.maps for run in parts if run.maps is not None]
            if not recorded:
                raise ValueError(parts[-1].problem)
            return joined(recorded)
        if (cut := self._trimmed(samples.cpu())) is not None:
            latent, first = cut
            return self.find(latent).cut(first, samples.shape[2], latent.shape[2])
        if not self._runs:
            raise ValueError(
                "No sampler has run on this patched model. Connect the `model` output of Apply Concept Attention to "
                "the sampler whose LATENT you connected here. If it is: a denoise of 0, or a start step that is the "
                "end step, samples nothing; and a result that is cached records nothing, so change its seed."
            )
        raise ValueError(
            "This LATENT was not made by a sampler on this patched model, or its maps are no longer kept. Connect the "
            "`model` output of this Apply Concept Attention to the sampler, and to `samples` that sampler's own LATENT "
            "output, with no node in between. A denoise of 0 samples nothing. If its result is cached, "
            "change its seed."
        )

    def _trimmed(self, samples: Tensor) -> tuple[Tensor, int] | None:
        """The latent of a video that this one is the end or the beginning of, and the frame that it begins with.

        Reference pictures and guides are frames of the latent while a model samples, and are trimmed off behind it.
        """
        for run in reversed(self._runs if samples.ndim == 5 else []):
            more = run.latents[0].shape[2] - samples.shape[2] if run.latents and run.latents[0].ndim == 5 else 0
            for first in (more, 0) if more > 0 and run.maps is not None and run.maps.times else ():
                for latent in run.latents:
                    if _same_values(samples, latent[:, :, first : first + samples.shape[2]]):
                        return latent, first
        return None

    def _parts(self, samples: Tensor, behind: tuple[Run, ...] = ()) -> list[Run]:
        """The run that made a latent, and in front of it those that it continues. behind: those that continue it."""
        for run in reversed(self._runs):
            if any(run is one for one in behind) or not any(_same_values(samples, one) for one in run.latents):
                continue
            return [*([] if run.continues is None else self._parts(run.continues, (run, *behind))), run]
        return []


def joined(parts: list[ConceptAttentionMaps]) -> ConceptAttentionMaps:
    """The maps of a run in several parts, as Wan 2.2's two models sample it: the steps of all.

    Raises ValueError where the parts were prepared differently.
    """
    last = parts[-1]
    for one in parts:
        if (one.concepts, one.projection, one.blocks) != (last.concepts, last.projection, last.blocks):
            raise ValueError(
                "This run was sampled in parts, and their models were prepared differently, so their maps cannot be "
                "joined. Give each Apply Concept Attention the same concepts, background and projection."
            )
    if len(parts) == 1:
        return last
    sigmas = tuple(sigma for one in parts for sigma in one.sigmas)
    return replace(
        last, scores=torch.cat([one.scores for one in parts]), sigmas=sigmas, features=_mean_features(parts)
    )


def _mean_features(parts: list[ConceptAttentionMaps]) -> Tensor | None:
    """The mean over all steps of all parts; None where one has none."""
    total = 0
    for one in parts:
        if one.features is None:
            return None
        total = total + one.features.float() * len(one.sigmas)
    return torch.as_tensor(total / sum(len(one.sigmas) for one in parts)).half()


def _same_values(wanted: Tensor, made: Tensor) -> bool:
    """Equality of every value, NaN included, the host having perhaps cast its latent to a smaller dtype."""
    made = made.to(wanted.dtype)
    return wanted.shape == made.shape and torch.allclose(wanted, made, rtol=0, atol=0, equal_nan=True)
