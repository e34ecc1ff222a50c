"""Concept Attention on diffusers: maps of named concepts from its pipelines, without changing their pictures.

    with ConceptAttention(pipe, ["dragon", "rock", "sky"], background=["background"]) as attention:
        image = pipe("a dragon on a rock", num_inference_steps=4).images[0]
    maps = attention.maps()
    maps.saliency()["dragon"]               # (h, w) tensor
    maps.overlay(image).save("overlay.png")

`ConceptAttention.supported()` lists the pipelines; see `tap.py` and `families/` for how. For a picture that exists
already, see `ConceptAttention.encode`.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from ...concepts import Concepts, TokenPooling, parse_concepts
from ...cross import require_projection
from ...scores import Projection
from ...views import ConceptMaps, Picture
from .encode import encode_picture
from .families import FAMILIES, denoisers, require_family
from .runs import RunFinder
from .tap import Tap
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
        max_sequence_length: int | None = None,
    ) -> None:
        """
        pipe: a supported pipeline, as it is: offloaded, quantised, with LoRA, but not compiled.
        concepts: what to look for; it need not be in the prompt. Or a `Concepts` object, encoded earlier.
        background: concepts that only compete, so that what is not named has somewhere to go.
        pooling: ``mean`` of a concept's own text pieces, ``first``, the paper's choice, or ``last``.
        projection: ``output``, the paper's method, or its comparisons ``cross_attention`` and ``value``. Models whose
            picture only reads the prompt have those two, and for videos ``gram`` (see `cross.py`).
        sigma_range: noise levels to record, ``(low, high)``, 1 = pure noise.
        max_sequence_length: the one that the pipeline is called with, by default its own; only concepts given as names
        use it.

        Raises ValueError where the concepts, the projection or the model will not do.
        """
        self._family = require_family(pipe)
        require_projection(self._family.name, projection, self._family.projections)
        if isinstance(concepts, Concepts) and self._family.captions and not concepts.captions:
            raise ValueError(
                f"{self._family.name} needs to know where a concept's pieces stand, and these `Concepts` have no "
                "captions. Make them by `encode_concepts` with this pipeline."
            )
        self._pipe: Any = pipe
        self._named = concepts if isinstance(concepts, Concepts) else parse_concepts(concepts, background)
        self._pooling: TokenPooling = pooling
        self._projection: Projection = projection
        self._sigma_range = sigma_range
        self._max_sequence_length = max_sequence_length
        self._open: tuple[list[Tap], RunFinder] | None = None
        self._runs: RunFinder | None = None

    def __enter__(self) -> ConceptAttention:
        if self._pipe is None or self._open is not None:
            raise RuntimeError("A ConceptAttention can be entered once. Make a new one for the next `with` block.")
        concepts = self._named
        if not isinstance(concepts, Concepts):
            concepts = encode_concepts(self._pipe, *concepts, self._pooling, self._max_sequence_length)
        family = require_family(self._pipe)
        runs = RunFinder(family, concepts, self._projection, self._sigma_range, self._pipe)
        taps = [Tap(family, one, self._pipe, concepts, runs.choose, runs.failed) for one in denoisers(self._pipe)]
        self._open = taps, runs
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open is not None:
            taps, self._runs = self._open
            for tap in taps:
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
    def supported() -> dict[str, tuple[str, ...]]:
        """The families that it works on, and diffusers' pipelines of each: ``{"FLUX.1": ("FluxPipeline", ...)}``."""
        return {family.name: family.pipelines for family in FAMILIES}

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
        max_sequence_length: int | None = None,
    ) -> ConceptMaps:
        """Maps of a picture that exists already: noise it half way, run the blocks once, read the scores.

        pipe: a plain pipeline of a supported model: text-to-image, image-to-image (not Fill, not Control).
        image: PIL, or an array or tensor ``(H, W, 3)``, 0..1 or uint8, or a list of several of one size.
        prompt: what is told beside the picture; a pooled (CLIP) text is zero for all streams, as in the paper.
        noise_level: 0 = clean, 1 = pure noise. seeds: one forward for each noise; their softmaxes are averaged.
        size: ``(H, W)`` in pixels to resize to, rounded down to whole tokens (16 pixels in most); by default its own.
        guidance_scale: what a guidance-distilled model is told; others ignore it.
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


__all__ = ["ConceptAttention", "ConceptMaps", "Concepts", "encode_concepts"]
