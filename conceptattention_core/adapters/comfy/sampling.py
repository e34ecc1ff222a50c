"""ComfyUI's samplers: record concept scores while an ordinary sampling run lasts.

Only ComfyUI's public extension points are used. A clone of the model carries one OUTER_SAMPLE wrapper; while a run
lasts that wrapper adds a DIFFUSION_MODEL wrapper to the run's own copy of the model options, and that one adds two
attention patches to a single call's options. So nothing is assigned to the model, and nothing is left when a run ends
or fails.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from comfy.ldm.flux.model import Flux
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from comfy_execution.utils import get_executing_context
from torch import Tensor

from ...concepts import Concepts
from ...record import Recorder, RunStore
from ...scores import Projection
from .families.flux import FluxPass, stop_after

WRAPPER_KEY = "concept_attention"


def apply_concept_attention(
    model: ModelPatcher, concepts: Concepts, projection: Projection, start_percent: float, end_percent: float
) -> tuple[ModelPatcher, RunStore]:
    """Clone a Flux model so that every sampling run on the clone records its concept scores in the returned store.

    start_percent, end_percent: part of the sampling schedule to record, 0..1. Raises ValueError on an empty range.
    """
    if start_percent >= end_percent:
        raise ValueError(f"start_percent ({start_percent}) must be below end_percent ({end_percent}).")
    runs = RunStore()
    patched = model.clone()
    wrapper = SamplingRecorder(concepts, projection, start_percent, end_percent, runs)
    patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, WRAPPER_KEY, wrapper)
    return patched, runs


@dataclass(frozen=True)
class SamplingRecorder:
    """OUTER_SAMPLE wrapper: opens a record for one sampling run and publishes it when the run has ended well."""

    concepts: Concepts
    projection: Projection
    start_percent: float
    end_percent: float
    runs: RunStore

    def __call__(
        self,
        executor: Any,
        noise: Tensor,
        latent_image: Tensor,
        sampler: Any,
        sigmas: Tensor,
        denoise_mask: Tensor | None = None,
        callback: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        guider = executor.class_obj
        model_sampling = guider.model_patcher.get_model_object("model_sampling")
        latent_size = noise.shape[-2:]
        patch = guider.model_patcher.get_model_object("diffusion_model").patch_size
        recorder = Recorder(
            concepts=self.concepts,
            projection=self.projection,
            batch=noise.shape[0],
            grid=(math.ceil(latent_size[0] / patch), math.ceil(latent_size[1] / patch)),
            image_size=(latent_size[0] * 8, latent_size[1] * 8),
            sigma_range=(
                float(model_sampling.percent_to_sigma(self.end_percent)),
                float(model_sampling.percent_to_sigma(self.start_percent)),
            ),
        )
        add_wrapper_with_key(
            WrappersMP.DIFFUSION_MODEL,
            WRAPPER_KEY,
            EvaluationRecorder(recorder, guider, tuple(latent_size)),
            guider.model_options,
            is_model_options=True,
        )
        denoised: list[Tensor] = []

        def keep_denoised(step: int, x0: Tensor, x: Tensor, total_steps: int) -> Any:
            denoised[:] = [x0]
            return callback(step, x0, x, total_steps) if callback is not None else None

        # Once the run has ended the guider lets go of its inner model, so it is asked for beforehand.
        process_latent_out = guider.model_patcher.model.process_latent_out
        samples = executor(noise, latent_image, sampler, sigmas, denoise_mask, keep_denoised, *args, **kwargs)
        # SamplerCustomAdvanced hands out the last denoised estimate as well; either identifies the run.
        latents = (samples.cpu(), *(process_latent_out(x0.cpu()) for x0 in denoised))
        context = get_executing_context()
        self.runs.publish(recorder.finish(latents, context.prompt_id if context else ""))
        return samples


@dataclass(frozen=True)
class EvaluationRecorder:
    """DIFFUSION_MODEL wrapper: sends the concepts along with one evaluation of the model.

    latent_size: ``(H/8, W/8)`` of the run; an evaluation of another size sees only an area of the picture.
    last_block: where only the maps are wanted, the double block to stop behind; None runs the whole model.
    What cannot be recorded is skipped, and the reader is told: a sampling run never fails for the maps' sake.
    """

    recorder: Recorder
    guider: Any
    latent_size: tuple[int, ...]
    last_block: int | None = None

    def __call__(
        self,
        executor: Any,
        x: Tensor,
        timestep: Tensor,
        context: Tensor,
        y: Tensor | None = None,
        guidance: Tensor | None = None,
        ref_latents: Any = None,
        control: Any = None,
        transformer_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Tensor:
        options = dict(transformer_options or {})
        hooks = self.start(executor.class_obj, x, timestep, context, guidance, options)
        if hooks is not None:
            options["patches"] = hooks.patches(options.get("patches", {}))
        if self.last_block is not None:
            others = options.get("patches_replace", {})
            options["patches_replace"] = stop_after(executor.class_obj, self.last_block, others)
        velocity = executor(x, timestep, context, y, guidance, ref_latents, control, options, **kwargs)
        if hooks is not None:
            missing = hooks.missing_blocks(self.last_block)
            if missing:
                blocks = ", ".join(map(str, missing))
                self.recorder.skip(
                    f"Double block {blocks} did not pass on ComfyUI's attention patches: another node replaces or "
                    "skips it. Remove that node from this model."
                )
            else:
                sigma = float(options["sigmas"][0])
                self.recorder.add(sigma, hooks.concepts.blocks, hooks.concepts.stacked_scores())
        return velocity

    def start(
        self,
        flux: Flux,
        x: Tensor,
        timestep: Tensor,
        context: Tensor,
        guidance: Tensor | None,
        options: dict[str, Any],
    ) -> FluxPass | None:
        """The concept pass for one evaluation, or None where there is nothing to record."""
        uuids, (positive, others) = options.get("uuids"), prompt_ids(self.guider)
        if not uuids or not positive or "sigmas" not in options:
            self.recorder.skip(
                "This run's guider does not say which prompt is the positive prompt. Sample with KSampler, or with the "
                "guider of ComfyUI's own Basic Guider, CFG Guider, Dual CFG Guider or Perp-Neg Guider node."
            )
            return None
        # Samplers with churn start above the schedule's 1.0, which is its first percent all the same.
        if not self.recorder.wants(min(float(options["sigmas"][0]), 1.0)) or positive.isdisjoint(uuids):
            return None
        # ComfyUI gives a prompt with an area a partner among the others, under the same identifier: it does not tell.
        rows = positive_rows(uuids, positive - others, self.recorder.batch)
        whole = tuple(x.shape[-2:]) == self.latent_size and len(x) == len(uuids) * self.recorder.batch
        if not rows or not whole:
            self.recorder.skip(
                "No evaluation of the model saw the whole picture and batch. If every prompt is limited to an area of "
                "the picture (Conditioning Set Area), add a prompt for the whole picture or use Conditioning Set Mask. "
                "If another node shows the model a part of the picture or batch at a time, remove that node."
            )
            return None
        # A slice needs no copy of the keys and values.
        adjacent = rows == list(range(rows[0], rows[-1] + 1))
        chosen = slice(rows[0], rows[-1] + 1) if adjacent else rows
        return FluxPass.start(flux, self.recorder, chosen, x.dtype, timestep, context, guidance)


def prompt_ids(guider: Any) -> tuple[set[Any], set[Any]]:
    """Identifiers of a run's positive prompts (a guider of its own kind may have none), and of all others."""
    prompts: dict[str, list[dict[str, Any]]] = getattr(guider, "conds", {})
    positive = {prompt["uuid"] for prompt in prompts.get("positive", [])}
    return positive, {prompt["uuid"] for kind in prompts if kind != "positive" for prompt in prompts[kind]}


def positive_rows(uuids: list[Any], positive: set[Any], batch: int) -> list[int]:
    """Batch rows of one evaluation that carry a positive prompt.

    ComfyUI stacks several prompts' copies of the batch in one evaluation, in any order. Guiders number them as they
    like (`cond_or_uncond` differs between CFGGuider and DualCFGGuider), so the prompts' own identifiers decide.
    """
    return [
        position * batch + row for position, prompt in enumerate(uuids) if prompt in positive for row in range(batch)
    ]
