"""What surfaces look like: colour at every pixel from coordinates, a period and two colours.

A texture is evaluated only where its surface is drawn. Coordinates are in pixels and broadcast
against each other: x (1, w) and y (h, 1), or (h, w) both; the result is (h, w, 3).

Only uniform numbers are drawn anywhere, since NumPy may change the streams of its other
distributions, and scalars stay Python floats, since NumPy 1 and 2 promote their own differently.
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Rng: TypeAlias = np.random.Generator
Field: TypeAlias = NDArray[np.floating[Any]]
Colour: TypeAlias = tuple[float, float, float]
Colours: TypeAlias = tuple[Colour, Colour]
Texture: TypeAlias = Callable[[Rng, Field, Field, float, Colours], Field]

# Every object draws its colours from this one list: colour alone never tells the class.
PAINTS: tuple[Colour, ...] = (
    (0.76, 0.30, 0.25),
    (0.86, 0.55, 0.28),
    (0.88, 0.76, 0.42),
    (0.42, 0.57, 0.31),
    (0.29, 0.58, 0.57),
    (0.33, 0.47, 0.69),
    (0.54, 0.41, 0.62),
    (0.55, 0.41, 0.31),
    (0.57, 0.58, 0.58),
    (0.90, 0.87, 0.80),
    (0.30, 0.33, 0.38),
    (0.85, 0.60, 0.63),
)
LATTICE = 64


def between(rng: Rng, low: float, high: float) -> float:
    """One uniform number."""
    return low + (high - low) * float(rng.random())


def mix(a: Colour, b: Colour, weight: float) -> Colour:
    """The colour at ``weight`` of the way from ``a`` to ``b``."""
    red, green, blue = ((1 - weight) * p + weight * q for p, q in zip(a, b, strict=True))
    return red, green, blue


def blend(a: Colour, b: Colour, weight: Field) -> Field:
    """Colours (h, w, 3) between ``a`` (weight 0) and ``b`` (weight 1)."""
    first, second = np.asarray(a, np.float32), np.asarray(b, np.float32)
    return first + weight[..., None] * (second - first)


def noise(rng: Rng, x: Field, y: Field) -> Field:
    """Smooth periodic noise in [0, 1], one independent value per unit of ``x`` and ``y``."""
    table = rng.random((LATTICE, LATTICE)).astype(np.float32).ravel()
    left, top = np.floor(x), np.floor(y)
    u, v = x - left, y - top
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    i, j = left.astype(np.int32) % LATTICE, top.astype(np.int32) % LATTICE
    i_next, j_next = (i + 1) % LATTICE, (j + 1) % LATTICE
    upper = table[j * LATTICE + i] * (1 - u) + table[j * LATTICE + i_next] * u
    lower = table[j_next * LATTICE + i] * (1 - u) + table[j_next * LATTICE + i_next] * u
    return np.asarray(upper * (1 - v) + lower * v)


def turned(x: Field, y: Field, angle: float) -> tuple[Field, Field]:
    """Coordinates along and across the direction ``angle`` (radians)."""
    c, s = math.cos(angle), math.sin(angle)
    return c * x + s * y, c * y - s * x


def smooth(rng: Rng, x: Field, y: Field, period: float, colours: Colours) -> Field:
    """Lacquer: nearly one colour, with broad soft reflections."""
    a = colours[0]
    gloss = noise(rng, x / (6 * period), y / (2 * period))
    return blend(a, mix(a, (1.0, 1.0, 1.0), 0.35), 0.6 * gloss)


def brick(rng: Rng, x: Field, y: Field, period: float, colours: Colours) -> Field:
    """Courses of bricks, every second one shifted, each brick in its own tone."""
    a, b = colours
    row = np.floor(y / period)
    along = x / (2 * period) + 0.5 * (row % 2)
    column = np.floor(along)
    joint = (y / period - row < 0.18) | (along - column < 0.09)
    tones = rng.random((LATTICE, LATTICE)).astype(np.float32)
    tone = tones[row.astype(np.int32) % LATTICE, column.astype(np.int32) % LATTICE]
    mortar = mix(a, (0.93, 0.91, 0.86), between(rng, 0.35, 0.75))
    return np.where(joint[..., None], np.asarray(mortar, np.float32), blend(a, b, 0.35 * tone))


def foliage(rng: Rng, x: Field, y: Field, period: float, colours: Colours) -> Field:
    """Leaves: clumps of light and shade at two scales."""
    a, b = colours
    clumps = noise(rng, x / (2.2 * period), y / (2.2 * period))
    leaves = noise(rng, x / (0.8 * period), y / (0.8 * period))
    light = np.clip(2.2 * (0.45 * clumps + 0.55 * leaves) - 0.6, 0, 1)
    return blend(mix(a, (0.0, 0.02, 0.05), 0.5), mix(a, b, 0.25), light)


def fur(rng: Rng, x: Field, y: Field, period: float, colours: Colours) -> Field:
    """Hair along a slowly turning direction, on some coats with spots of the other colour."""
    a, b = colours
    along, across = turned(x, y, between(rng, -0.6, 0.6))
    across = across + 2.5 * period * noise(rng, x / (9 * period), y / (9 * period))
    hair = noise(rng, along / (2.6 * period), across / (0.55 * period))
    coat = noise(rng, x / (6 * period), y / (6 * period))
    spots = np.clip((coat - between(rng, 0.45, 1.0)) * 9, 0, 1)
    return blend(a, b, spots) * (0.62 + 0.6 * hair)[..., None]


def stripes(rng: Rng, x: Field, y: Field, period: float, colours: Colours) -> Field:
    """Bands of two colours of the same width."""
    a, b = colours
    along, _ = turned(x, y, between(rng, -0.5, 0.5))
    band = np.mod(along / (2 * period), 1) < between(rng, 0.4, 0.6)
    return blend(a, b, band.astype(np.float32))


def checks(rng: Rng, x: Field, y: Field, period: float, colours: Colours) -> Field:
    """A chessboard, turned a little."""
    a, b = colours
    along, across = turned(x, y, between(rng, -0.8, 0.8))
    odd = (np.floor(along / period) + np.floor(across / period)) % 2
    return blend(a, b, odd.astype(np.float32))


def dots(rng: Rng, x: Field, y: Field, period: float, colours: Colours) -> Field:
    """Round dots on a staggered lattice."""
    a, b = colours
    along, across = turned(x, y, between(rng, -0.8, 0.8))
    row = np.floor(across / (1.8 * period))
    u = np.mod(along / (2 * period) + 0.5 * (row % 2), 1) - 0.5
    v = across / (1.8 * period) - row - 0.5
    inside = u * u + 0.81 * v * v < between(rng, 0.05, 0.1)
    return blend(a, b, inside.astype(np.float32))


def facets(rng: Rng, x: Field, y: Field, period: float, colours: Colours) -> Field:
    """Broken stone: flat facets (the cells of random points) with a little grain."""
    a, count = colours[0], 14
    seeds_x = x.min() + np.ptp(x) * rng.random(count).astype(np.float32)
    seeds_y = y.min() + np.ptp(y) * rng.random(count).astype(np.float32)
    nearest = np.argmin((x[..., None] - seeds_x) ** 2 + (y[..., None] - seeds_y) ** 2, axis=-1)
    tone = (0.7 + 0.55 * rng.random(count)).astype(np.float32)[nearest]
    grain = noise(rng, x / (0.7 * period), y / (0.7 * period))
    return blend((0.0, 0.0, 0.0), a, tone * (0.88 + 0.24 * grain))


def bark(rng: Rng, x: Field, y: Field, period: float, colours: Colours) -> Field:
    """Upright ridges."""
    a = colours[0]
    ridges = noise(rng, x / (0.5 * period), y / (4 * period))
    return blend(mix(a, (0.1, 0.06, 0.03), 0.7), mix(a, (0.45, 0.35, 0.28), 0.6), ridges)


def tiles(rng: Rng, x: Field, y: Field, period: float, colours: Colours) -> Field:
    """Roof: rows of tiles, each row shaded at its lower edge."""
    a, b = colours
    row = y / period
    tone = noise(rng, x / period, np.floor(row))
    slope = 1.08 - 0.4 * np.mod(row, 1) ** 2
    return np.asarray(blend(a, b, 0.3 * tone) * slope[..., None])
