"""Concept Attention on diffusers: maps of named concepts from any FLUX.1 pipeline, without changing its pictures.

    with ConceptAttention(pipe, ["dragon", "rock", "sky"], background=["background"]) as attention:
        image = pipe("a dragon on a rock", num_inference_steps=4).images[0]
    maps = attention.maps()
    maps.saliency()["dragon"]               # (h, w) tensor
    maps.overlay(image).save("overlay.png")

For FluxPipeline and its relatives (Img2Img, Inpaint, Fill, Control, ControlNet, Kontext); see `families/flux.py` for
how. For a picture that exists already, see `ConceptAttention.encode`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from ...concepts import Concepts, TokenPooling, parse_concepts
from ...maps import TOKEN_PIXELS
from ...record import Frame, Recorder
from ...scores import PROJECTIONS, Projection
from ...views import ConceptMaps, Picture
from .encode import encode_picture
from .families.flux import Evaluation, FluxTap, require_flux
from .text import encode_concepts

Names = str | Sequence[str]
"""Names of concepts: a list, or one text with commas or line breaks between them."""


class ConceptAttention:
    """Context manager: while it is open, every picture that the pipeline makes leaves its concept scores here.

    Leaving it, also by an exception, takes off every hook and lets go of the pipeline; the maps stay.
    """

    def __init__(
        self,
        pipe: Any,
        concepts: Names | Concepts,
        background: Names = ("background",),
        *,
        pooling: TokenPooling = "mean",
        projection: Projection = "output",
        sigma_range: tuple[float, float] = (0.0, 1.0),
        max_sequence_length: int = 512,
    ) -> None:
        """
        pipe: a FLUX.1 pipeline, as it is: offloaded, quantised, with LoRA, but not compiled.
        concepts: what to look for; it need not be in the prompt. Or a `Concepts` object, encoded earlier.
        background: concepts that only compete, so that what is not named has somewhere to go.
        pooling: ``mean`` of a concept's own text pieces, or ``first``, the paper's choice.
        projection: ``output``, the paper's method, or its comparisons ``cross_attention`` and ``value``.
        sigma_range: noise levels to record, ``(low, high)``, 1 = pure noise.
        max_sequence_length: the one that the pipeline is called with; only concepts given as names use it.

        Raises ValueError where the concepts, the projection or the model will not do.
        """
        require_flux(pipe.transformer)
        if projection not in PROJECTIONS:
            raise ValueError(f"There is no projection '{projection}': choose {', '.join(PROJECTIONS)}.")
        self._pipe: Any = pipe
        self._named = concepts if isinstance(concepts, Concepts) else parse_concepts(concepts, background)
        self._pooling: TokenPooling = pooling
        self._projection: Projection = projection
        self._sigma_range = sigma_range
        self._max_sequence_length = max_sequence_length
        self._open: tuple[FluxTap, RunFinder] | None = None
        self._runs: RunFinder | None = None

    def __enter__(self) -> ConceptAttention:
        if self._pipe is None or self._open is not None:
            raise RuntimeError("A ConceptAttention can be entered once. Make a new one for the next `with` block.")
        concepts = self._named
        if not isinstance(concepts, Concepts):
            concepts = encode_concepts(self._pipe, *concepts, self._pooling, self._max_sequence_length)
        runs = RunFinder(concepts, self._projection, self._sigma_range, self._pipe)
        self._open = FluxTap(require_flux(self._pipe.transformer), concepts, runs.choose, runs.failed), runs
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open is not None:
            tap, self._runs = self._open
            tap.remove()
            self._runs.close()
            self._pipe = self._open = None

    def maps(self) -> ConceptMaps:
        """The maps of the pipeline's latest call that came to its end, one for each of its pictures.

        Raises RuntimeError where no picture was made, or where none of its steps could be recorded.
        """
        runs = self._open[1] if self._open is not None else self._runs
        recorder = runs.latest() if runs is not None else None
        if recorder is None:
            raise RuntimeError(
                "No picture has been made. Did you call the pipeline inside the `with` block, and the same pipeline "
                "that you gave to ConceptAttention? And did the call come to its end?"
            )
        run = recorder.finish((), "", release=False)
        if run.maps is None:
            raise RuntimeError(run.problem)
        return ConceptMaps(run.maps)

    @staticmethod
    def encode(
        pipe: Any,
        image: Picture | Sequence[Picture],
        concepts: Names | Concepts,
        background: Names = ("background",),
        *,
        prompt: str = "",
        noise_level: float = 0.5,
        seeds: Sequence[int] = (0,),
        size: tuple[int, int] | None = None,
        guidance_scale: float = 3.5,
        pooling: TokenPooling = "mean",
        projection: Projection = "output",
        max_sequence_length: int = 512,
    ) -> ConceptMaps:
        """Maps of a picture that exists already: noise it half way, run the double blocks once, read the scores.

        pipe: a plain FLUX.1 text-to-image, image-to-image or Kontext pipeline (not Fill, not Control).
        image: PIL, or an array or tensor ``(H, W, 3)``, 0..1 or uint8, or a list of several of one size.
        prompt: what T5 is told beside the picture; the pooled (CLIP) text is zero for all streams, as in the paper.
        noise_level: 0 = clean, 1 = pure noise. seeds: one forward for each noise; their softmaxes are averaged.
        size: ``(H, W)`` in pixels to resize to, rounded down to multiples of 16; the picture's own by default.
        The other arguments are those of ConceptAttention. The pipeline's own progress bar counts the seeds.
        Raises ValueError on a model or arguments that will not do.
        """
        attention = ConceptAttention(
            pipe,
            concepts,
            background,
            pooling=pooling,
            projection=projection,
            max_sequence_length=max_sequence_length,
        )
        named = attention._named
        if not isinstance(named, Concepts):
            named = encode_concepts(pipe, *named, pooling, max_sequence_length)
        maps = encode_picture(
            pipe, image, named, projection, prompt, noise_level, seeds, size, guidance_scale, max_sequence_length
        )
        return ConceptMaps(maps)


class RunFinder:
    """Tells the pipeline's runs apart, and the prompt's evaluations from the negative prompt's.

    diffusers' pipelines run true CFG as two calls at the same step, the prompt's first, and only one of them says so
    (`cache_context`). The scheduler counts the steps, beginning again with None in each run: so a call at another step
    or noise level than the last one is a step's first, the prompt's, and the next at the same step is the negative one.
    """

    def __init__(self, concepts: Concepts, projection: Projection, sigma_range: tuple[float, float], pipe: Any) -> None:
        self.recorder: Recorder | None = None
        self._ended: Recorder | None = None
        self._last_step_seen = False
        self._concepts = concepts
        self._projection: Projection = projection
        self._sigma_range = sigma_range
        self._pipe: Any = pipe
        self._last: tuple[int | None, float] = (None, -math.inf)

    def choose(self, evaluation: Evaluation) -> Recorder | None:
        """The recorder of this evaluation, or None where it belongs to the negative prompt or an unwanted step."""
        step = getattr(self._pipe.scheduler, "step_index", None)
        last_step, last_sigma = self._last
        started_over = step is None and (last_step is not None or evaluation.sigma > last_sigma)
        if self.recorder is None or started_over or self._describes_other(self.recorder, evaluation):
            self._ended = self.latest()
            self.recorder = self._new_recorder(evaluation)
        elif (step, evaluation.sigma) == self._last:
            return None
        self._last = (step, evaluation.sigma)
        self._last_step_seen = self._is_last(step)
        if not self.recorder.wants(evaluation.sigma):
            low, high = self._sigma_range
            self.recorder.skip(f"No step of this run lies in sigma_range, noise levels {low} to {high}. Widen it.")
            return None
        return self.recorder

    def failed(self) -> None:
        """An evaluation ended by an exception, and with it the run."""
        self.recorder, self._last_step_seen = None, False

    def latest(self) -> Recorder | None:
        """The latest run that came to its end, so that one which a callback or another node broke off is not read.

        A run that the caller ended himself, by the pipeline's `_interrupt`, has a picture and counts.
        """
        whole = self._last_step_seen or getattr(self._pipe, "interrupt", False)
        return self.recorder if whole and self.recorder is not None else self._ended

    def close(self) -> None:
        """Settle which run that is, and let go of the pipeline."""
        self._ended, self.recorder, self._pipe = self.latest(), None, None

    def _is_last(self, step: int | None) -> bool:
        """Whether the schedule ends with this step; what does not count its steps is trusted."""
        scheduler = self._pipe.scheduler
        timesteps = getattr(scheduler, "timesteps", None)
        counts = hasattr(scheduler, "step_index") and getattr(scheduler, "num_inference_steps", None) is not None
        if timesteps is None or not counts:
            return True
        position = step if step is not None else getattr(scheduler, "begin_index", None) or 0
        return position >= len(timesteps) - 1

    def _describes_other(self, recorder: Recorder, evaluation: Evaluation) -> bool:
        return (recorder.batch, recorder.frame.grid) != (evaluation.batch, evaluation.grid)

    def _new_recorder(self, evaluation: Evaluation) -> Recorder:
        h, w = evaluation.grid
        return Recorder(
            concepts=self._concepts,
            projection=self._projection,
            batch=evaluation.batch,
            frame=Frame(evaluation.grid, (TOKEN_PIXELS * h, TOKEN_PIXELS * w)),
            sigma_range=self._sigma_range,
        )


__all__ = ["ConceptAttention", "ConceptMaps", "Concepts", "encode_concepts"]
