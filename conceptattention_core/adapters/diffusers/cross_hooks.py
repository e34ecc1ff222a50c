"""The hooks of families without a text stream: what image tokens would read of the concepts beside the prompt."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from ...concepts import Concepts
from ...cross import CrossPass, Place
from ...record import Recorder
from ...stream import merge_heads
from .families.base import Evaluation
from .families.cross import CrossFamily, Read
from .families.stream import by_heads
from .hooks import Hooks


class CrossHooks(Hooks):
    """Queries of each text attention, which are asked about the concepts, and what it has read of the prompt."""

    def __init__(
        self, family: CrossFamily, transformer: Any, concepts: Concepts, recorder: Recorder, evaluation: Evaluation
    ) -> None:
        super().__init__(family, transformer, concepts, recorder, evaluation)
        self._cross = family
        frame = recorder.frame
        self._passing = CrossPass(recorder.projection, frame.grid[0] if frame.times else 1)
        self._read: Read | None = None
        self._again: dict[str, Tensor] = {}
        """Queries, and the prompt's keys and values, of an attention whose output holds more than what they give."""
        self._attentions = family.attentions(transformer)
        for place, attention in self._attentions.items():
            asking, ending = family.asking(attention), attention.to_out[0]
            self._handles.append(asking.register_forward_hook(partial(self._on_queries, place, attention)))
            self._handles.append(ending.register_forward_pre_hook(partial(self._on_output, place, attention)))
            if recorder.projection != "cross_attention":  # which does not ask for outputs
                for name, module in family.read_again(attention).items():
                    self._handles.append(module.register_forward_hook(partial(self._on_prompt, name)))

    def _missing(self) -> list[int]:
        return sorted({block for block, _ in self._attentions.keys() - self._passing.places})

    def _found(self) -> tuple[tuple[int, ...], Tensor, Tensor | None]:
        return self._passing.blocks, self._cross.stacked(self._passing, self._evaluation), None

    @torch.no_grad()
    def _on_queries(
        self, place: Place, attention: Any, module: nn.Module, args: tuple[Any, ...], output: Tensor
    ) -> None:
        if place in self._passing.places:  # a block that runs once more is another tool's doing
            return
        if self._read is None:
            self._read = self._cross.reader(self._transformer, self._named, self._seen, self._evaluation)
        queries = self._own(self._cross.merged(output))
        keys, values = (one.expand(len(queries), -1, -1) for one in self._read(place))
        heads, _ = self._cross.heads(attention)
        self._passing.ask(place, queries, keys, values, heads)
        self._again["queries"] = queries

    def _on_prompt(self, name: str, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        self._again[name] = output[self._evaluation.rows]

    @torch.no_grad()
    def _on_output(self, place: Place, attention: Any, module: nn.Module, args: tuple[Any, ...]) -> None:
        parts, self._again = self._again, {}
        if len(parts) < len(("queries", "keys", "values")):
            self._passing.score(place, self._own(args[0]))
            return
        values = parts["values"][..., -parts["keys"].shape[-1] :]  # one fused layer gives out keys and values
        heads, _ = self._cross.heads(attention)
        queries, keys, values = (by_heads(one, heads) for one in (parts["queries"], parts["keys"], values))
        self._passing.score(place, merge_heads(scaled_dot_product_attention(queries, keys, values)))

    def _own(self, part: Tensor) -> Tensor:
        """The prompt's rows, of each the picture's own tokens. A coarser grid than the maps' is all of a sequence."""
        short = part.shape[1] < self._evaluation.image.stop
        return part[self._evaluation.rows] if short else self._evaluation.take(part)
