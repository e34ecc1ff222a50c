"""Seeded cartoon scenes with exact label maps: what the demo model learns from and is judged by.

`scene(seed)` always draws the same picture for the same seed. Seeds from `HELD_OUT` on are never trained on.
Label 0 is "other": things that are drawn but named nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from . import captions, sprites
from .sprites import Canvas, Colour, Pen, hsv, shade

HELD_OUT = 1_000_000_000
"""First held-out seed: training seeds are below it, tests and benchmarks start here."""

SUPERSAMPLE = 4
LEAST_VISIBLE = 0.006
"""A thing that covers less of the picture than this is not named (its pixels become "other")."""

SKIES = ("sky", "sunset", "night sky")
LAND = ("grass", "sand", "snow", "road")
GROUNDS = (*LAND, "sea")
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
    """One noun: how it is drawn, how wide it may be, how tall it is (in widths) and where it may be."""

    name: str
    draw: sprites.Sprite
    width: tuple[float, float]
    height: float
    on: tuple[str, ...]
    skies: tuple[str, ...] = SKIES


DAY = ("sky", "sunset")
KINDS = (
    Kind("sun", sprites.sun, (0.24, 0.36), 1.0, SKIES, DAY),
    Kind("moon", sprites.moon, (0.22, 0.32), 1.0, SKIES, ("night sky",)),
    Kind("cloud", sprites.cloud, (0.3, 0.45), 0.46, SKIES),
    Kind("balloon", sprites.balloon, (0.2, 0.32), 1.3, SKIES, DAY),
    Kind("bird", sprites.bird, (0.26, 0.4), 0.7, SKIES, DAY),
    Kind("mountain", sprites.mountain, (0.36, 0.45), 0.8, ("horizon",)),
    Kind("tree", sprites.tree, (0.3, 0.44), 1.2, ("grass", "snow", "sand")),
    Kind("palm tree", sprites.palm_tree, (0.3, 0.45), 1.25, ("sand", "grass")),
    Kind("house", sprites.house, (0.3, 0.45), 0.92, ("grass", "snow", "sand")),
    Kind("lighthouse", sprites.lighthouse, (0.17, 0.26), 2.2, ("grass", "sand", "snow")),
    Kind("windmill", sprites.windmill, (0.3, 0.44), 1.3, ("grass", "sand", "snow")),
    Kind("snowman", sprites.snowman, (0.22, 0.34), 1.86, ("snow", "grass")),
    Kind("car", sprites.car, (0.34, 0.45), 0.48, ("road", "sand", "grass", "snow")),
    Kind("boat", sprites.boat, (0.3, 0.45), 1.0, ("sea",)),
    Kind("flower", sprites.flower, (0.22, 0.34), 1.49, ("grass", "sand")),
    Kind("ball", sprites.ball, (0.2, 0.32), 1.0, ("grass", "sand", "snow", "road")),
)
DISTRACTORS = (
    Kind("other", sprites.rock, (0.12, 0.24), 0.5, LAND),
    Kind("other", sprites.bush, (0.14, 0.26), 0.5, ("grass", "sand", "snow")),
    Kind("other", sprites.crate, (0.1, 0.17), 0.9, LAND),
    Kind("other", sprites.star_kite, (0.1, 0.17), 1.2, SKIES, DAY),
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
class _Thing:
    """A kind with its place: `(x, foot)` is the middle of its base, in 0..1 of the picture, y downwards."""

    kind: Kind
    x: float
    foot: float
    width: float
    mirrored: bool

    @property
    def box(self) -> tuple[float, float, float, float]:
        return self.x - self.width / 2, self.foot - self.kind.height * self.width, self.x + self.width / 2, self.foot


@dataclass(frozen=True)
class _Band:
    """A strip of ground from `top` to `bottom`."""

    name: str
    top: float
    bottom: float


def scene(seed: int, size: int = 256) -> Scene:
    """The scene of this seed, `size` pixels square; the same composition at every size."""
    rng = np.random.default_rng(seed)
    sky = str(rng.choice(SKIES, p=(0.46, 0.27, 0.27)))
    bands = _bands(rng)
    things = _things(rng, sky, bands)
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


def _bands(rng: np.random.Generator) -> tuple[_Band, ...]:
    layout = LAYOUTS[rng.choice(len(LAYOUTS), p=(0.16, 0.12, 0.14, 0.12, 0.14, 0.06, 0.16, 0.1))]
    horizon = rng.uniform(0.48, 0.62)
    if len(layout) == 1:
        return (_Band(layout[0], horizon, 1.0),)
    if layout[1] == "road":
        top, bottom = rng.uniform(0.72, 0.78), rng.uniform(0.9, 0.96)
        return _Band(layout[0], horizon, 1.0), _Band("road", top, bottom)
    return _Band(layout[0], horizon, 1.0), _Band(layout[1], rng.uniform(0.7, 0.78), 1.0)


def _things(rng: np.random.Generator, sky: str, bands: tuple[_Band, ...]) -> list[_Thing]:
    """One to four things that may stand here, without hiding one another too much."""
    grounds = {band.name for band in bands}
    possible = [kind for kind in KINDS if sky in kind.skies and ({sky, "horizon", *grounds} & set(kind.on))]
    wanted = list(rng.permutation(len(possible))[: int(rng.choice((1, 2, 3, 4), p=(0.3, 0.34, 0.24, 0.12)))])
    chosen = [possible[index] for index in wanted]
    extras = [kind for kind in DISTRACTORS if sky in kind.skies and ({sky, *grounds} & set(kind.on))]
    if extras and rng.random() < 0.25:
        chosen.append(extras[rng.integers(len(extras))])
    placed: list[_Thing] = []
    for kind in chosen:
        for _ in range(12):
            thing = _place(rng, kind, sky, bands)
            if thing is not None and all(_overlap(thing, other) < 0.3 for other in placed):
                placed.append(thing)
                break
    return placed


def _place(rng: np.random.Generator, kind: Kind, sky: str, bands: tuple[_Band, ...]) -> _Thing | None:
    width = rng.uniform(*kind.width)
    horizon = bands[0].top
    if sky in kind.on:
        low, high = 0.02 + kind.height * width, horizon - 0.02
    elif kind.on == ("horizon",):
        low, high = horizon + 0.005, horizon + 0.01
    else:
        band = [band for band in bands if band.name in kind.on][-1]
        below = [other.top for other in bands if other.top > band.top]
        low = max(band.top + 0.03, 0.03 + kind.height * width)
        high = below[0] + 0.01 if below else min(band.bottom - 0.03, 0.97)
    if low > high:
        return None
    x = rng.uniform(0.02 + width / 2, 0.98 - width / 2)
    return _Thing(kind, x, rng.uniform(low, high), width, bool(rng.random() < 0.5))


def _overlap(first: _Thing, second: _Thing) -> float:
    """Shared area of two boxes as a fraction of the smaller one."""
    a, b = first.box, second.box
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))


def _draw(canvas: Canvas, rng: np.random.Generator, thing: _Thing, label_of: dict[str, int]) -> None:
    pen = Pen(canvas, thing.x, thing.foot, thing.width, label_of[thing.kind.name], thing.mirrored)
    thing.kind.draw(pen, rng)


def _draw_sky(canvas: Canvas, rng: np.random.Generator, sky: str, label: int) -> None:
    if sky == "sky":
        hue = rng.uniform(0.53, 0.59)
        top, low = hsv(hue, rng.uniform(0.5, 0.7), 0.93), hsv(hue, 0.15, 1.0)
    elif sky == "sunset":
        top, low = hsv(rng.uniform(0.75, 0.93), 0.5, rng.uniform(0.6, 0.85)), hsv(rng.uniform(0.05, 0.1), 0.65, 1.0)
    else:
        hue = rng.uniform(0.6, 0.7)
        top, low = hsv(hue, 0.75, 0.2), hsv(hue, 0.6, 0.42)
    mix = np.clip(np.linspace(0, 1.5, 64), 0, 1)[:, None]
    column = ((1 - mix) * np.array(top) + mix * np.array(low)).astype(np.uint8)[:, None]
    canvas.picture.paste(Image.fromarray(column).resize((canvas.pixels,) * 2, Image.Resampling.BILINEAR))
    canvas.labels.paste(label, (0, 0, canvas.pixels, canvas.pixels))
    if sky == "night sky":
        for x, y, radius in zip(rng.random(9), rng.random(9) * 0.6, rng.uniform(0.007, 0.011, 9), strict=True):
            canvas.ellipse(x - radius, y - radius, x + radius, y + radius, (250, 245, 215), label)


def _hills(rng: np.random.Generator, top: float, bottom: float, swing: float) -> list[tuple[float, float]]:
    x = np.linspace(0, 1, 33)
    y = top + swing * np.sin(2 * np.pi * (x * rng.uniform(0.5, 1.2) + rng.random()))
    return [*zip(x.tolist(), y.tolist(), strict=True), (1.0, bottom), (0.0, bottom)]


def _draw_ground(canvas: Canvas, rng: np.random.Generator, band: _Band, label: int, dim: float) -> None:
    tone = _ground_colour(rng, band.name)
    tone = shade(tone, dim)
    top, bottom = band.top, band.bottom
    if band.name in ("sea", "road"):
        canvas.polygon([(0, top), (1, top), (1, bottom), (0, bottom)], tone, label)
    else:
        canvas.polygon(_hills(rng, top + 0.012, bottom, 0.012), tone, label)
        canvas.polygon(_hills(rng, top + 0.35 * (bottom - top), bottom, 0.02), shade(tone, 0.93), label)
        canvas.polygon(_hills(rng, top + 0.7 * (bottom - top), bottom, 0.02), shade(tone, 0.86), label)
    if band.name == "sea":
        for y in np.arange(top + 0.05, bottom - 0.02, 0.1):
            start = rng.uniform(-0.1, 0.1)
            for x in np.arange(start, 1.0, 0.27):
                canvas.polygon(
                    [(x, y), (x + 0.07, y - 0.01), (x + 0.14, y), (x + 0.07, y + 0.008)], shade(tone, 1.25), label
                )
    elif band.name == "road":
        middle = (top + bottom) / 2
        for edge in (top, bottom - 0.012):
            canvas.polygon([(0, edge), (1, edge), (1, edge + 0.012), (0, edge + 0.012)], shade(tone, 1.45), label)
        for x in np.arange(rng.uniform(-0.15, 0.0), 1.0, 0.22):
            canvas.polygon(
                [(x, middle - 0.011), (x + 0.12, middle - 0.011), (x + 0.12, middle + 0.011), (x, middle + 0.011)],
                (245, 240, 225),
                label,
            )
    elif band.name == "grass":
        for x, y in zip(rng.random(7), rng.uniform(top + 0.06, bottom, 7), strict=True):
            canvas.polygon(
                [(x - 0.018, y), (x - 0.024, y - 0.04), (x, y - 0.014), (x + 0.02, y - 0.046), (x + 0.018, y)],
                shade(tone, 0.8),
                label,
            )


def _ground_colour(rng: np.random.Generator, name: str) -> Colour:
    if name == "grass":
        return hsv(rng.uniform(0.24, 0.31), rng.uniform(0.55, 0.7), rng.uniform(0.66, 0.8))
    if name == "sand":
        return hsv(rng.uniform(0.105, 0.125), rng.uniform(0.32, 0.45), rng.uniform(0.88, 0.97))
    if name == "snow":
        return hsv(0.58, rng.uniform(0.02, 0.08), rng.uniform(0.95, 1.0))
    if name == "sea":
        return hsv(rng.uniform(0.52, 0.6), rng.uniform(0.7, 0.85), rng.uniform(0.55, 0.75))
    return hsv(0.65, 0.08, rng.uniform(0.32, 0.42))
