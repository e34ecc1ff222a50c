"""Draw docs/images/icon.svg, the pack's picture in the registry: patches of a heat map, with one concept found.

.venv/bin/python -m tools.package.icon
"""

from __future__ import annotations

import math
from pathlib import Path

import torch

from conceptattention_core.pictures.colormaps import color_map

TARGET = Path(__file__).resolve().parents[2] / "docs" / "images" / "icon.svg"
SIDE, PATCHES, MARGIN = 400, 7, 30
CENTER, SPREAD = (3.4, 2.6), 1.75  # row and column of the concept, in patches


def svg() -> str:
    colors = color_map("heat")
    pitch = (SIDE - 2 * MARGIN) / PATCHES
    shapes = [f'<rect width="{SIDE}" height="{SIDE}" rx="72" fill="{hexadecimal(colors[8])}"/>']
    for row in range(PATCHES):
        for column in range(PATCHES):
            distance = (row - CENTER[0]) ** 2 + (column - CENTER[1]) ** 2
            share = 0.16 + 0.82 * math.exp(-distance / (2 * SPREAD**2))
            x, y = (MARGIN + place * pitch + 3 for place in (column, row))
            fill = hexadecimal(colors[round(255 * share)])
            shapes.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{pitch - 6:.1f}" height="{pitch - 6:.1f}" rx="9" fill="{fill}"/>'
            )
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}" width="{SIDE}" height="{SIDE}">'
    return "\n".join([opening, *(f"  {shape}" for shape in shapes), "</svg>\n"])


def hexadecimal(color: torch.Tensor) -> str:
    return "#" + "".join(f"{round(255 * float(part)):02x}" for part in color)


if __name__ == "__main__":
    TARGET.write_text(svg(), encoding="utf-8")
    print(TARGET)
