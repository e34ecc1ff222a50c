"""One evaluation's hooks on a transformer: what all kinds of them have in common."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ...concepts import Concepts
from ...record import Recorder
from .families.base import Evaluation, Family, Seen


class Hooks:
    """They look, feed the concepts' scores, and change nothing.

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
        self._handles: list[RemovableHandle] = []
        for name, module in family.watched(transformer).items():
            self._handles += self._watch(name, module)

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def publish(self) -> None:
        """Hand the scores over, if every block was seen."""
        missing = self._missing()
        if missing:
            self._recorder.skip(
                f"{self._family.block_name} {', '.join(map(str, missing))} did not run at any recorded step: a cache "
                "(`enable_cache`), or another tool, skipped or replaced it. Turn that off while you record maps."
            )
        else:
            self._recorder.add(self._evaluation.sigma, *self._found())

    def _missing(self) -> list[int]:
        """Blocks that the evaluation has ended without."""
        raise NotImplementedError

    def _found(self) -> tuple[tuple[int, ...], Tensor, Tensor | None]:
        """Blocks, their scores and features, as `Recorder.add` takes them."""
        raise NotImplementedError

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
