"""Which calls of a pipeline's transformer belong to which run, and which of them are the prompt's."""

from __future__ import annotations

import math
from typing import Any

from ...concepts import Concepts
from ...record import Recorder
from ...scores import Projection
from .families.base import Evaluation, Family


class RunFinder:
    """Tells the pipeline's runs apart, and the prompt's evaluations from the negative prompt's.

    diffusers' pipelines run true CFG as two calls at the same step, the prompt's first, and only one of them says so
    (`cache_context`). The scheduler counts the steps, beginning again with None in each run: so a call at another step
    or noise level than the last one is a step's first, the prompt's, and the next at the same step is the negative one.
    """

    def __init__(
        self,
        family: Family,
        concepts: Concepts,
        projection: Projection,
        sigma_range: tuple[float, float],
        pipe: Any,
    ) -> None:
        self.recorder: Recorder | None = None
        self._ended: Recorder | None = None
        self._last_step_seen = False
        self._family = family
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
        if timesteps is None or not counts or getattr(self._pipe, "denoising_end", None) is not None:
            return True  # which leaves the rest of its schedule to another pipeline
        position = step if step is not None else getattr(scheduler, "begin_index", None) or 0
        return position >= len(timesteps) - 1

    def _describes_other(self, recorder: Recorder, evaluation: Evaluation) -> bool:
        return (recorder.batch, recorder.frame.grid) != (evaluation.batch, evaluation.grid)

    def _new_recorder(self, evaluation: Evaluation) -> Recorder:
        return Recorder(
            concepts=self._concepts,
            projection=self._projection,
            batch=evaluation.batch,
            frame=self._family.frame(evaluation.grid, evaluation.times, evaluation.token_pixels),
            sigma_range=self._sigma_range,
        )
