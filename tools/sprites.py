"""Cartoon objects, drawn at once into a picture and into its label map.

A sprite is a function `(pen, rng)` that draws inside its own box: x from -0.5 to 0.5, y from 0 (where it
stands) upwards, both in units of the sprite's width. `Pen` turns that box into pixels of a `Canvas`.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

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
    mirrored: bool = False

    def _place(self, point: Point) -> Point:
        return self.x + (-point[0] if self.mirrored else point[0]) * self.width, self.y - point[1] * self.width

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


def _pick(rng: np.random.Generator, colours: Sequence[Colour]) -> Colour:
    return colours[rng.integers(len(colours))]


def _bright(rng: np.random.Generator) -> Colour:
    return hsv(
        rng.choice([0.0, 0.03, 0.08, 0.13, 0.35, 0.5, 0.6, 0.75, 0.88]), rng.uniform(0.65, 0.9), rng.uniform(0.8, 0.95)
    )


def sun(pen: Pen, rng: np.random.Generator) -> None:
    body = hsv(rng.uniform(0.11, 0.15), 0.75, 1.0)
    rays = int(rng.integers(9, 13))
    for index in range(rays):
        angle = 2 * math.pi * index / rays
        tip = (0.5 * math.cos(angle), 0.5 + 0.5 * math.sin(angle))
        sides = [(0.33 * math.cos(angle + turn), 0.5 + 0.33 * math.sin(angle + turn)) for turn in (-0.22, 0.22)]
        pen.polygon([tip, *sides], shade(body, 0.95))
    pen.disc(0, 0.5, 0.35, body)
    pen.disc(0, 0.5, 0.27, shade(body, 1.35))


def moon(pen: Pen, rng: np.random.Generator) -> None:
    body = hsv(0.14, rng.uniform(0.08, 0.25), 0.97)
    outer = [(0.5 * math.cos(a), 0.5 + 0.5 * math.sin(a)) for a in np.linspace(0.45, 2 * math.pi - 0.45, 40)]
    tip_x, tip_y = outer[-1]
    centre, radius = 0.27, math.hypot(tip_x - 0.27, tip_y - 0.5)
    start = math.atan2(tip_y - 0.5, tip_x - centre)
    inner = [
        (centre + radius * math.cos(a), 0.5 + radius * math.sin(a))
        for a in np.linspace(start, -2 * math.pi - start, 30)
    ]
    pen.polygon(outer + inner, body)
    pen.disc(-0.33, 0.6, 0.06, shade(body, 0.85))
    pen.disc(-0.26, 0.35, 0.045, shade(body, 0.85))


def cloud(pen: Pen, rng: np.random.Generator) -> None:
    body = hsv(0.6, rng.uniform(0.0, 0.06), rng.uniform(0.93, 1.0))
    for tone, lift in ((shade(body, 0.88), 0.0), (body, 0.035)):
        for x, y, radius in ((-0.31, 0.16, 0.155), (-0.1, 0.25, 0.2), (0.15, 0.22, 0.18), (0.34, 0.14, 0.13)):
            pen.disc(x, y + lift, radius, tone)
        pen.box(-0.33, 0.01 + lift, 0.34, 0.18 + lift, tone)


def balloon(pen: Pen, rng: np.random.Generator) -> None:
    body = _bright(rng)
    stripe = shade(body, 1.6)
    for side in (-1, 1):
        pen.stroke((0.12 * side, 0.18), (0.3 * side, 0.5), 0.025, (90, 70, 60))
    pen.polygon([(-0.43, 0.6), (0.43, 0.6), (0.13, 0.28), (-0.13, 0.28)], body)
    pen.disc(0, 0.8, 0.5, body)
    pen.oval(0, 0.8, 0.28, 0.5, stripe)
    pen.polygon([(-0.25, 0.59), (0.25, 0.59), (0.07, 0.28), (-0.07, 0.28)], stripe)
    pen.oval(0, 0.8, 0.1, 0.5, body)
    pen.box(-0.14, 0.0, 0.14, 0.18, (150, 100, 55))


def bird(pen: Pen, rng: np.random.Generator) -> None:
    body = _pick(rng, [(70, 80, 100), (215, 80, 60), (70, 120, 200), (240, 240, 240), (120, 85, 70)])
    pen.polygon([(-0.5, 0.36), (-0.3, 0.18), (-0.26, 0.3), (-0.45, 0.2)], shade(body, 0.8))
    pen.oval(-0.02, 0.25, 0.3, 0.14, body)
    pen.disc(0.28, 0.34, 0.12, body)
    pen.polygon([(0.37, 0.37), (0.5, 0.32), (0.37, 0.29)], (245, 165, 40))
    pen.polygon([(-0.18, 0.3), (0.14, 0.3), (-0.16, 0.68)], shade(body, 0.75))
    pen.disc(0.31, 0.37, 0.028, (25, 25, 30))


def mountain(pen: Pen, rng: np.random.Generator) -> None:
    rock = _pick(rng, [(120, 125, 145), (140, 120, 115), (105, 115, 130)])
    peak, height = rng.uniform(-0.1, 0.1), rng.uniform(0.62, 0.8)
    pen.polygon([(-0.5, 0), (peak, height), (0.5, 0)], rock)
    pen.polygon([(peak, height), (0.5, 0), (peak + 0.05, 0)], shade(rock, 0.8))
    left, right = (peak + (-0.5 - peak) * 0.35, height * 0.65), (peak + (0.5 - peak) * 0.35, height * 0.65)
    zigzag = [(peak + 0.09, height * 0.72), (peak, height * 0.6), (peak - 0.08, height * 0.73)]
    pen.polygon([left, (peak, height), right, *zigzag], (248, 250, 255))


def tree(pen: Pen, rng: np.random.Generator) -> None:
    leaf = hsv(rng.uniform(0.24, 0.38), rng.uniform(0.55, 0.75), rng.uniform(0.5, 0.72))
    pen.polygon([(-0.09, 0), (0.09, 0), (0.06, 0.55), (-0.06, 0.55)], hsv(0.07, 0.6, rng.uniform(0.35, 0.5)))
    for x, y, radius in ((-0.24, 0.62, 0.26), (0.24, 0.6, 0.26), (0.0, 0.72, 0.3), (-0.02, 0.92, 0.27)):
        pen.disc(x, y, radius, leaf)
    for x, y, radius in ((-0.1, 0.98, 0.12), (-0.27, 0.7, 0.1), (0.1, 0.75, 0.1)):
        pen.disc(x, y, radius, shade(leaf, 1.18))


def palm_tree(pen: Pen, rng: np.random.Generator) -> None:
    leaf = hsv(rng.uniform(0.27, 0.4), 0.7, rng.uniform(0.5, 0.68))
    bark = hsv(0.08, 0.5, rng.uniform(0.5, 0.65))
    trunk = [(0.02 + 0.12 * (1 - t) ** 2 - 0.1, 0.95 * t) for t in np.linspace(0, 1, 8)]
    for (x0, y0), (x1, y1) in pairwise(trunk):
        pen.stroke((x0, y0 - 0.02), (x1, y1), 0.11 - 0.03 * y1, bark)
    top_x, top_y = trunk[-1]
    for angle, reach in ((0.0, 0.42), (0.75, 0.4), (1.57, 0.3), (2.4, 0.4), (3.14, 0.42), (-0.55, 0.36), (3.7, 0.36)):
        arc = [
            (top_x + reach * t * math.cos(angle), top_y + reach * (t * math.sin(angle) - 0.55 * t * t + 0.12 * t))
            for t in np.linspace(0, 1, 7)
        ]
        spread = [0.075 * math.sin(math.pi * min(0.12 + t, 1.0)) for t in np.linspace(0, 1, 7)]
        upper = [(x, y + wide) for (x, y), wide in zip(arc, spread, strict=True)]
        lower = [(x, y - wide) for (x, y), wide in zip(arc, spread, strict=True)]
        pen.polygon(upper + lower[::-1], shade(leaf, 0.85 if math.sin(angle) < 0 else 1.0))
    for x in (-0.05, 0.05):
        pen.disc(top_x + x, top_y - 0.05, 0.05, (115, 70, 40))


def house(pen: Pen, rng: np.random.Generator) -> None:
    wall = _pick(rng, [(245, 235, 210), (235, 200, 150), (240, 215, 215), (200, 215, 230), (250, 245, 240)])
    roof = _pick(rng, [(190, 70, 60), (150, 80, 60), (110, 80, 120), (80, 95, 125)])
    pen.box(0.2, 0.62, 0.31, 0.92, shade(roof, 0.75))
    pen.box(-0.42, 0, 0.42, 0.5, wall)
    pen.polygon([(-0.5, 0.48), (0, 0.9), (0.5, 0.48)], roof)
    pen.box(-0.1, 0, 0.1, 0.32, shade(roof, 0.7))
    for x in (-0.27, 0.27):
        pen.box(x - 0.09, 0.17, x + 0.09, 0.36, (255, 255, 255))
        pen.box(x - 0.07, 0.19, x + 0.07, 0.34, (125, 180, 220))


def lighthouse(pen: Pen, rng: np.random.Generator) -> None:
    red = _pick(rng, [(205, 55, 50), (205, 55, 50), (45, 85, 150)])
    for index in range(5):
        low, high = index * 0.32, (index + 1) * 0.32
        half = [0.36 - 0.08 * level for level in (low, high)]
        pen.polygon(
            [(-half[0], low), (half[0], low), (half[1], high), (-half[1], high)], (250, 248, 245) if index % 2 else red
        )
    pen.box(-0.34, 1.6, 0.34, 1.68, (70, 70, 80))
    pen.box(-0.2, 1.68, 0.2, 1.95, (255, 230, 130))
    pen.polygon([(-0.28, 1.95), (0.28, 1.95), (0, 2.2)], red)
    pen.box(-0.1, 0, 0.1, 0.25, (80, 60, 55))


def windmill(pen: Pen, rng: np.random.Generator) -> None:
    wall = _pick(rng, [(235, 225, 205), (215, 185, 150), (245, 240, 235)])
    cap = _pick(rng, [(150, 70, 55), (90, 90, 110), (120, 85, 60)])
    pen.polygon([(-0.24, 0), (0.24, 0), (0.15, 0.72), (-0.15, 0.72)], wall)
    pen.box(-0.07, 0, 0.07, 0.2, cap)
    pen.polygon([(-0.19, 0.7), (0.19, 0.7), (0.08, 0.9), (-0.08, 0.9)], cap)
    turn = rng.uniform(0.3, 1.2)
    for index in range(4):
        angle = turn + index * math.pi / 2
        along, across = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
        tip = (0.52 * along[0], 0.76 + 0.52 * along[1])
        blade = [
            (s * along[0] + w * across[0], 0.76 + s * along[1] + w * across[1])
            for s, w in ((0.14, 0), (0.52, 0), (0.52, 0.13), (0.14, 0.13))
        ]
        pen.polygon(blade, (252, 250, 240))
        pen.stroke((0, 0.76), tip, 0.04, (95, 70, 55))
    pen.disc(0, 0.76, 0.05, (95, 70, 55))


def snowman(pen: Pen, rng: np.random.Generator) -> None:
    scarf = _bright(rng)
    for y, radius in ((0.4, 0.42), (0.95, 0.32), (1.36, 0.23)):
        pen.disc(0, y, radius, (215, 225, 238))
        pen.disc(-0.02, y + 0.02, radius * 0.93, (250, 252, 255))
    for side in (-1, 1):
        pen.stroke((0.28 * side, 1.0), (0.5 * side, 1.22), 0.045, (100, 70, 50))
    pen.box(-0.22, 1.13, 0.22, 1.21, scarf)
    pen.box(0.05, 0.9, 0.15, 1.2, shade(scarf, 0.85))
    for x in (-0.08, 0.08):
        pen.disc(x, 1.43, 0.035, (30, 30, 35))
    pen.polygon([(0, 1.39), (0, 1.32), (0.2, 1.34)], (240, 135, 45))
    pen.box(-0.25, 1.54, 0.25, 1.6, (45, 45, 55))
    pen.box(-0.16, 1.6, 0.16, 1.86, (45, 45, 55))
    for y in (0.85, 1.0):
        pen.disc(0, y, 0.035, (40, 40, 45))


def car(pen: Pen, rng: np.random.Generator) -> None:
    body = _bright(rng)
    pen.polygon([(-0.28, 0.28), (-0.18, 0.48), (0.14, 0.48), (0.28, 0.28)], shade(body, 0.9))
    pen.polygon([(-0.22, 0.29), (-0.15, 0.44), (-0.03, 0.44), (-0.03, 0.29)], (190, 225, 245))
    pen.polygon([(0.01, 0.29), (0.01, 0.44), (0.12, 0.44), (0.21, 0.29)], (190, 225, 245))
    pen.polygon([(-0.5, 0.1), (0.5, 0.1), (0.5, 0.22), (0.44, 0.29), (-0.46, 0.29), (-0.5, 0.24)], body)
    pen.box(0.44, 0.18, 0.5, 0.24, (255, 240, 150))
    for x in (-0.27, 0.28):
        pen.disc(x, 0.1, 0.115, (40, 40, 48))
        pen.disc(x, 0.1, 0.055, (200, 200, 205))


def boat(pen: Pen, rng: np.random.Generator) -> None:
    hull = _pick(rng, [(160, 80, 50), (190, 60, 55), (60, 75, 110), (235, 235, 235)])
    sail = _pick(rng, [(252, 250, 242), (250, 235, 200), (245, 180, 90), (235, 110, 100)])
    pen.stroke((0, 0.15), (0, 1.0), 0.035, (95, 65, 45))
    pen.polygon([(0.03, 0.27), (0.03, 0.96), (0.42, 0.27)], sail)
    pen.polygon([(-0.03, 0.27), (-0.03, 0.82), (-0.34, 0.27)], shade(sail, 0.9))
    pen.polygon([(-0.5, 0.22), (0.5, 0.22), (0.36, 0), (-0.36, 0)], hull)
    pen.polygon([(-0.5, 0.22), (0.5, 0.22), (0.475, 0.18), (-0.475, 0.18)], shade(hull, 1.4))


def flower(pen: Pen, rng: np.random.Generator) -> None:
    petal = _pick(
        rng, [(235, 80, 95), (245, 150, 190), (150, 100, 210), (250, 250, 250), (245, 140, 50), (90, 130, 230)]
    )
    pen.stroke((0, 0), (0, 0.85), 0.07, (65, 145, 60))
    pen.oval(0.17, 0.3, 0.18, 0.08, (75, 160, 70))
    pen.oval(-0.17, 0.2, 0.18, 0.08, (75, 160, 70))
    for index in range(6):
        angle = index * math.pi / 3 + 0.3
        pen.disc(0.29 * math.cos(angle), 1.0 + 0.29 * math.sin(angle), 0.2, petal)
    pen.disc(0, 1.0, 0.17, (250, 205, 60))


def ball(pen: Pen, rng: np.random.Generator) -> None:
    colour = _bright(rng)
    pen.disc(0, 0.5, 0.5, colour)
    pale = (252, 252, 250)
    for start in (0.35, 0.35 + 2 * math.pi / 3, 0.35 + 4 * math.pi / 3):
        rim = [(0.5 * math.cos(a), 0.5 + 0.5 * math.sin(a)) for a in np.linspace(start, start + math.pi / 3, 12)]
        pen.polygon([(0, 0.5), *rim], pale)
    pen.disc(0, 0.5, 0.12, shade(colour, 0.85))


def rock(pen: Pen, rng: np.random.Generator) -> None:
    stone = hsv(0.08, 0.08, rng.uniform(0.45, 0.65))
    pen.polygon([(-0.5, 0), (-0.42, 0.3), (-0.12, 0.5), (0.25, 0.42), (0.5, 0.1), (0.48, 0)], stone)
    pen.polygon([(-0.42, 0.3), (-0.12, 0.5), (0.25, 0.42), (0.0, 0.32)], shade(stone, 1.25))


def bush(pen: Pen, rng: np.random.Generator) -> None:
    leaf = hsv(rng.uniform(0.2, 0.4), 0.6, rng.uniform(0.4, 0.55))
    for x, radius in ((-0.28, 0.22), (0.28, 0.22), (0.0, 0.3)):
        pen.disc(x, radius * 0.8, radius, leaf)
    pen.box(-0.46, 0, 0.46, 0.1, leaf)


def crate(pen: Pen, rng: np.random.Generator) -> None:
    wood = hsv(0.09, 0.5, rng.uniform(0.6, 0.75))
    pen.box(-0.5, 0, 0.5, 0.9, shade(wood, 0.75))
    for y in (0.06, 0.35, 0.64):
        pen.box(-0.44, y, 0.44, y + 0.22, wood)


def star_kite(pen: Pen, rng: np.random.Generator) -> None:
    colour = _bright(rng)
    pen.stroke((0, 0.2), (0.3, -0.5), 0.03, (110, 110, 110))
    pen.polygon([(0, 1.2), (0.42, 0.75), (0, 0), (-0.42, 0.75)], colour)
    pen.polygon([(0, 1.2), (0.42, 0.75), (0, 0.75)], shade(colour, 1.4))


Sprite = Callable[[Pen, np.random.Generator], None]
