"""What a floor of presence takes from masks: of what is not there, and of what is. Prints Markdown.

    python -m tools.benchmarks.presence.floors --comfyui ~/ComfyUI [--held-out]

Concept Attention Mask, with its defaults but for the method and `min_presence`, and the picture as guide, on the
recordings of `tools.benchmarks.presence`. Lost: present concepts whose mask is empty, of all and of small ones (below
`SMALL` of the picture). Masked in vain: part of the picture that the mask of an absent concept covers; refused: masks
of absent concepts that are empty.
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

FLOORS = (0.0, 0.2, 0.3, 0.5)
METHODS: tuple[MaskMethod, ...] = ("argmax", "soft")
SMALL = 0.05


@dataclass(frozen=True)
class Made:
    """One concept's mask without a floor. size: part of the picture that the concept has, 0 where it is absent.

    covers: part that the mask has.
    """

    presence: float
    size: float
    covers: float

    def at(self, floor: float) -> Made:
        """The same with this floor: an empty mask where presence is below it."""
        return self if self.presence >= floor else replace(self, covers=0.0)


def made_masks(case: Case, one: Scene, method: MaskMethod) -> Iterator[Made]:
    picture = torch.from_numpy(one.image.copy()).float()[None] / 255
    for name in case.maps.concepts[: len(case.present)]:
        mask = make_mask(case.maps, MaskRecipe(name, method=method), picture)
        size = (one.labels == one.names.index(name) + 1).mean() if name in one.names else 0.0
        yield Made(float(mask.presence[0]), float(size), float((mask.mask[0] > 0.5).float().mean()))


def cell(masks: list[Made], floor: float) -> str:
    """Lost, of these lost small ones, in vain, refused."""
    kept = [one.at(floor) for one in masks]
    there, small = [one for one in kept if one.size], [one for one in kept if 0 < one.size < SMALL]
    absent = [one for one in kept if not one.size]
    lost, small_lost, refused = (np.mean([not one.covers for one in some]) for some in (there, small, absent))
    return f"{lost:.1%}, {small_lost:.1%}, {np.mean([one.covers for one in absent]):.1%}, {refused:.1%}"


def main() -> None:
    options = parsed(__doc__)
    which = "held-out" if options.held_out else "tuning"
    count = options.scenes if options.held_out else options.tuning
    print(f"{count} {which} scenes; lost, of small things lost, masked in vain, refused, by `min_presence`:\n")
    print(f"| concepts | model | method | {' | '.join(f'{floor:g}' for floor in FLOORS)} |")
    print("|---" * (3 + len(FLOORS)) + "|")
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
            cells = " | ".join(cell(masks, floor) for floor in FLOORS)
            print(f"| {LISTS[name]} | {checkpoint} | {method} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
