"""diffusers' transformers: record concept scores while any of their pipelines runs.

Only forward hooks are used, and they look without touching: the attention processors, quantised or LoRA-wrapped linears
and offloading hooks stay whatever they are, because the values that a block itself computed are read where they pass
(keys behind `norm_k`, values behind `to_v`, the attention output in front of `to_out`). The transformer carries two
hooks; all others are added for the length of one evaluation that is to be recorded, and removed at its end.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ...concepts import Concepts
from ...record import Recorder
from ...scores import ConceptPass
from .families.base import Evaluation, Family, Seen, Start, named
from .families.stream import all_heads, by_heads


class Tap:
    """Two hooks on a transformer that send the concepts along with the evaluations that are to be recorded.

    pipe: the pipeline that runs, or None where the transformer is called directly, with the prompt alone.
    choose: told of every evaluation; returns the recorder to add its scores to, or None. failed: called when an
    evaluation ended by an exception.
    """

    def __init__(
        self,
        family: Family,
        transformer: nn.Module,
        pipe: Any,
        concepts: Concepts,
        choose: Callable[[Evaluation], Recorder | None],
        failed: Callable[[], None],
    ) -> None:
        self._family = family
        self._transformer = transformer
        self._pipe: Any = pipe
        self._concepts = concepts
        self._choose = choose
        self._failed = failed
        self._pass: Pass | None = None
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
        evaluation = self._family.evaluation(named(transformer, args, kwargs), self._pipe)
        recorder = self._choose(evaluation)
        if recorder is not None:
            self._pass = Pass(self._family, self._transformer, self._concepts, recorder, evaluation)

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


class Pass:
    """One evaluation's hooks: they feed the concept pass and change nothing.

    Modules are asked about concepts only while the transformer runs, so that offloading hooks have its weights in
    place; a hooked one through its `forward`, which those hooks wrap as well, so that ours does not fire again.
    """

    def __init__(
        self, family: Family, transformer: Any, concepts: Concepts, recorder: Recorder, evaluation: Evaluation
    ) -> None:
        self._family = family
        self._transformer = transformer
        self._named = concepts
        self._recorder = recorder
        self._evaluation = evaluation
        self._seen: dict[str, list[Seen]] = {}
        self._started: tuple[ConceptPass, Start] | None = None
        self._keys: Tensor | None = None
        self._values: Tensor | None = None
        self._gate: Tensor | None = None
        self._blocks = family.blocks(transformer)
        self._handles: list[RemovableHandle] = []
        for name, module in family.watched(transformer).items():
            self._handles += self._watch(name, module)
        for index, block in enumerate(self._blocks):
            self._handles += self._hook_block(index, block)

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def publish(self) -> None:
        """Hand the scores over, if every block was seen."""
        seen = self._started[0].blocks if self._started is not None else ()
        missing = sorted(set(range(len(self._blocks))) - set(seen))
        if self._started is None or missing:
            self._recorder.skip(
                f"{self._family.block_name} {', '.join(map(str, missing))} did not run at any recorded step: a cache "
                "(`enable_cache`), or another tool, skipped or replaced it. Turn that off while you record maps."
            )
        else:
            concepts = self._started[0]
            self._recorder.add(self._evaluation.sigma, seen, concepts.stacked_scores(), concepts.stacked_features())

    def _watch(self, name: str, module: nn.Module) -> list[RemovableHandle]:
        calls = self._seen[name] = []

        def on_call(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            calls.append(Seen(args, kwargs))

        def on_output(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            calls[-1] = Seen(args, kwargs, output)

        return [
            module.register_forward_pre_hook(on_call, with_kwargs=True),
            module.register_forward_hook(on_output, with_kwargs=True),
        ]

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
        keys, values = (all_heads(evaluation.take(part), heads) for part in (keys, values))
        if self._gate is not None:  # a division of floats is as exact as the product was
            opened, self._gate = self._gate.sigmoid(), None
            output = output / opened.clamp_min(torch.finfo(opened.dtype).tiny)
        concepts.attend(index, start.stream(index), start.rotate(keys), values)
        concepts.score(index, evaluation.take(output))
