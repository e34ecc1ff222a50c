"""Reports: a run's numbers as JSON for programs and as Markdown tables for people, the paper's beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .baselines import Baseline
from .method import Method
from .metrics import Totals, paper_miou
from .published import IMAGENET_ABLATIONS, TABLES, Published
from .verdict import verdict

COLUMNS = ("accuracy", "true mIoU", "`paper_miou`", "mIoU as printed", "mAP", "leakage")
LEGEND = (
    "Percent. *accuracy*: pixels right / pixels labelled. *true mIoU*: for each class intersection / union over the "
    "data set, then the mean over classes. *mAP*: mean over pictures of the average precision of the map (its two "
    "channels, s and 1 - s); with several names a picture, their mean. *leakage*: the share of a concept's mass inside "
    "other concepts' true masks, mean over the concepts and the pictures that have several; less is better."
)
PAPER_LEGEND = (
    " *`paper_miou`*: accuracy / (2 - accuracy), which is what the paper prints as mIoU on ImageNet-Segmentation: "
    "compare it with *mIoU as printed* there."
)


MEASURES = {"accuracy": "accuracy", "true_miou": "true mIoU"}
"""What charts are drawn of."""
SHEET = "blocks-maps.png"


def chart_names(question: str) -> list[str]:
    """The files of a question's charts, in the order of `MEASURES`."""
    return [f"{question}-{measure.replace('_', '-')}.png" for measure in MEASURES]


def make_row(method: Method | Baseline, total: Totals, binary: bool) -> dict[str, Any]:
    """One method's numbers, 0..1. `paper_miou` is defined for one object against the rest only."""
    return {
        "name": method.name,
        "method": method.describe(),
        "accuracy": total.accuracy,
        "true_miou": total.true_miou,
        "paper_miou": paper_miou(total.accuracy) if binary else None,
        "map": total.mean_average_precision,
        "leakage": total.mean_leakage,
        "class_iou": total.class_iou,
        **_of_stages(total),
    }


def _of_stages(total: Totals) -> dict[str, Any]:
    """What only the rows of stages have: see `stage_report.py`."""
    if total.stolen is not None:
        rates = {"presence": total.presence.auroc, "peak": total.peak.auroc}
        return {"stolen": total.stolen / max(total.labelled, 1), **rates}
    trust = total.trust
    if not trust.pictures:
        return {}
    told = {"mean": trust.mean, "stability": trust.stability, "peak": trust.peak, "pictures": trust.pictures}
    return {"trust": told}


def write_report(
    folder: Path, settings: dict[str, Any], rows: Sequence[dict[str, Any]], pictures: int, failed: dict[str, str]
) -> list[Path]:
    """`report.json` and `report.md`; the same rows give the same bytes. Returns their paths."""
    published = [asdict(row) for row in TABLES.get(settings["dataset"], ())]
    data = {"settings": settings, "pictures": pictures, "failed": failed, "rows": list(rows), "published": published}
    written = folder / "report.json", folder / "report.md"
    written[0].write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    written[1].write_text(to_markdown(settings, rows, pictures, failed), encoding="utf-8")
    return list(written)


def to_markdown(settings: dict[str, Any], rows: Sequence[dict[str, Any]], pictures: int, failed: dict[str, str]) -> str:
    """The run's table, then one for each ablation, the paper's rows under the run's own."""
    dataset = settings["dataset"]
    base, compared = rows[0]["method"], rows[: len(settings["family"]["projections"])]
    parts = [
        f"# {dataset}, {settings['model']}",
        f"{pictures} pictures{f', and {len(failed)} that failed' if failed else ''}. {_conditions(settings, base)}",
        _table([*compared, *(row for row in rows if "baseline" in row["method"])], TABLES.get(dataset, ())),
        LEGEND + (PAPER_LEGEND if settings["protocol"]["binary"] else ""),
        *_others(settings.get("baselines", ())),
    ]
    for question in settings["ablate"]:
        printed = IMAGENET_ABLATIONS.get(question, ()) if dataset == "imagenet-segmentation" else ()
        chosen = [rows[index] for index in settings["ablate"][question]]
        charts = [f"![{what}]({name})" for what, name in zip(MEASURES.values(), chart_names(question), strict=True)]
        charts += [f"![each block's maps]({SHEET})"] if question == "blocks" else []
        parts += [f"## Ablation: {question}", _table(chosen, printed), "\n".join(charts)]
    ious = sorted(rows[0]["class_iou"].items(), key=lambda item: -item[1])
    parts += [
        "## Classes",
        "Intersection / union, Concept Attention: " + ", ".join(f"{n} {v:.3f}" for n, v in ious) + ".",
    ]
    if failed:
        parts += ["## Pictures that failed", "\n".join(f"- {key}: {error}" for key, error in failed.items())]
    if lines := verdict(settings, rows):
        parts.append(lines)
    return "\n\n".join(parts) + "\n"


def _conditions(settings: dict[str, Any], base: dict[str, Any]) -> str:
    protocol = settings["protocol"]
    rule = "argmax over concepts"
    if protocol["binary"]:
        rule = "above the map's own mean" if protocol["mask"] == "mean" else "argmax against the background concepts"
    told = {"classes": "the names", "caption": "the caption", "none": "nothing"}[protocol["prompt"]]
    side = protocol["label_size"]
    noise = f"{settings['seeds']} noise sample{'s' if settings['seeds'] > 1 else ''}"
    return (
        f"Pictures at {settings['size']} px{' square' if protocol['square'] else ''}, noised to {base['noise_level']} "
        f"({noise}), prompt: {told}; blocks {base['first_block']} to {base['last_block']}, "
        f"`{base['pooling']}` pooling; background concepts: {', '.join(protocol['background']) or 'none'}; "
        f"prediction: {rule}, compared at {f'{side} x {side}' if side else 'the full size of the truth'}."
    )


def _others(baselines: Sequence[dict[str, Any]]) -> list[str]:
    """A sentence about the baselines' models, if there are any."""
    models = dict.fromkeys(f"{one['model']} ({one['side']} px, weights {one['weights']})" for one in baselines)
    return [f"Baselines see the picture alone, squeezed to a square: {', '.join(models)}."] if models else []


def _table(rows: Sequence[dict[str, Any]], printed: Sequence[Published]) -> str:
    """Rows by what tells them apart; columns without a number are left out."""
    body: list[tuple[str, list[float | None]]] = []
    for row, words in zip(rows, distinguish(rows), strict=True):
        shares = [row["accuracy"], row["true_miou"], row["paper_miou"], None, row["map"], row["leakage"]]
        numbers = [None if share is None else 100 * share for share in shares]
        body.append((words.replace(row["name"], f"**{row['name']}**", 1), numbers))
    for one in printed:
        body.append((f"{one.method} (paper)", [one.accuracy, None, None, one.miou, one.mean_average_precision, None]))
    used = [index for index in range(len(COLUMNS)) if any(numbers[index] is not None for _, numbers in body)]
    lines = [["", *(COLUMNS[index] for index in used)], ["---"] * (len(used) + 1)]
    lines += [[name, *(_percent(numbers[index]) for index in used)] for name, numbers in body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def distinguish(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Each row's name and those of its settings that vary among these rows: "Value space, block 3, no softmax"."""
    ours = [row["method"] for row in rows if "baseline" not in row["method"]]
    varied = {field for field in ours[0] if len({method[field] for method in ours}) > 1}
    return [", ".join([row["name"], *_words(row["method"], varied & set(row["method"]))]) for row in rows]


def _words(method: dict[str, Any], varied: AbstractSet[str]) -> list[str]:
    """Those of a method's settings that are in `varied`, in words."""
    words = []
    if "reading" in varied:
        prototypes = "" if method["reading"] == "paper" or method["opinion"] else " without prototypes"
        words.append(f"reading {method['reading']}{prototypes}")
    if varied & {"first_block", "last_block"}:
        first, last = method["first_block"], method["last_block"]
        words.append(f"block {first}" if first == last else f"blocks {first} to {last}")
    if "softmax" in varied:
        words.append("softmax" if method["softmax"] else "no softmax")
    if "noise_level" in varied:
        words.append(f"noise {method['noise_level']}")
    if "keys" in varied:
        words.append(f"keys: {method['keys']}")
    if "temperature" in varied:
        words.append(f"temperature x {method['temperature']:g}")
    if "pooling" in varied:
        words.append(f"{method['pooling']} pooling")
    if varied & {"opinion", "surest"} and "reading" not in varied:
        words.append(f"opinion {method['opinion']:g} of {method['surest']:.0%} of the places")
    if "weights" in varied and method["weights"] == "bank":
        words.append("weights of a bank of words")
    return words


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
