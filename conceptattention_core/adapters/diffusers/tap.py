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

from torch import nn

from ...concepts import Concepts
from ...record import Recorder
from .cross_hooks import CrossHooks
from .families.base import Evaluation, Family, named
from .families.cross import CrossFamily
from .hooks import Hooks
from .stream_hooks import StreamHooks


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
        self._pass: Hooks | None = None
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
            rest = self._transformer, self._concepts, recorder, evaluation
            if isinstance(self._family, CrossFamily):
                self._pass = CrossHooks(self._family, *rest)
            else:
                self._pass = StreamHooks(self._family, *rest)

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
