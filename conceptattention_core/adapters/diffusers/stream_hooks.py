"""The hooks of families with a text stream: concepts ride along from block to block."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ...concepts import Concepts
from ...record import Recorder
from ...scores import ConceptPass
from .families.base import Evaluation, Family, Start
from .families.stream import all_heads, by_heads
from .hooks import Hooks


class StreamHooks(Hooks):
    """Keys and values of each block, which the concepts look at, and its output, which they are compared with."""

    def __init__(
        self, family: Family, transformer: Any, concepts: Concepts, recorder: Recorder, evaluation: Evaluation
    ) -> None:
        super().__init__(family, transformer, concepts, recorder, evaluation)
        self._started: tuple[ConceptPass, Start] | None = None
        self._keys: Tensor | None = None
        self._values: Tensor | None = None
        self._gate: Tensor | None = None
        self._blocks = family.blocks(transformer)
        for index, block in enumerate(self._blocks):
            self._handles += self._hook_block(index, block)

    def _missing(self) -> list[int]:
        seen = self._started[0].blocks if self._started is not None else ()
        return sorted(set(range(len(self._blocks))) - set(seen))

    def _found(self) -> tuple[tuple[int, ...], Tensor, Tensor | None]:
        assert self._started is not None
        concepts, _ = self._started
        return concepts.blocks, concepts.stacked_scores(), concepts.stacked_features()

    def _hook_block(self, index: int, block: Any) -> list[RemovableHandle]:
        attention = self._family.attention(block)
        fused = self._family.fused(attention)
        heads_first = self._family.heads_first
        heads, shared = self._family.heads(attention)

        def on_keys(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            key = output.chunk(3, dim=-1)[1] if fused else output
            self._keys = by_heads(key, shared)

        def on_normalised(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            output = output.clone() if self._family.rotates_in_place else output
            apart = output if output.ndim == 4 else output.unflatten(-1, (shared, -1))
            self._keys = apart if heads_first else apart.transpose(1, 2)

        def on_values(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            value = output.chunk(3, dim=-1)[2] if fused else output
            self._values = by_heads(value, shared)

        def on_output(module: nn.Module, args: tuple[Any, ...]) -> None:
            self._score(index, args[0], heads)

        def on_gate(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            self._gate = output

        gate = self._family.gate(attention)
        # In the order in which they pass: normalised keys take the place of those before.
        norm = self._family.key_norm(attention)
        normalised = [] if norm is None else [norm.register_forward_hook(on_normalised)]
        return [
            self._family.keys_from(attention).register_forward_hook(on_keys),
            *normalised,
            self._family.values_from(attention).register_forward_hook(on_values),
            *([] if gate is None else [gate.register_forward_hook(on_gate)]),
            self._family.output_layer(attention).register_forward_pre_hook(on_output),
        ]

    @torch.no_grad()
    def _score(self, index: int, output: Tensor, heads: int) -> None:
        """output: ``(B, tokens, D)``, before the output projection. heads: of the queries."""
        keys, values, self._keys, self._values = self._keys, self._values, None, None
        if keys is None or values is None:
            return
        evaluation = self._evaluation
        if self._started is None:
            start = self._family.begin(self._transformer, self._named, self._seen, evaluation)
            tokens = start.tokens.expand(evaluation.batch, -1, -1)
            self._started = ConceptPass(tokens, self._recorder.projection, self._recorder.attend_to), start
        concepts, start = self._started
        if index in concepts.blocks:  # a block that runs once more is another tool's doing
            return
        keys, values = (all_heads(evaluation.take(part), heads) for part in (keys, values))
        if self._gate is not None:  # a division of floats is as exact as the product was
            opened, self._gate = self._gate.sigmoid(), None
            output = output / opened.clamp_min(torch.finfo(opened.dtype).tiny)
        concepts.attend(index, start.stream(index), start.rotate(keys), values)
        concepts.score(index, evaluation.take(output))
