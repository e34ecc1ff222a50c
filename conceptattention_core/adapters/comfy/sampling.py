"""ComfyUI's samplers: record concept scores while an ordinary sampling run lasts.

Only ComfyUI's public extension points are used. A clone of the model carries one OUTER_SAMPLE wrapper; while a run
lasts that wrapper adds an APPLY_MODEL wrapper to the run's own copy of the model options, and that one puts an
attention override (`tap.py`) into a single call's options. So nothing is assigned to the model, and nothing is left
when a run ends or fails.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import comfy.model_management
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from comfy_execution.utils import get_executing_context
from torch import Tensor

from ...concepts import Concepts
from ...cross import require_projection
from ...record import STORE_BYTES, Recorder, Run, RunStore
from ...scores import Projection
from .call import Call
from .cross_tap import CrossTap
from .families import require_family, transformer_of
from .families.base import Family
from .families.cross import CrossFamily
from .guard import told
from .live import LiveMaps
from .tap import AttentionTap, Tap

WRAPPER_KEY = "concept_attention"


def apply_concept_attention(
    model: ModelPatcher,
    concepts: Concepts,
    projection: Projection,
    start_percent: float,
    end_percent: float,
    family: Family | None = None,
    runs: RunStore | None = None,
) -> tuple[ModelPatcher, RunStore]:
    """Clone a model so that every sampling run on the clone records its concept scores in the returned store.

    start_percent, end_percent: part of the sampling schedule to record, 0..1. family: how to read the model; by default
    as the list of families says. runs: the store of another model that this one shares a run with; by default one of
    its own. Raises ValueError on an empty range, for a model of no known family, and for a
    projection that this one does not have.
    """
    if start_percent >= end_percent:
        raise ValueError(f"start_percent ({start_percent}) must be below end_percent ({end_percent}).")
    if runs is None:
        runs = RunStore(min(STORE_BYTES, comfy.model_management.get_total_memory(torch.device("cpu")) // 4))
    patched = model.clone()
    family = family or require_family(model)
    require_projection(family.name, projection, family.projections)
    context = get_executing_context()
    node = context.node_id if context else None
    wrapper = SamplingRecorder(family, concepts, projection, start_percent, end_percent, runs, node)
    patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, WRAPPER_KEY, wrapper)
    return patched, runs


@dataclass(frozen=True)
class SamplingRecorder:
    """OUTER_SAMPLE wrapper: opens a record for one sampling run and publishes it when the run has ended well.

    node: the node that prepared the model, where live maps are shown.
    """

    family: Family
    concepts: Concepts
    projection: Projection
    start_percent: float
    end_percent: float
    runs: RunStore
    node: str | None = None

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
        patcher = guider.model_patcher
        recorder, problem = None, ""
        shapes = kwargs.get("latent_shapes") or [noise.shape]  # a video with sound is sampled in one flat piece
        try:
            recorder = self.recorder_for(patcher, tuple(shapes[0]))
        except Exception as error:
            problem = told(error)
        if recorder is not None:
            add_wrapper_with_key(
                WrappersMP.APPLY_MODEL,
                WRAPPER_KEY,
                EvaluationRecorder(self.family, recorder, guider, tuple(noise.shape[1:])),
                guider.model_options,
                is_model_options=True,
            )
        denoised: list[Tensor] = []
        live = LiveMaps(recorder, self.node) if recorder is not None else None

        def keep_denoised(step: int, x0: Tensor, x: Tensor, total_steps: int) -> Any:
            denoised[:] = [x0]
            if live is not None:
                live.step(step, total_steps)
            return callback(step, x0, x, total_steps) if callback is not None else None

        # Once the run has ended the guider lets go of its inner model, so it is asked for beforehand.
        process_latent_out = patcher.model.process_latent_out
        samples = executor(noise, latent_image, sampler, sigmas, denoise_mask, keep_denoised, *args, **kwargs)
        # SamplerCustomAdvanced hands out the last denoised estimate as well; either identifies the run.
        made = (samples.cpu(), *(process_latent_out(x0.cpu()) for x0 in denoised))
        latents = tuple(comfy.utils.unpack_latents(one, shapes)[0] for one in made)
        context = get_executing_context()
        group = context.prompt_id if context else ""
        if recorder is None:
            run = Run(latents, None, problem or foreign_model(self.family, transformer_of(patcher)), group)
        else:
            run = recorder.finish(latents, group)
        # A sampler that adds no noise goes on where another has stopped.
        goes_on = latent_image is not None and not noise.any()
        begun = comfy.utils.unpack_latents(latent_image.cpu(), shapes)[0] if goes_on else None
        self.runs.publish(replace(run, continues=begun))
        return samples

    def recorder_for(self, patcher: Any, shape: tuple[int, ...]) -> Recorder | None:
        """The record of a run of this noise, or None where another node has exchanged the model for a foreign one."""
        base, dit = patcher.model, transformer_of(patcher)
        if not self.family.owns(base, dit):
            return None
        return Recorder(
            concepts=self.concepts,
            projection=self.projection,
            batch=shape[0],
            frame=self.family.frame(base, dit, shape[2:]),
            sigma_range=self.sigma_range(patcher.get_model_object("model_sampling")),
        )

    def sigma_range(self, model_sampling: Any) -> tuple[float, float]:
        """The noise levels to record, by the model's own schedule. Its ends are open: samplers may begin above it."""
        low = float(model_sampling.percent_to_sigma(self.end_percent)) if self.end_percent < 1 else 0.0
        high = float(model_sampling.percent_to_sigma(self.start_percent)) if self.start_percent > 0 else math.inf
        return low, high


@dataclass(frozen=True)
class EvaluationRecorder:
    """APPLY_MODEL wrapper: sends the concepts along with one evaluation of the model.

    latent_shape: ``(channels, ...)`` of the run; an evaluation of another size sees only an area of the picture.
    last_block: where only the maps are wanted, the block to stop behind; None runs the whole model.
    What cannot be recorded is skipped, and the reader is told: a sampling run never fails for the maps' sake.
    """

    family: Family
    recorder: Recorder
    guider: Any
    latent_shape: tuple[int, ...]
    last_block: int | None = None

    def __call__(
        self,
        executor: Any,
        x: Tensor,
        t: Tensor,
        c_concat: Tensor | None = None,
        c_crossattn: Tensor | None = None,
        control: Any = None,
        transformer_options: dict[str, Any] | None = None,
        **conds: Any,
    ) -> Tensor:
        options = dict(transformer_options or {})
        tap = None
        try:
            tap = self.start(executor.class_obj, x, t, c_crossattn, options, conds)
        except Exception as error:
            self.recorder.skip(told(error))
        if tap is not None:
            options = tap.options()
        if self.last_block is not None:
            options["patches_replace"] = self.stop_after(executor.class_obj, options.get("patches_replace", {}))
        denoised = executor(x, t, c_concat, c_crossattn, control, options, **conds)
        if tap is not None:
            try:
                self.record(tap, float(options["sigmas"][0]))
            except Exception as error:
                self.recorder.skip(told(error))
        return denoised

    def record(self, tap: Tap, sigma: float) -> None:
        """Take the scores of an evaluation that has ended, if all its blocks were seen."""
        missing = tap.missing()
        if tap.failure:
            self.recorder.skip(tap.failure)
        elif tap.began and not missing:
            self.recorder.add(sigma, tap.blocks, tap.stacked_scores(), tap.stacked_features())
        elif not tap.began and tap.seen == 0:
            self.recorder.skip(
                "No block of the model passed its attention on to Concept Attention: another node on this model "
                "answers in its place, or replaces its forward or its attention. Remove that node from this model."
            )
        else:
            blocks = ", ".join(map(str, missing))
            self.recorder.skip(
                f"{self.family.block_name} {blocks} did not pass on ComfyUI's attention: another node replaces or "
                "skips it. Remove that node from this model."
            )

    def stop_after(self, model: Any, others: dict[str, Any]) -> dict[str, Any]:
        """A call's block replacements, with every block behind the last wanted one handing on what it was given.

        So none of them runs, and no exception has to find its way out through other nodes' wrappers: they get a
        velocity of the right shape, which means nothing.
        """

        def hand_on(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
            return args

        dit = getattr(model.diffusion_model, "_orig_mod", model.diffusion_model)
        if not self.family.stops_early or self.last_block is None:
            return others
        behind = self.family.replaced_after(dit, self.last_block)
        return {**others, "dit": {**others.get("dit", {}), **dict.fromkeys(behind, hand_on)}}

    def start(
        self,
        model: Any,
        x: Tensor,
        sigma: Tensor,
        context: Tensor | None,
        options: dict[str, Any],
        conds: dict[str, Any],
    ) -> Tap | None:
        """The tap for one evaluation, or None where there is nothing to record."""
        uuids, (positive, others) = options.get("uuids"), prompt_ids(self.guider)
        if not uuids or not positive or "sigmas" not in options:
            self.recorder.skip(
                "This run's guider does not say which prompt is the positive prompt. Sample with KSampler, or with the "
                "guider of ComfyUI's own Basic Guider, CFG Guider, Dual CFG Guider or Perp-Neg Guider node."
            )
            return None
        if not self.recorder.wants(float(options["sigmas"][0])) or positive.isdisjoint(uuids):
            return None
        # ComfyUI gives a prompt with an area a partner among the others, under the same identifier: it does not tell.
        rows = positive_rows(uuids, positive - others, self.recorder.batch)
        whole = tuple(x.shape[1:]) == self.latent_shape and len(x) == len(uuids) * self.recorder.batch
        if not rows or not whole:
            self.recorder.skip(
                "No evaluation of the model saw the whole picture and batch. If every prompt is limited to an area of "
                "the picture (Conditioning Set Area), add a prompt for the whole picture or use Conditioning Set Mask. "
                "If another node shows the model a part of the picture or batch at a time, remove that node."
            )
            return None
        if x.ndim == 5 and x.shape[2] != 1 and not self.family.video:
            self.recorder.skip(
                f"This run made {x.shape[2]} frames or layers at once; Concept Attention reads single pictures so far."
            )
            return None
        # A slice needs no copy of the keys and values.
        adjacent = rows == list(range(rows[0], rows[-1] + 1))
        chosen = slice(rows[0], rows[-1] + 1) if adjacent else rows
        call = Call(model, x, sigma, context, conds, options, chosen, model.get_dtype_inference())
        if not self.family.owns(model, call.dit):
            self.recorder.skip(foreign_model(self.family, call.dit))
            return None
        if isinstance(self.family, CrossFamily):
            return CrossTap(self.family, call, self.recorder)
        last = self.family.depth(call.dit) - 1 if self.last_block is None else self.last_block
        stops = self.last_block is not None and self.family.stops_early
        return AttentionTap(self.family, call, self.recorder, last, stops)


def foreign_model(family: Family, dit: Any) -> str:
    """What the reader is told where another transformer has answered."""
    return (
        f"A {type(dit).__name__} answered in the place of the {family.name} that the concepts were prepared for: "
        "another node has exchanged the model behind Apply Concept Attention. Remove that node."
    )


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
