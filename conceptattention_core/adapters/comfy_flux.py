"""ComfyUI's Flux: record concept scores while an ordinary sampler runs.

Only ComfyUI's public extension points are used. A clone of the model carries one OUTER_SAMPLE wrapper; while a run
lasts that wrapper adds a DIFFUSION_MODEL wrapper to the run's own copy of the model options, and that one adds two
attention patches to a single call's options. So nothing is assigned to the model, and nothing is left when a run ends
or fails.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from comfy.ldm.flux.layers import DoubleStreamBlock, timestep_embedding
from comfy.ldm.flux.math import apply_rope1
from comfy.ldm.flux.model import Flux
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from comfy_execution.utils import get_executing_context
from einops import rearrange
from torch import Tensor

from ..concepts import Concepts
from ..record import Recorder, RunStore
from ..scores import ConceptPass, Projection
from ..stream import Modulation, TextStream

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


def require_flux(model: ModelPatcher) -> Flux:
    """The FLUX.1 transformer inside a MODEL. Raises ValueError for any other family."""
    flux = model.get_model_object("diffusion_model")
    if not isinstance(flux, Flux) or flux.params.global_modulation or flux.vector_in is None:
        raise ValueError(
            f"Concept Attention works on FLUX.1 models (dev, schnell, Fill, Krea, Kontext); this MODEL is a "
            f"{type(model.model).__name__}. Load one with 'Load Diffusion Model', or try 'Load Demo Flux'."
        )
    return flux


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
    What cannot be recorded is skipped, and the reader is told: a sampling run never fails for the maps' sake.
    """

    recorder: Recorder
    guider: Any
    latent_size: tuple[int, ...]

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
        velocity = executor(x, timestep, context, y, guidance, ref_latents, control, options, **kwargs)
        if hooks is not None:
            missing = sorted(set(range(len(executor.class_obj.double_blocks))) - set(hooks.concepts.blocks))
            if missing:
                self.recorder.skip(
                    f"Double block {', '.join(map(str, missing))} did not pass on ComfyUI's attention patches: another "
                    "node replaces or skips it. Remove that node from this model, or apply it after sampling the maps."
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


@dataclass(frozen=True)
class FluxPass:
    """One evaluation's attention patches: they feed the concept pass and change nothing.

    rows: those of the evaluation's `batch` that carry the positive prompt.
    image_tokens: h * w, reference images' tokens not counted.
    """

    flux: Flux
    concepts: ConceptPass
    rows: slice | list[int]
    batch: int
    image_tokens: int

    @classmethod
    def start(
        cls,
        flux: Flux,
        recorder: Recorder,
        rows: slice | list[int],
        dtype: torch.dtype,
        timestep: Tensor,
        context: Tensor,
        guidance: Tensor | None,
    ) -> FluxPass:
        """Embed the concepts for this evaluation. timestep, guidance: ``(B,)``; context: ``(B, T, context_dim)``."""
        batch, timestep = len(timestep), timestep[rows]
        vec = concept_vector(flux, dtype, timestep, None if guidance is None else guidance[rows])
        embeddings = recorder.concepts.embeddings.to(device=context.device, dtype=context.dtype)
        tokens = flux.txt_in(embeddings).expand(len(timestep), -1, -1)
        return cls(flux, ConceptPass(tokens, vec, recorder.projection), rows, batch, math.prod(recorder.grid))

    def patches(self, others: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """The call's patches with ours last, so that they see what other packs' patches made of the tensors."""
        return {
            **others,
            "attn1_patch": [*others.get("attn1_patch", []), self.attend],
            "attn1_output_patch": [*others.get("attn1_output_patch", []), self.score],
        }

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        pe: Tensor | None = None,
        attn_mask: Any = None,
        extra_options: Any = None,
    ) -> dict[str, Tensor]:
        """attn1_patch. q, k, v: ``(B, H, text + image, d)``, before the rotary embedding `pe` is applied."""
        if extra_options["block_type"] == "double":
            block = extra_options["block_index"]
            image = self.image_slice(extra_options)
            # A block that another node runs on a part of the tokens or batch, or once more, is none of the model's.
            if len(k) != self.batch or k.shape[2] < image.stop or block in self.concepts.blocks:
                return {}
            keys = k[self.rows, :, image]
            if pe is not None:
                keys = apply_rope1(keys, (pe[self.rows] if len(pe) > 1 else pe)[:, :, image])
            stream = text_stream(self.flux.double_blocks[block])
            self.concepts.attend(block, stream, keys, v[self.rows, :, image])
        else:
            self.concepts.release_tokens()
        return {}

    def score(self, attention: Tensor, extra_options: dict[str, Any]) -> Tensor:
        """attn1_output_patch. attention: ``(B, text + image, D)``, before the output projection."""
        if extra_options["block_type"] == "double":
            image = self.image_slice(extra_options)
            self.concepts.score(extra_options["block_index"], attention[self.rows, image])
        return attention

    def image_slice(self, extra_options: dict[str, Any]) -> slice:
        """The picture's own tokens: behind the prompt's, before those of Kontext's reference images."""
        start = extra_options["img_slice"][0]
        return slice(start, start + self.image_tokens)


def concept_vector(flux: Flux, dtype: torch.dtype, timestep: Tensor, guidance: Tensor | None) -> Tensor:
    """Modulation vector of the concepts, ``(B, D)``: timestep and guidance as the prompt's, the pooled text zero."""
    vec = flux.time_in(timestep_embedding(timestep, 256).to(dtype))
    if flux.params.guidance_embed and guidance is not None:
        vec = vec + flux.guidance_in(timestep_embedding(guidance, 256).to(dtype))
    return vec + flux.vector_in(torch.zeros(len(vec), flux.params.vec_in_dim, device=vec.device, dtype=dtype))


def text_stream(block: DoubleStreamBlock) -> TextStream:
    """Point at the text stream of one of ComfyUI's double blocks; each module casts and loads its weights itself."""

    def modulation(vec: Tensor) -> tuple[Modulation, Modulation]:
        attention, mlp = block.txt_mod(vec)
        return (
            Modulation(attention.shift, attention.scale, attention.gate),
            Modulation(mlp.shift, mlp.scale, mlp.gate),
        )

    def qkv(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = rearrange(block.txt_attn.qkv(x), "b c (k h d) -> k b h c d", k=3, h=block.num_heads)
        return *block.txt_attn.norm(query, key, value), value

    return TextStream(modulation, block.txt_norm1, block.txt_norm2, qkv, block.txt_attn.proj, block.txt_mlp)
