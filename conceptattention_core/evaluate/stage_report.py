"""`stages.md`: a table and a verdict for each stage."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .clock import MOST, Cost
from .method import Method
from .report import distinguish
from .stages import GAIN, Stage, kept, with_absent

COLUMNS = {
    "accuracy": "accuracy",
    "true_miou": "true mIoU",
    "map": "mAP",
    "stolen": "stolen",
    "presence": "presence",
    "peak": "peak",
}
RULE = (
    f"A change is kept if it gains {GAIN} points of accuracy and does not lower *presence* in its third decimal: the "
    "chance that the pack's own presence puts a word that is in the picture above one that is not. *peak* is the same "
    "of the strongest 2 % of the map that this row reads, *stolen* the part of the labelled pixels that absent words "
    "win. These three are measured with at most four absent words besides, first of all those that share a word with "
    "one that is there. The other columns are as in report.md, in percent."
)
NO_HOPS = "Not run: the pack has no graph hops. **Verdict: nothing to keep.**"
STABLE, INSIDE = 0.8, 0.5
"""Reading auto is trusted where two pictures' weights are that alike, and that much of them in the family's blocks."""


def write_stages(
    folder: Path,
    title: str,
    family: dict[str, Any],
    stages: Sequence[Stage],
    rows: Sequence[dict[str, Any]],
    cost: Cost | None,
) -> Path:
    """``stages.md``: all verdicts, then each stage. rows: the run's, of `report.make_row`; cost: where it is known."""
    by_method = {json.dumps(row["method"]): row for row in rows}

    def of(method: Method) -> dict[str, Any]:
        """A method's row, with presence, peak and stolen of the same with absent words."""
        row = by_method[json.dumps(method.describe())]
        sure = by_method.get(json.dumps(with_absent(method).describe()), row)
        return {**row, **{name: sure.get(name) for name in ("stolen", "presence", "peak")}}

    told = {stage.number: (stage.title, _told(stage, of, family)) for stage in stages}
    if {5, 7} <= set(told):
        told[6] = "Graph hops", [NO_HOPS]
    if cost is not None:
        told[8] = "The time of recording", _cost(cost)
    verdicts = [f"{number}. {told[number][0]}: {told[number][1][-1]}" for number in sorted(told)]
    parts = [f"# Stages: {title}", "\n".join(verdicts), RULE]
    for number in sorted(told):
        parts += [f"## {number}. {told[number][0]}", *told[number][1]]
    path = folder / "stages.md"
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def _told(stage: Stage, of: Callable[[Method], dict[str, Any]], family: dict[str, Any]) -> list[str]:
    """What a stage says, its verdict last."""
    if not stage.changes:
        return _trusted(of(stage.methods[0])["trust"], family)
    return [_table([of(method) for method in stage.methods]), *_verdicts(stage, of)]


def _table(rows: Sequence[dict[str, Any]]) -> str:
    used = [name for name in COLUMNS if any(row.get(name) is not None for row in rows)]
    lines = [["", *(COLUMNS[name] for name in used)], ["---"] * (len(used) + 1)]
    lines += [
        [words, *(_number(name, row.get(name)) for name in used)]
        for words, row in zip(distinguish(rows), rows, strict=True)
    ]
    return _lines(lines)


def _verdicts(stage: Stage, of: Callable[[Method], dict[str, Any]]) -> list[str]:
    """What each change does, and what is kept."""
    judged = [(change.name, of(change.before), of(change.after)) for change in stage.changes]
    lines = [["change", "accuracy", "presence", "peak", "verdict"], ["---"] * 5]
    for name, before, after in judged:
        moved = [_moved(column, before[column], after[column]) for column in ("accuracy", "presence", "peak")]
        lines.append([name, *moved, "keep" if kept(before, after) else "do not keep"])
    good = [name for name, before, after in judged if kept(before, after)]
    told = f"**Verdict: keep** {'; '.join(good)}." if good else "**Verdict: do not keep** any of these changes."
    return [_lines(lines), told]


def _trusted(trust: dict[str, Any], family: dict[str, Any]) -> list[str]:
    """Stability of the weights, where they peak, and how much of them lies in the family's own blocks."""
    depth, (first, last) = family["depth"], family["blocks"]
    low, high = max(0, depth + first if first < 0 else first), depth + last if last < 0 else last
    inside, (peak, part) = sum(trust["mean"][low : high + 1]), trust["peak"]
    lines = [["block", *map(str, range(depth))], ["---"] * (depth + 1)]
    lines.append(["mean weight, %", *(f"{100 * weight:.1f}" for weight in trust["mean"])])
    told = (
        f"Over {trust['pictures']} pictures: two pictures' weights have a mean cosine of {trust['stability']:.3f}; "
        f"block {peak} is trusted most in {part:.0%} of them; {inside:.0%} of the weight lies in the family's blocks "
        f"{low} to {high}."
    )
    good = trust["stability"] >= STABLE and inside >= INSIDE
    rule = f"(wanted: a cosine of {STABLE}, and {INSIDE:.0%} in the family's blocks)"
    return [_lines(lines), told, f"**Verdict: {'keep' if good else 'do not keep'}** reading auto's own choice {rule}."]


def _cost(cost: Cost) -> list[str]:
    told = (
        f"A forward as far as its last block takes {1000 * cost.forward:.1f} ms, one reading (concepts, scores and "
        f"features) adds {1000 * cost.reading:.1f} ms: x {1 + cost.part:.4f}. Features alone: "
        "`python -m tools.benchmarks.cost.features`."
    )
    verdict = "keep" if cost.part <= MOST else "do not keep"
    return [told, f"**Verdict: {verdict}** recording in every run (wanted: at most x {1 + MOST:.2f})."]


def _number(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if name in ("presence", "peak") else f"{100 * value:.2f}"


def _moved(name: str, before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return ""
    return f"{100 * (after - before):+.2f}" if name == "accuracy" else f"{after - before:+.3f}"


def _lines(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
