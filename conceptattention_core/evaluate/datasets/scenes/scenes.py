"""Seeded cartoon scenes with exact label maps: what the demo model learns from and is judged by.

`scene(seed)` always draws the same picture for the same seed. Seeds from `HELD_OUT` on are never trained on.
Label 0 is "other": things that are drawn but named nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from . import captions, sprites
from .sprites import Canvas, Colour, Pen, hsv, shade

HELD_OUT = 1_000_000_000
"""First held-out seed: training seeds are below it, tests and benchmarks start here."""

CELLS = 16
"""Things and grounds lie on a grid of so many cells a side, one image token of a 256 pixel wide picture each, so that
the same thing often looks the same to a Flux, which a small one learns sooner."""
SUPERSAMPLE = 4
LEAST_VISIBLE = 0.006
"""A thing that covers less of the picture than this is not named (its pixels become "other")."""

SKIES = ("sky", "sunset", "night sky")
LAND = ("grass", "sand", "snow", "road")
GROUNDS = (*LAND, "sea")
STARS = ((0.09, 0.1), (0.22, 0.34), (0.35, 0.16), (0.47, 0.41), (0.6, 0.09), (0.72, 0.28), (0.84, 0.16), (0.92, 0.41))
LAYOUTS = (
    ("grass",),
    ("sand",),
    ("snow",),
    ("sea",),
    ("grass", "road"),
    ("sand", "road"),
    ("sea", "sand"),
    ("sea", "grass"),
)


@dataclass(frozen=True)
class Kind:
    """One noun: how it is drawn, its two widths in cells, how tall it is (in widths) and where it may be."""

    name: str
    draw: sprites.Sprite
    widths: tuple[int, int]
    height: float
    on: tuple[str, ...]
    skies: tuple[str, ...] = SKIES


DAY = ("sky", "sunset")
KINDS = (
    Kind("sun", sprites.sun, (4, 5), 1.0, SKIES, DAY),
    Kind("moon", sprites.moon, (3, 4), 1.0, SKIES, ("night sky",)),
    Kind("cloud", sprites.cloud, (5, 7), 0.46, SKIES),
    Kind("balloon", sprites.balloon, (3, 5), 1.3, SKIES, DAY),
    Kind("bird", sprites.bird, (4, 6), 0.7, SKIES, DAY),
    Kind("mountain", sprites.mountain, (6, 7), 0.8, ("horizon",)),
    Kind("tree", sprites.tree, (5, 7), 1.2, ("grass", "snow", "sand")),
    Kind("palm tree", sprites.palm_tree, (5, 7), 1.25, ("sand", "grass")),
    Kind("house", sprites.house, (5, 7), 0.92, ("grass", "snow", "sand")),
    Kind("lighthouse", sprites.lighthouse, (3, 4), 2.2, ("grass", "sand", "snow")),
    Kind("windmill", sprites.windmill, (5, 7), 1.2, ("grass", "sand", "snow")),
    Kind("snowman", sprites.snowman, (4, 5), 1.86, ("snow", "grass")),
    Kind("car", sprites.car, (5, 7), 0.54, ("road", "sand", "grass", "snow")),
    Kind("boat", sprites.boat, (5, 7), 1.0, ("sea",)),
    Kind("flower", sprites.flower, (4, 5), 1.49, ("grass", "sand")),
    Kind("ball", sprites.ball, (3, 5), 1.0, ("grass", "sand", "snow", "road")),
)
DISTRACTORS = (
    Kind("other", sprites.rock, (2, 3), 0.5, LAND),
    Kind("other", sprites.bush, (2, 4), 0.5, ("grass", "sand", "snow")),
    Kind("other", sprites.crate, (2, 2), 0.9, LAND),
    Kind("other", sprites.star_kite, (2, 3), 1.2, SKIES, DAY),
)
NOUNS = (*SKIES, *GROUNDS, *(kind.name for kind in KINDS))


@dataclass(frozen=True)
class Scene:
    """A picture `(size, size, 3)` uint8, its label map `(size, size)` uint8 and its words.

    `names[k - 1]` is the word for label k: objects first, then grounds, then the sky.
    """

    seed: int
    image: np.ndarray
    labels: np.ndarray
    objects: tuple[str, ...]
    grounds: tuple[str, ...]
    sky: str
    caption: str

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.objects, *self.grounds, self.sky)


@dataclass(frozen=True)
class Thing:
    """A kind with its place: `(x, foot)` is the middle of its base, in 0..1 of the picture, y downwards."""

    kind: Kind
    x: float
    foot: float
    width: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        return self.x - self.width / 2, self.foot - self.kind.height * self.width, self.x + self.width / 2, self.foot


@dataclass(frozen=True)
class Band:
    """A strip of ground from `top` to `bottom`."""

    name: str
    top: float
    bottom: float


def scene(seed: int, size: int = 256) -> Scene:
    """The scene of this seed, `size` pixels square; the same composition at every size."""
    rng = np.random.default_rng(seed)
    sky = str(rng.choice(SKIES, p=(0.4, 0.3, 0.3)))
    bands = choose_bands(rng)
    return paint(seed, size, rng, sky, bands, _things(rng, sky, bands))


def paint(
    seed: int, size: int, rng: np.random.Generator, sky: str, bands: Sequence[Band], things: Sequence[Thing]
) -> Scene:
    """Draw what has been put together, and find words for what is seen."""
    words = [*dict.fromkeys(thing.kind.name for thing in things if thing.kind.name != "other")]
    words += [*dict.fromkeys(band.name for band in bands), sky]
    label_of = {word: index + 1 for index, word in enumerate(words)} | {"other": 0}

    canvas = Canvas(size * SUPERSAMPLE)
    _draw_sky(canvas, rng, sky, label_of[sky])
    for thing in things:
        if thing.kind.on == ("horizon",):
            _draw(canvas, rng, thing, label_of)
    for band in bands:
        _draw_ground(canvas, rng, band, label_of[band.name], dim=0.72 if sky == "night sky" else 1.0)
    for thing in sorted(things, key=lambda thing: thing.foot):
        if thing.kind.on != ("horizon",):
            _draw(canvas, rng, thing, label_of)

    image = np.asarray(canvas.picture.reduce(SUPERSAMPLE))
    labels = np.asarray(canvas.labels)[SUPERSAMPLE // 2 :: SUPERSAMPLE, SUPERSAMPLE // 2 :: SUPERSAMPLE]
    share = np.bincount(labels.ravel(), minlength=len(words) + 1) / labels.size
    kept = [word for word in words if share[label_of[word]] >= LEAST_VISIBLE]
    renumber = np.zeros(len(words) + 1, dtype=np.uint8)
    for index, word in enumerate(kept):
        renumber[label_of[word]] = index + 1
    objects = tuple(word for word in kept if word not in SKIES and word not in GROUNDS)
    grounds = tuple(word for word in kept if word in GROUNDS)
    text = captions.caption(rng, objects, grounds, sky)
    return Scene(seed, image, renumber[labels], objects, grounds, sky, text)


def choose_bands(rng: np.random.Generator) -> tuple[Band, ...]:
    layout = LAYOUTS[rng.choice(len(LAYOUTS), p=(0.14, 0.12, 0.16, 0.16, 0.12, 0.06, 0.14, 0.1))]
    horizon = int(rng.integers(8, 10)) / CELLS
    if len(layout) == 1:
        return (Band(layout[0], horizon, 1.0),)
    bottom = 15 / CELLS if layout[1] == "road" else 1.0
    return Band(layout[0], horizon, 1.0), Band(layout[1], 12 / CELLS, bottom)


def _things(rng: np.random.Generator, sky: str, bands: tuple[Band, ...]) -> list[Thing]:
    """One to four things that may stand here, without hiding one another too much."""
    grounds = {band.name for band in bands}
    possible = [kind for kind in KINDS if sky in kind.skies and ({sky, "horizon", *grounds} & set(kind.on))]
    wanted = list(rng.permutation(len(possible))[: int(rng.choice((1, 2, 3, 4), p=(0.5, 0.26, 0.16, 0.08)))])
    chosen = [possible[index] for index in wanted]
    extras = [kind for kind in DISTRACTORS if sky in kind.skies and ({sky, *grounds} & set(kind.on))]
    if extras and rng.random() < 0.25:
        chosen.append(extras[rng.integers(len(extras))])
    placed: list[Thing] = []
    for kind in chosen:
        for _ in range(12):
            thing = place(rng, kind, sky, bands)
            if thing is not None and all(overlap(thing, other) < 0.3 for other in placed):
                placed.append(thing)
                break
    return placed


def place(rng: np.random.Generator, kind: Kind, sky: str, bands: tuple[Band, ...]) -> Thing | None:
    """A place in whole cells, with every other column free to begin in."""
    cells = int(rng.choice(kind.widths))
    width, horizon = cells / CELLS, bands[0].top
    if sky in kind.on:
        low, high, step = 0.3 / CELLS + kind.height * width, horizon - 0.3 / CELLS, 1
    elif kind.on == ("horizon",):
        low, high, step = horizon, horizon, 1
    else:
        band = [band for band in bands if band.name in kind.on][-1]
        below = [other.top for other in bands if other.top > band.top]
        low = max(band.top + 1 / CELLS, 0.3 / CELLS + kind.height * width)
        high, step = (below[0] if below else band.bottom - 0.3 / CELLS), 2
    rows = np.arange(math.floor(high * CELLS), math.ceil(low * CELLS) - 1, -step)
    if not len(rows):
        return None
    left = int(rng.choice(np.arange(1, CELLS - cells, 2)))
    return Thing(kind, (left + cells / 2) / CELLS, int(rng.choice(rows)) / CELLS, width)


def overlap(first: Thing, second: Thing) -> float:
    """Shared area of two boxes as a fraction of the smaller one."""
    a, b = first.box, second.box
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))


def _draw(canvas: Canvas, rng: np.random.Generator, thing: Thing, label_of: dict[str, int]) -> None:
    pen = Pen(canvas, thing.x, thing.foot, thing.width, label_of[thing.kind.name])
    thing.kind.draw(pen, rng)


def _draw_sky(canvas: Canvas, rng: np.random.Generator, sky: str, label: int) -> None:
    if sky == "sky":
        hue = rng.uniform(0.54, 0.57)
        top, low = hsv(hue, 0.6, 0.95), hsv(hue, 0.15, 1.0)
    elif sky == "sunset":
        top, low = hsv(rng.uniform(0.83, 0.93), 0.5, 0.75), hsv(0.08, 0.65, 1.0)
    else:
        hue = rng.uniform(0.63, 0.67)
        top, low = hsv(hue, 0.75, 0.2), hsv(hue, 0.6, 0.42)
    mix = np.clip(np.linspace(0, 1.5, 64), 0, 1)[:, None]
    column = ((1 - mix) * np.array(top) + mix * np.array(low)).astype(np.uint8)[:, None]
    canvas.picture.paste(Image.fromarray(column).resize((canvas.pixels,) * 2, Image.Resampling.BILINEAR))
    canvas.labels.paste(label, (0, 0, canvas.pixels, canvas.pixels))
    if sky == "night sky":
        for x, y in STARS:
            canvas.ellipse(x - 0.009, y - 0.009, x + 0.009, y + 0.009, (250, 245, 215), label)


def _hills(top: float, bottom: float, swing: float) -> list[tuple[float, float]]:
    x = np.linspace(0, 1, 33)
    y = top + swing * np.sin(2 * np.pi * x)
    return [*zip(x.tolist(), y.tolist(), strict=True), (1.0, bottom), (0.0, bottom)]


def _draw_ground(canvas: Canvas, rng: np.random.Generator, band: Band, label: int, dim: float) -> None:
    tone = shade(_ground_colour(rng, band.name), dim)
    top, bottom = band.top, band.bottom
    if band.name in ("sea", "road"):
        canvas.polygon([(0, top), (1, top), (1, bottom), (0, bottom)], tone, label)
    else:
        canvas.polygon(_hills(top + 0.012, bottom, 0.012), tone, label)
        canvas.polygon(_hills(top + 0.35 * (bottom - top), bottom, 0.02), shade(tone, 0.93), label)
        canvas.polygon(_hills(top + 0.7 * (bottom - top), bottom, 0.02), shade(tone, 0.86), label)
    if band.name == "sea":
        for y in np.arange(top + 0.05, bottom - 0.02, 2 / CELLS):
            for x in np.arange(0.04, 1.0, 0.25):
                canvas.polygon(
                    [(x, y), (x + 0.07, y - 0.01), (x + 0.14, y), (x + 0.07, y + 0.008)], shade(tone, 1.25), label
                )
    elif band.name == "road":
        middle = (top + bottom) / 2
        for edge in (top, bottom - 0.012):
            canvas.polygon([(0, edge), (1, edge), (1, edge + 0.012), (0, edge + 0.012)], shade(tone, 1.45), label)
        for x in np.arange(0.03, 1.0, 0.25):
            canvas.polygon(
                [(x, middle - 0.011), (x + 0.12, middle - 0.011), (x + 0.12, middle + 0.011), (x, middle + 0.011)],
                (245, 240, 225),
                label,
            )


def _ground_colour(rng: np.random.Generator, name: str) -> Colour:
    if name == "grass":
        return hsv(rng.uniform(0.26, 0.29), 0.62, rng.uniform(0.7, 0.78))
    if name == "sand":
        return hsv(0.115, rng.uniform(0.36, 0.42), rng.uniform(0.9, 0.95))
    if name == "snow":
        return hsv(0.58, rng.uniform(0.08, 0.11), rng.uniform(0.93, 0.96))
    if name == "sea":
        return hsv(rng.uniform(0.56, 0.59), 0.78, rng.uniform(0.6, 0.7))
    return hsv(0.65, 0.08, 0.37)
