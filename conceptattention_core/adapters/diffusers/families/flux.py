"""diffusers' Flux transformer: record concept scores while any of its pipelines runs.

Only forward hooks are used, and they look without touching: the attention processors, quantised or LoRA-wrapped linears
and offloading hooks stay whatever they are, because the values that a block itself computed are read where they pass
(keys behind `norm_k`, values behind `to_v`, the attention output in front of `to_out`). The transformer carries two
hooks; all others are added for the length of one evaluation that is to be recorded, and removed at its end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import get_ident
from typing import Any

import torch
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ....concepts import Concepts
from ....record import Recorder
from ....scores import ConceptPass
from ....stream import ModulatedBlock, Modulation


@dataclass(frozen=True)
class Evaluation:
    """What one call of the transformer says about itself before it runs.

    sigma: noise level, 1 = pure noise; batch: number of pictures; grid: ``(h, w)`` tokens of the picture.
    """

    sigma: float
    batch: int
    grid: tuple[int, int]

    @classmethod
    def of(cls, kwargs: dict[str, Any]) -> Evaluation:
        """Read the transformer's keyword arguments."""
        return cls(float(kwargs["timestep"].flatten()[0]), len(kwargs["hidden_states"]), token_grid(kwargs["img_ids"]))


def token_grid(img_ids: Tensor) -> tuple[int, int]:
    """``(h, w)`` of the picture's own tokens, which come first; Kontext's reference images have ids of their own.

    img_ids: ``(N, 3)``, or ``(B, N, 3)`` as older pipelines pass it: image number, row, column. Raises ValueError where
    they are no grid.
    """
    ids = (img_ids[0] if img_ids.ndim == 3 else img_ids).detach().float().cpu()
    own = ids[ids[:, 0] == 0, 1:]
    h, w = (int(side) + 1 for side in own.amax(dim=0))
    places = torch.cartesian_prod(torch.arange(h), torch.arange(w)).float()
    if not torch.equal(ids[: h * w, 1:], places) or len(own) != h * w:
        raise ValueError(f"The {len(own)} image tokens are not a full grid of rows and columns: no map can be made.")
    return h, w


def require_flux(transformer: nn.Module) -> FluxTransformer2DModel:
    """The pipeline's transformer, if it is a plain FLUX.1. Raises ValueError for other models, and compiled ones."""
    if hasattr(transformer, "_orig_mod") or any(
        getattr(module, "_compiled_call_impl", None) is not None for module in transformer.modules()
    ):
        raise ValueError(
            "This transformer is compiled, and compiled code does not call the hooks that Concept Attention reads "
            "from. Use the uncompiled one: `pipe.transformer = pipe.transformer._orig_mod` undoes torch.compile; "
            "after `.compile()` or `compile_repeated_blocks()`, load the pipeline again."
        )
    if not isinstance(transformer, FluxTransformer2DModel):
        raise ValueError(
            f"Concept Attention works on FLUX.1 pipelines of diffusers; this one's transformer is a "
            f"{type(transformer).__name__}."
        )
    for block in transformer.transformer_blocks:
        parts = [getattr(getattr(block, "attn", None), name, None) for name in ("norm_k", "to_out", "norm_added_k")]
        if None in parts:
            raise ValueError(
                f"This {type(transformer).__name__}'s blocks are of class {type(block).__name__}, which does not show "
                "its attention as diffusers' own do (`attn.norm_k`, `attn.to_out`), so there is nothing to read. Load "
                "the model with diffusers' FluxTransformer2DModel."
            )
    return transformer


class FluxTap:
    """Two hooks on a Flux transformer that send the concepts along with the evaluations that are to be recorded.

    choose: told of every evaluation; returns the recorder to add its scores to, or None. failed: called when an
    evaluation ended by an exception.
    """

    def __init__(
        self,
        transformer: FluxTransformer2DModel,
        concepts: Concepts,
        choose: Callable[[Evaluation], Recorder | None],
        failed: Callable[[], None],
    ) -> None:
        self._transformer = transformer
        self._concepts = concepts
        self._choose = choose
        self._failed = failed
        self._pass: FluxPass | None = None
        self._thread: int | None = None
        self._disturbed = False
        self._handles = [
            transformer.register_forward_pre_hook(self._begin, with_kwargs=True),
            transformer.register_forward_hook(self._end, with_kwargs=True, always_call=True),
        ]

    def remove(self) -> None:
        """Take every hook off again."""
        self._drop_pass()
        for handle in self._handles:
            handle.remove()

    def _begin(self, transformer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._thread is not None:
            self._disturbed = self._thread != get_ident()
            if self._disturbed:
                raise RuntimeError(TWO_THREADS)
        self._thread = get_ident()
        self._drop_pass()
        evaluation = Evaluation.of({**dict(zip(POSITIONAL, args, strict=False)), **kwargs})
        recorder = self._choose(evaluation)
        if recorder is not None:
            self._pass = FluxPass(self._transformer, self._concepts, recorder, evaluation)

    def _end(self, transformer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if self._thread != get_ident():
            return  # the other thread's, which was refused
        disturbed, self._thread, self._disturbed = self._disturbed, None, False
        if self._pass is not None and not disturbed:
            self._pass.publish()
        self._drop_pass()
        if output is None or disturbed:
            self._failed()
        if disturbed:
            raise RuntimeError(TWO_THREADS)

    def _drop_pass(self) -> None:
        if self._pass is not None:
            self._pass.remove()
            self._pass = None


TWO_THREADS = (
    "Two threads call this pipeline at once. They share its scheduler, so that their pictures would disturb each "
    "other: give each thread a pipeline of its own, or let one wait for the other."
)

POSITIONAL = (
    "hidden_states",
    "encoder_hidden_states",
    "pooled_projections",
    "timestep",
    "img_ids",
    "txt_ids",
    "guidance",
)
"""Order of the transformer's arguments, for callers that do not name them."""


class FluxPass:
    """One evaluation's hooks: they feed the concept pass and change nothing.

    Modules are asked about concepts only while the transformer runs, so that offloading hooks have its weights in
    place; a hooked one through its `forward`, which those hooks wrap as well, so that ours does not fire again.
    """

    def __init__(
        self, transformer: FluxTransformer2DModel, concepts: Concepts, recorder: Recorder, evaluation: Evaluation
    ) -> None:
        self._transformer = transformer
        self._embeddings = concepts.embeddings
        self._recorder = recorder
        self._evaluation = evaluation
        self._vec: Tensor | None = None
        self._concepts: ConceptPass | None = None
        self._rope: tuple[Tensor, Tensor] | None = None
        self._keys: Tensor | None = None
        self._values: Tensor | None = None
        self._handles: list[RemovableHandle] = [
            transformer.time_text_embed.register_forward_hook(self._on_vector),
            transformer.context_embedder.register_forward_hook(self._on_text),
            transformer.pos_embed.register_forward_hook(self._on_rotation),
        ]
        for index, block in enumerate(transformer.transformer_blocks):
            self._handles += self._hook_block(index, block)

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def publish(self) -> None:
        """Hand the scores over, if every double block was seen."""
        seen = self._concepts.blocks if self._concepts is not None else ()
        missing = sorted(set(range(len(self._transformer.transformer_blocks))) - set(seen))
        if self._concepts is None or missing:
            self._recorder.skip(
                f"Double block {', '.join(map(str, missing))} did not run at any recorded step: a cache "
                "(`enable_cache`), or another tool, skipped or replaced it. Turn that off while you record maps."
            )
        else:
            scores, features = self._concepts.stacked_scores(), self._concepts.stacked_features()
            self._recorder.add(self._evaluation.sigma, seen, scores, features)

    def _hook_block(self, index: int, block: Any) -> list[RemovableHandle]:
        attention = block.attn
        fused = attention.fused_projections

        def on_keys(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            self._keys = output

        def on_values(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            value = output.chunk(3, dim=-1)[2] if fused else output
            self._values = value.unflatten(-1, (-1, attention.head_dim))

        def on_output(module: nn.Module, args: tuple[Any, ...]) -> None:
            self._score(index, block, args[0])

        return [
            attention.norm_k.register_forward_hook(on_keys),
            (attention.to_qkv if fused else attention.to_v).register_forward_hook(on_values),
            attention.to_out[0].register_forward_pre_hook(on_output),
        ]

    @torch.no_grad()
    def _on_vector(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        """time_text_embed(timestep, [guidance,] pooled): the concepts' vector is the same with a zero pooled text."""
        *times, pooled = args
        self._vec = module.forward(*times, torch.zeros_like(pooled))

    @torch.no_grad()
    def _on_text(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        assert self._vec is not None
        tokens = module.forward(self._embeddings.to(args[0])).expand(self._evaluation.batch, -1, -1)
        self._concepts = ConceptPass(tokens, self._recorder.projection, self._recorder.attend_to)

    def _on_rotation(self, module: nn.Module, args: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        self._rope = output

    @torch.no_grad()
    def _score(self, index: int, block: Any, image_output: Tensor) -> None:
        """image_output: ``(B, image tokens, D)``, before the output projection."""
        if self._concepts is None or self._vec is None or self._keys is None or self._values is None:
            return
        h, w = self._evaluation.grid
        image = slice(0, h * w)
        keys: Any = self._keys[:, image]
        if self._rope is not None:
            text_tokens = len(self._rope[0]) - self._keys.shape[1]
            own = slice(text_tokens, text_tokens + h * w)
            rotation: Any = (self._rope[0][own], self._rope[1][own])  # declared as a tuple of one
            keys = apply_rotary_emb(keys, rotation, sequence_dim=1)
        values = self._values[:, image]
        self._concepts.attend(index, text_stream(block, self._vec), keys.transpose(1, 2), values.transpose(1, 2))
        self._concepts.score(index, image_output[:, image])
        self._keys = self._values = None


def text_stream(block: Any, vec: Tensor) -> ModulatedBlock:
    """Point at the text stream of one of diffusers' double blocks, by its own modules, whatever wraps them.

    vec: ``(B, D)``, the modulation vector with a zero pooled text vector.
    """
    norm, attention = block.norm1_context, block.attn
    shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = norm.linear(norm.silu(vec))[:, None].chunk(6, dim=-1)
    halves = Modulation(shift, scale, gate), Modulation(mlp_shift, mlp_scale, mlp_gate)

    def qkv(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if attention.fused_projections:
            parts = attention.to_added_qkv(x).chunk(3, dim=-1)
        else:
            parts = (attention.add_q_proj(x), attention.add_k_proj(x), attention.add_v_proj(x))
        query, key, value = (part.unflatten(-1, (-1, attention.head_dim)) for part in parts)
        query, key = attention.norm_added_q(query), attention.norm_added_k(key)
        return query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)

    return ModulatedBlock(*halves, norm.norm, block.norm2_context, qkv, attention.to_add_out, block.ff_context)
