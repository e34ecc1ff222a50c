"""Cartoon objects, drawn at once into a picture and into its label map.

A sprite is a function `(pen, rng)` that draws inside its own box: x from -0.5 to 0.5, y from 0 (where it
stands) upwards, both in units of the sprite's width. `Pen` turns that box into pixels of a `Canvas`. Shapes are few and
bold, and each thing has one to three colourings: a model of a few megabytes has to learn them in hours.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """A colour from hue, saturation and value, each 0..1 (hue wraps round)."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))
    return round(255 * red), round(255 * green), round(255 * blue)


def shade(colour: Colour, factor: float) -> Colour:
    """The colour darker (factor < 1) or nearer to white (factor > 1)."""
    if factor <= 1.0:
        return tuple(round(channel * factor) for channel in colour)
    return tuple(round(255 - (255 - channel) * (2.0 - factor)) for channel in colour)


class Canvas:
    """A picture and its label map of `pixels` x `pixels`, in which every shape is drawn twice."""

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels
        self.picture = Image.new("RGB", (pixels, pixels))
        self.labels = Image.new("L", (pixels, pixels))
        self._brushes = ImageDraw.Draw(self.picture), ImageDraw.Draw(self.labels)

    def polygon(self, points: Sequence[Point], colour: Colour, label: int) -> None:
        """Fill a polygon given in 0..1 coordinates, y downwards."""
        corners = [(x * self.pixels, y * self.pixels) for x, y in points]
        for brush, fill in zip(self._brushes, (colour, label), strict=True):
            brush.polygon(corners, fill=fill)

    def ellipse(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, label: int) -> None:
        """Fill the ellipse inside a box given in 0..1 coordinates."""
        box = [x0 * self.pixels, y0 * self.pixels, x1 * self.pixels, y1 * self.pixels]
        for brush, fill in zip(self._brushes, (colour, label), strict=True):
            brush.ellipse(box, fill=fill)


@dataclass(frozen=True)
class Pen:
    """Draws in a sprite's own box, whose foot is at `(x, y)` and whose width is `width` (0..1 of the canvas)."""

    canvas: Canvas
    x: float
    y: float
    width: float
    label: int

    def _place(self, point: Point) -> Point:
        return self.x + point[0] * self.width, self.y - point[1] * self.width

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        self.canvas.polygon([self._place(point) for point in points], colour, self.label)

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)

    def oval(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        centre_x, centre_y = self._place((x, y))
        rx, ry = rx * self.width, ry * self.width
        self.canvas.ellipse(centre_x - rx, centre_y - ry, centre_x + rx, centre_y + ry, colour, self.label)

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        self.oval(x, y, radius, radius, colour)

    def stroke(self, start: Point, end: Point, thickness: float, colour: Colour) -> None:
        (x0, y0), (x1, y1) = start, end
        length = math.hypot(x1 - x0, y1 - y0) or 1.0
        dx, dy = -(y1 - y0) / length * thickness / 2, (x1 - x0) / length * thickness / 2
        self.polygon([(x0 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1 - dx, y1 - dy), (x0 - dx, y0 - dy)], colour)


RED, BLUE, YELLOW, DARK = (215, 60, 55), (60, 110, 205), (245, 185, 50), (50, 50, 60)
BRIGHT = (RED, BLUE, YELLOW)


def _pick(rng: np.random.Generator, colours: Sequence[Colour]) -> Colour:
    return colours[rng.integers(len(colours))]


def sun(pen: Pen, rng: np.random.Generator) -> None:
    body = hsv(0.13, 0.75, 1.0)
    for angle in np.linspace(0, 2 * math.pi, 12, endpoint=False):
        tip = (0.5 * math.cos(angle), 0.5 + 0.5 * math.sin(angle))
        sides = [(0.33 * math.cos(angle + turn), 0.5 + 0.33 * math.sin(angle + turn)) for turn in (-0.22, 0.22)]
        pen.polygon([tip, *sides], shade(body, 0.95))
    pen.disc(0, 0.5, 0.35, body)
    pen.disc(0, 0.5, 0.27, shade(body, 1.35))


def moon(pen: Pen, rng: np.random.Generator) -> None:
    body = (250, 240, 200)
    pen.disc(0, 0.5, 0.5, body)
    for x, y, radius in ((-0.18, 0.68, 0.13), (0.2, 0.45, 0.11), (-0.1, 0.25, 0.09)):
        pen.disc(x, y, radius, shade(body, 0.82))


def cloud(pen: Pen, rng: np.random.Generator) -> None:
    body = hsv(0.6, 0.02, 0.98)
    for tone, lift in ((shade(body, 0.88), 0.0), (body, 0.035)):
        for x, y, radius in ((-0.31, 0.16, 0.155), (-0.1, 0.25, 0.2), (0.15, 0.22, 0.18), (0.34, 0.14, 0.13)):
            pen.disc(x, y + lift, radius, tone)
        pen.box(-0.33, 0.01 + lift, 0.34, 0.18 + lift, tone)


def balloon(pen: Pen, rng: np.random.Generator) -> None:
    body = _pick(rng, BRIGHT)
    stripe = shade(body, 1.65)
    for side in (-1, 1):
        pen.stroke((0.12 * side, 0.18), (0.3 * side, 0.5), 0.03, (90, 70, 60))
    pen.polygon([(-0.43, 0.6), (0.43, 0.6), (0.13, 0.28), (-0.13, 0.28)], body)
    pen.disc(0, 0.8, 0.5, body)
    pen.oval(0, 0.8, 0.22, 0.5, stripe)
    pen.polygon([(-0.2, 0.59), (0.2, 0.59), (0.07, 0.28), (-0.07, 0.28)], stripe)
    pen.box(-0.16, 0.0, 0.16, 0.2, (150, 100, 55))


def bird(pen: Pen, rng: np.random.Generator) -> None:
    body = _pick(rng, ((70, 75, 100), RED))
    pen.polygon([(-0.5, 0.42), (-0.5, 0.2), (-0.22, 0.26)], shade(body, 0.8))
    pen.oval(-0.02, 0.25, 0.3, 0.17, body)
    pen.disc(0.28, 0.36, 0.14, body)
    pen.polygon([(0.39, 0.42), (0.5, 0.34), (0.39, 0.28)], (250, 170, 30))
    pen.polygon([(-0.2, 0.3), (0.16, 0.3), (-0.2, 0.7)], shade(body, 0.75))
    pen.disc(0.31, 0.39, 0.035, (255, 255, 255))


def mountain(pen: Pen, rng: np.random.Generator) -> None:
    rock = (125, 122, 138)
    pen.polygon([(-0.5, 0), (0, 0.8), (0.5, 0)], rock)
    pen.polygon([(0, 0.8), (0.5, 0), (0.08, 0)], shade(rock, 0.8))
    pen.polygon([(-0.19, 0.5), (0, 0.8), (0.19, 0.5), (0.08, 0.58), (0, 0.48), (-0.08, 0.58)], (248, 250, 255))


def tree(pen: Pen, rng: np.random.Generator) -> None:
    leaf = _pick(rng, ((45, 140, 60), (95, 150, 40)))
    pen.polygon([(-0.1, 0), (0.1, 0), (0.07, 0.55), (-0.07, 0.55)], (115, 70, 40))
    for x, y, radius in ((-0.24, 0.62, 0.26), (0.24, 0.62, 0.26), (0.0, 0.72, 0.3), (0.0, 0.92, 0.28)):
        pen.disc(x, y, radius, leaf)
    pen.disc(-0.1, 0.9, 0.14, shade(leaf, 1.2))


def palm_tree(pen: Pen, rng: np.random.Generator) -> None:
    leaf = (45, 150, 75)
    pen.polygon([(-0.02, 0), (0.14, 0), (0.05, 0.95), (-0.05, 0.95)], (170, 120, 75))
    for angle, reach in ((0.1, 0.46), (0.85, 0.42), (2.29, 0.42), (3.04, 0.46), (-0.6, 0.38), (3.74, 0.38)):
        arc = [
            (reach * t * math.cos(angle), 0.93 + reach * (t * math.sin(angle) - 0.55 * t * t + 0.12 * t))
            for t in np.linspace(0, 1, 7)
        ]
        spread = [0.095 * math.sin(math.pi * min(0.12 + t, 1.0)) for t in np.linspace(0, 1, 7)]
        upper = [(x, y + wide) for (x, y), wide in zip(arc, spread, strict=True)]
        lower = [(x, y - wide) for (x, y), wide in zip(arc, spread, strict=True)]
        pen.polygon(upper + lower[::-1], shade(leaf, 0.85 if math.sin(angle) < 0 else 1.0))
    for x in (-0.06, 0.06):
        pen.disc(x, 0.87, 0.06, (115, 70, 40))


def house(pen: Pen, rng: np.random.Generator) -> None:
    wall, roof = (((245, 230, 195), (190, 65, 55)), ((235, 240, 245), (75, 95, 140)))[rng.integers(2)]
    pen.box(0.2, 0.62, 0.33, 0.92, shade(roof, 0.75))
    pen.box(-0.42, 0, 0.42, 0.5, wall)
    pen.polygon([(-0.5, 0.48), (0, 0.9), (0.5, 0.48)], roof)
    pen.box(-0.1, 0, 0.1, 0.34, shade(roof, 0.7))
    for x in (-0.27, 0.27):
        pen.box(x - 0.09, 0.17, x + 0.09, 0.37, (95, 160, 215))


def lighthouse(pen: Pen, rng: np.random.Generator) -> None:
    stripe = _pick(rng, (RED, BLUE))
    for index in range(5):
        low, high = index * 0.32, (index + 1) * 0.32
        half = [0.36 - 0.08 * level for level in (low, high)]
        colour = (250, 248, 245) if index % 2 else stripe
        pen.polygon([(-half[0], low), (half[0], low), (half[1], high), (-half[1], high)], colour)
    pen.box(-0.34, 1.6, 0.34, 1.7, DARK)
    pen.box(-0.2, 1.7, 0.2, 1.95, (255, 225, 110))
    pen.polygon([(-0.3, 1.93), (0.3, 1.93), (0, 2.2)], stripe)


def windmill(pen: Pen, rng: np.random.Generator) -> None:
    pen.polygon([(-0.26, 0), (0.26, 0), (0.15, 0.74), (-0.15, 0.74)], (240, 228, 205))
    pen.box(-0.08, 0, 0.08, 0.22, (120, 75, 55))
    pen.polygon([(-0.2, 0.72), (0.2, 0.72), (0.07, 0.94), (-0.07, 0.94)], (165, 70, 55))
    for angle in np.arange(4) * math.pi / 2 + math.pi / 4:
        pen.stroke((0, 0.76), (0.58 * math.cos(angle), 0.76 + 0.58 * math.sin(angle)), 0.13, (95, 65, 50))
    pen.disc(0, 0.76, 0.08, (240, 228, 205))


def snowman(pen: Pen, rng: np.random.Generator) -> None:
    for y, radius in ((0.42, 0.44), (0.98, 0.33), (1.4, 0.24)):
        pen.disc(0, y, radius, (165, 185, 215))
        pen.disc(-0.03, y + 0.03, radius * 0.88, (252, 253, 255))
    pen.box(-0.25, 1.13, 0.25, 1.25, RED)
    for x in (-0.09, 0.09):
        pen.disc(x, 1.48, 0.04, DARK)
    pen.polygon([(0, 1.43), (0, 1.33), (0.24, 1.36)], (240, 135, 45))
    pen.box(-0.28, 1.56, 0.28, 1.63, DARK)
    pen.box(-0.17, 1.6, 0.17, 1.86, DARK)
    for y in (0.75, 0.98):
        pen.disc(0, y, 0.05, DARK)


def car(pen: Pen, rng: np.random.Generator) -> None:
    body = _pick(rng, BRIGHT)
    pen.polygon([(-0.3, 0.3), (-0.2, 0.54), (0.16, 0.54), (0.3, 0.3)], shade(body, 0.9))
    pen.polygon([(-0.23, 0.31), (-0.16, 0.49), (-0.04, 0.49), (-0.04, 0.31)], (200, 230, 248))
    pen.polygon([(0.02, 0.31), (0.02, 0.49), (0.13, 0.49), (0.22, 0.31)], (200, 230, 248))
    pen.polygon([(-0.5, 0.1), (0.5, 0.1), (0.5, 0.24), (0.44, 0.32), (-0.46, 0.32), (-0.5, 0.26)], body)
    for x in (-0.27, 0.28):
        pen.disc(x, 0.13, 0.13, DARK)
        pen.disc(x, 0.13, 0.06, (205, 205, 210))


def boat(pen: Pen, rng: np.random.Generator) -> None:
    hull, sail = (((160, 80, 50), (252, 250, 242)), (RED, (252, 215, 130)))[rng.integers(2)]
    pen.stroke((0, 0.15), (0, 1.0), 0.05, (95, 65, 45))
    pen.polygon([(0.03, 0.29), (0.03, 0.97), (0.44, 0.29)], sail)
    pen.polygon([(-0.03, 0.29), (-0.03, 0.83), (-0.36, 0.29)], shade(sail, 0.9))
    pen.polygon([(-0.5, 0.24), (0.5, 0.24), (0.34, 0), (-0.34, 0)], hull)


def flower(pen: Pen, rng: np.random.Generator) -> None:
    petal = _pick(rng, ((240, 110, 165), (150, 95, 215), (250, 250, 250)))
    pen.stroke((0, 0), (0, 0.85), 0.1, (50, 120, 50))
    for side in (-1, 1):
        pen.oval(0.2 * side, 0.28, 0.2, 0.1, (50, 120, 50))
    for angle in np.arange(6) * math.pi / 3 + math.pi / 6:
        pen.disc(0.29 * math.cos(angle), 0.99 + 0.29 * math.sin(angle), 0.2, petal)
    pen.disc(0, 0.99, 0.18, (250, 205, 60))


def ball(pen: Pen, rng: np.random.Generator) -> None:
    colour = _pick(rng, BRIGHT)
    pen.disc(0, 0.5, 0.5, colour)
    for start in (0.35, 0.35 + 2 * math.pi / 3, 0.35 + 4 * math.pi / 3):
        rim = [(0.5 * math.cos(a), 0.5 + 0.5 * math.sin(a)) for a in np.linspace(start, start + math.pi / 3, 12)]
        pen.polygon([(0, 0.5), *rim], (252, 252, 250))


def rock(pen: Pen, rng: np.random.Generator) -> None:
    stone = (140, 134, 128)
    pen.polygon([(-0.5, 0), (-0.42, 0.3), (-0.12, 0.5), (0.25, 0.42), (0.5, 0.1), (0.48, 0)], stone)
    pen.polygon([(-0.42, 0.3), (-0.12, 0.5), (0.25, 0.42), (0.0, 0.32)], shade(stone, 1.25))


def bush(pen: Pen, rng: np.random.Generator) -> None:
    leaf = (60, 115, 55)
    for x, radius in ((-0.28, 0.22), (0.28, 0.22), (0.0, 0.3)):
        pen.disc(x, radius * 0.8, radius, leaf)
    pen.box(-0.46, 0, 0.46, 0.1, leaf)


def crate(pen: Pen, rng: np.random.Generator) -> None:
    wood = (180, 130, 80)
    pen.box(-0.5, 0, 0.5, 0.9, shade(wood, 0.75))
    for y in (0.06, 0.35, 0.64):
        pen.box(-0.44, y, 0.44, y + 0.22, wood)


def star_kite(pen: Pen, rng: np.random.Generator) -> None:
    pen.stroke((0, 0.2), (0.3, -0.5), 0.04, (110, 110, 110))
    pen.polygon([(0, 1.2), (0.42, 0.75), (0, 0), (-0.42, 0.75)], (220, 90, 160))
    pen.polygon([(0, 1.2), (0.42, 0.75), (0, 0.75)], (245, 190, 220))


Sprite = Callable[[Pen, np.random.Generator], None]
