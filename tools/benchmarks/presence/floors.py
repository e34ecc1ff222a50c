"""What a floor of presence takes from masks: of what is not there, and of what is. Prints Markdown.

    python -m tools.benchmarks.presence.floors --comfyui ~/ComfyUI [--held-out]

Concept Attention Mask, with its defaults but for the method and `min_presence`, and the picture as guide, on the
recordings of `tools.benchmarks.presence`. IoU: of present concepts with the scene's own label map. Lost: present
concepts whose mask is empty, of all and of small ones (below `SMALL` of the picture). Masked in vain: part of the
picture that the mask of an absent concept covers; refused: masks of absent concepts that are empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from conceptattention_core.evaluate.datasets.scenes.scenes import Scene, scene
from conceptattention_core.masks.recipe import MaskMethod, MaskRecipe, make_mask

from .__main__ import LISTS, parsed
from .record import FIRST, Case, recorded

FLOORS = (0.0, 0.1, 0.2, 0.3, 0.5)
METHODS: tuple[MaskMethod, ...] = ("argmax", "soft")
SMALL = 0.05


@dataclass(frozen=True)
class Made:
    """One concept's mask without a floor. size: part of the picture that the concept has, 0 where it is absent.

    covers: part that the mask has; iou: with the truth.
    """

    presence: float
    size: float
    covers: float
    iou: float

    def at(self, floor: float) -> Made:
        """The same with this floor: an empty mask where presence is below it."""
        return self if self.presence >= floor else replace(self, covers=0.0, iou=0.0)


def made_masks(case: Case, one: Scene, method: MaskMethod) -> Iterator[Made]:
    picture = torch.from_numpy(one.image.copy()).float()[None] / 255
    for name in case.maps.concepts[: len(case.present)]:
        mask = make_mask(case.maps, MaskRecipe(name, method=method), picture)
        cut = mask.mask[0].numpy() > 0.5
        true = one.labels == one.names.index(name) + 1 if name in one.names else np.zeros_like(cut)
        iou = (cut & true).sum() / max((cut | true).sum(), 1)
        yield Made(float(mask.presence[0]), float(true.mean()), float(cut.mean()), float(iou))


def row(masks: list[Made], floor: float) -> str:
    """Cells of a table's row."""
    kept = [one.at(floor) for one in masks]
    there, small = [one for one in kept if one.size], [one for one in kept if 0 < one.size < SMALL]
    absent = [one for one in kept if not one.size]
    lost, small_lost = (np.mean([not one.covers for one in some]) for some in (there, small))
    vain, refused = np.mean([one.covers for one in absent]), np.mean([not one.covers for one in absent])
    iou = np.mean([one.iou for one in there])
    return f"{iou:.3f} | {lost:.1%} | {small_lost:.1%} | {vain:.1%} | {refused:.1%}"


def main() -> None:
    options = parsed(__doc__)
    which = "held-out" if options.held_out else "tuning"
    count = options.scenes if options.held_out else options.tuning
    print(f"{count} {which} scenes:\n")
    head = ("concepts", "model", "method", "`min_presence`", "IoU", "lost", "lost, small", "in vain", "refused")
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for checkpoint in options.checkpoints:
        found: dict[tuple[str, MaskMethod], list[Made]] = {}
        with torch.inference_mode():
            for index, cases in enumerate(recorded(checkpoint, which, count, options)):
                one = scene(FIRST[which] + index)
                for name in ("absent", "few"):
                    for method in METHODS:
                        masks = (made for case in cases[name] for made in made_masks(case, one, method))
                        found.setdefault((name, method), []).extend(masks)
        for (name, method), masks in found.items():
            for floor in FLOORS:
                print(f"| {LISTS[name]} | {checkpoint} | {method} | {floor:g} | {row(masks, floor)} |")


if __name__ == "__main__":
    main()
