"""Rows as Markdown: a table for each list of words, and one of means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from .compare import CEILING, SHIPPED, Row, Rows
from .measures import Marks, Over, auroc, draws, interval, iou_over, mean_over
from .rules import PAPER
from .words import LISTS

ALL = "mean"
"""Of the models."""


def sections(models: Mapping[str, Rows], lists: str) -> Iterator[str]:
    """A table for each list of words. models: their rows by name."""
    for kind in lists:
        yield f"**{kind}: {LISTS[kind]}**\n\n" + "\n".join(_table(models, kind))


def _table(models: Mapping[str, Rows], kind: str) -> Iterator[str]:
    some = next(iter(models.values()))
    rules = [rule for own, rule in some if own == kind and rule != SHIPPED]
    absent = bool(some[kind, rules[0]].absent)
    columns = ["mIoU", "against paper", "acc.", "AP", "border", "leak", *(["stolen", "presence"] if absent else [])]
    refined = ["mIoU", "against paper", "acc.", "border", *(["stolen"] if absent else [])]
    heads = ["model", "rule", *columns, f"refined: {refined[0]}", *refined[1:]]
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for model, rows in models.items():
        for rule in rules:
            own, paper = rows[kind, rule], rows[kind, PAPER]
            cells = [*_cells(own, own.grid, paper.grid, rule), *_cells(own, own.refined, paper.refined, rule)]
            yield f"| {' | '.join([model, rule, *cells])} |"
        if absent:
            shipped = rows[kind, SHIPPED]
            area = f"{auroc(shipped.present, shipped.absent):.3f}"
            yield f"| {' | '.join([model, SHIPPED, *[''] * (len(columns) - 1), area, *[''] * len(refined)])} |"
    if len(models) > 1:
        for rule in rules:
            cells = []
            for edges, width in ((False, len(columns)), (True, len(refined))):
                both = ((rows[kind, rule], rows[kind, PAPER]) for rows in models.values())
                pairs = [(_marks(own, edges), _marks(paper, edges)) for own, paper in both]
                cells += [*_iou(pairs, rule), *[""] * (width - 2)]
            yield f"| {' | '.join([ALL, rule, *cells])} |"


def _marks(row: Row, refined: bool) -> list[Marks]:
    return row.refined if refined else row.grid


def _cells(row: Row, marks: Sequence[Marks], paper: Sequence[Marks], rule: str) -> list[str]:
    """mIoU and what follows it, of one half of a row."""
    accuracy = _percent(mean_over(marks, lambda one: (one.whole.right, one.whole.labelled)))
    cells = [*_iou([(marks, paper)], rule), accuracy]
    border = iou_over([one.border for one in marks])
    stolen = _percent(mean_over(marks, lambda one: (one.whole.stolen, one.whole.labelled)))
    if marks is row.refined:
        return [*cells, _percent(border), *([stolen] if row.absent else [])]
    precision = mean_over(marks, lambda one: (sum(one.precisions), len(one.precisions)))
    leak = mean_over(marks, lambda one: (one.leakage or 0.0, one.leakage is not None))
    sure = [stolen, f"{auroc(row.present, row.absent):.3f}"] if row.absent else []
    return [*cells, _percent(precision), _percent(border), _percent(leak), *sure]


def _iou(pairs: Sequence[tuple[Sequence[Marks], Sequence[Marks]]], rule: str) -> list[str]:
    """Mean IoU, and how far it is from the paper's, the mean over models. pairs: marks of the rule and of the paper."""
    both = [tuple(iou_over([one.whole for one in marks]) for marks in pair) for pair in pairs]
    value = f"{100 * np.mean([own.value()[0] for own, _ in both]):.1f}"
    if rule in (PAPER, CEILING):
        return [value, ""]
    drawn = draws(len(pairs[0][0]))
    gained = np.mean([own.value()[0] - paper.value()[0] for own, paper in both])
    low, high = interval(np.mean([own.value(drawn) - paper.value(drawn) for own, paper in both], axis=0))
    return [value, f"{100 * gained:+.1f} [{100 * low:.1f}, {100 * high:.1f}]"]


def _percent(over: Over) -> str:
    return f"{100 * over.value()[0]:.1f}"
