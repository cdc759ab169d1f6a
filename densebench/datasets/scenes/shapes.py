"""The objects of a scene, each a few filled outlines.

Outlines are (n, 2) points in units of the object's height: x to the right, y down, the foot of the
object at (0, 0) and its top near y = -1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from densebench.datasets.scenes import textures
from densebench.datasets.scenes.textures import Colour, Colours, Rng, Texture, between, mix

Points: TypeAlias = NDArray[np.float64]
DARK: Colour = (0.16, 0.17, 0.2)
GLASS: Colour = (0.62, 0.72, 0.78)


@dataclass(frozen=True)
class Part:
    """One filled outline with its surface.

    ``period`` is the texture's scale in units of the object's height; ``roundness`` is 0 for a flat
    surface and 1 for one that is shaded as a ball.
    """

    outline: Points
    texture: Texture
    colours: Colours
    period: float = 0.1
    roundness: float = 0.0


def polygon(*points: tuple[float, float]) -> Points:
    """The outline through these points."""
    return np.asarray(points, np.float64)


def box(left: float, top: float, right: float, bottom: float) -> Points:
    """An upright rectangle."""
    return polygon((left, top), (right, top), (right, bottom), (left, bottom))


def ellipse(x: float, y: float, radius_x: float, radius_y: float) -> Points:
    """An upright ellipse around (x, y)."""
    turn = 2 * np.pi * np.arange(40) / 40
    return np.stack([x + radius_x * np.cos(turn), y + radius_y * np.sin(turn)], axis=1)


def blob(rng: Rng, centre: tuple[float, float], radii: tuple[float, float], rough: float) -> Points:
    """An ellipse whose radius swings by up to about ``rough``."""
    turn = 2 * np.pi * np.arange(40) / 40
    swing = np.ones_like(turn)
    for k in range(2, 6):
        swing += between(rng, -rough, rough) / k * np.cos(k * turn + between(rng, 0, 6.28))
    x, y = centre
    return ellipse(0, 0, *radii) * swing[:, None] + (x, y)


def house(rng: Rng, a: Colour, b: Colour) -> list[Part]:
    """Brick walls, a tiled roof, a door and windows."""
    half, eaves = between(rng, 0.38, 0.65), between(rng, 0.55, 0.72)
    ridge, course = half * between(rng, 0.0, 0.75), between(rng, 0.045, 0.075)
    roof = polygon((-half - 0.06, -eaves), (-ridge, -1), (ridge, -1), (half + 0.06, -eaves))
    parts = [
        Part(box(-half, -eaves, half, 0), textures.brick, (a, b), course),
        Part(roof, textures.tiles, (b, a), between(rng, 0.06, 0.09)),
    ]
    door = half * between(rng, -0.3, 0.3)
    parts.append(Part(box(door - 0.07, -0.3, door + 0.07, 0), textures.smooth, (DARK, DARK)))
    for side in (-0.62, 0.62):
        window = box(half * side - 0.08, -eaves + 0.12, half * side + 0.08, -eaves + 0.28)
        parts.append(Part(window, textures.smooth, (mix(GLASS, DARK, float(rng.random())), GLASS)))
    return parts


def tree(rng: Rng, a: Colour, b: Colour) -> list[Part]:
    """A trunk under leaves: a round crown, or a conifer's tiers."""
    trunk = polygon((-0.07, 0), (-0.04, -0.5), (0.04, -0.5), (0.07, 0))
    parts = [Part(trunk, textures.bark, (a, b), 0.06)]
    leaf = between(rng, 0.035, 0.06)
    if rng.random() < 0.35:
        tiers = [(0.36, -0.16, -0.55), (0.29, -0.4, -0.8), (0.2, -0.63, -1.0)]
        crowns = [polygon((-w, low), (0, high), (w, low)) for w, low, high in tiers]
    else:
        crowns = [blob(rng, (0, -0.64), (0.3, 0.28), 0.1)]
        for _ in range(4):
            x, y = between(rng, -0.25, 0.25), between(rng, -0.8, -0.5)
            crowns.append(blob(rng, (x, y), (0.19, 0.17), 0.1))
    return parts + [Part(crown, textures.foliage, (a, b), leaf, 0.5) for crown in crowns]


def car(rng: Rng, a: Colour, b: Colour) -> list[Part]:
    """A lacquered body with a cabin, windows and two wheels."""
    half, nose, cabin = between(rng, 1.0, 1.3), between(rng, 0.5, 0.62), between(rng, 0.45, 0.6)
    hull = polygon(
        (-half, -0.18), (-half, -0.5), (-half + 0.1, -0.6), (half * 0.55, -nose),
        (half, -0.45), (half, -0.18),
    )  # fmt: skip
    roof = polygon((-0.85 * half, -0.4), (-cabin, -1), (0.3 * cabin, -1), (0.7 * half, -0.4))
    glass = polygon(
        (-0.7 * half, -0.6), (-cabin, -0.92), (0.22 * cabin, -0.92), (0.42 * half, -0.6)
    )
    parts = [
        Part(roof, textures.smooth, (a, b), 0.15),
        Part(hull, textures.smooth, (a, b), 0.15, 0.35),
        Part(glass, textures.smooth, (mix(GLASS, DARK, between(rng, 0, 0.7)), b), 0.1),
    ]
    for x in (-0.58 * half, 0.58 * half):
        parts.append(Part(ellipse(x, -0.2, 0.21, 0.21), textures.smooth, (DARK, DARK)))
        parts.append(Part(ellipse(x, -0.2, 0.1, 0.1), textures.smooth, (GLASS, GLASS)))
    return parts


def animal(rng: Rng, a: Colour, b: Colour) -> list[Part]:
    """Four legs, a long or a short body, tail, neck, head and ear, all in fur."""
    half, leg, hair = between(rng, 0.45, 0.7), between(rng, 0.3, 0.45), between(rng, 0.03, 0.05)
    neck = between(rng, 0.0, 0.3)
    back, head = -leg - 0.38, (half + 0.12, -0.72 - neck / 2)
    feet = [place * half for place in (-0.82, -0.55, 0.5, 0.78)]
    outlines = [box(foot - 0.06, -leg - 0.15, foot + 0.06, 0) for foot in feet]
    x, y = head
    tail = polygon((-half, back + 0.1), (-half - 0.2, -leg), (-half - 0.13, -leg), (0, back + 0.1))
    trunk = blob(rng, (0, -leg - 0.19), (half, 0.22), 0.05)
    throat = polygon((half * 0.55, -leg - 0.2), (x - 0.12, y), head, (half, -leg - 0.1))
    ear = polygon((x - 0.14, y), (x - 0.1, y - 0.25), (x, y - 0.1))
    outlines += [tail, trunk, throat, ellipse(x, y, 0.2, 0.14), ear]
    parts = [Part(outline, textures.fur, (a, b), hair, 0.3) for outline in outlines]
    eye = ellipse(x + 0.06, y - 0.03, 0.025, 0.025)
    return [*parts, Part(eye, textures.smooth, (DARK, DARK))]


def tent(rng: Rng, a: Colour, b: Colour) -> list[Part]:
    """Striped canvas: a ridge tent, or a pavilion with a pointed roof."""
    half, band = between(rng, 0.55, 0.8), between(rng, 0.05, 0.11)
    if rng.random() < 0.5:
        sheet = polygon((-half, 0), (-0.12 * half, -1), (0.12 * half, -1), (half, 0))
        door = polygon((-0.16, 0), (0, -0.55), (0.16, 0))
    else:
        eaves = between(rng, 0.45, 0.6)
        sheet = polygon(
            (-0.85 * half, 0), (-0.85 * half, -eaves), (-half, -eaves), (0, -1), (half, -eaves),
            (0.85 * half, -eaves), (0.85 * half, 0),
        )  # fmt: skip
        door = box(-0.13, -0.4, 0.13, 0)
    return [
        Part(sheet, textures.stripes, (a, b), band, 0.25),
        Part(door, textures.smooth, (mix(a, DARK, 0.8), b)),
    ]


def balloon(rng: Rng, a: Colour, b: Colour) -> list[Part]:
    """A chequered envelope over a basket."""
    width, basket = between(rng, 0.34, 0.42), (0.5, 0.38, 0.27)
    envelope = ellipse(0, -0.62, width, 0.38)
    low = envelope[:, 1] > -0.62
    envelope[low, 0] *= 1 - 0.62 * ((envelope[low, 1] + 0.62) / 0.38) ** 2
    ropes = polygon((-0.1, -0.28), (-0.07, -0.13), (0.07, -0.13), (0.1, -0.28))
    return [
        Part(ropes, textures.smooth, (mix(a, DARK, 0.5), b)),
        Part(envelope, textures.checks, (a, b), between(rng, 0.07, 0.13), 0.7),
        Part(box(-0.08, -0.14, 0.08, 0), textures.tiles, (basket, DARK), 0.04),
    ]


def mushroom(rng: Rng, a: Colour, b: Colour) -> list[Part]:
    """A dotted cap on a pale stem."""
    half, brim = between(rng, 0.45, 0.7), between(rng, 0.4, 0.52)
    pale = mix(b, (0.93, 0.9, 0.84), 0.7)
    stem = polygon((-0.17, 0), (-0.12, -brim), (0.12, -brim), (0.17, 0))
    cap = ellipse(0, -brim, half, 1 - brim)
    below = cap[:, 1] > -brim
    cap[below, 1] = -brim + 0.22 * (cap[below, 1] + brim)
    return [
        Part(stem, textures.smooth, (pale, pale), 0.1, 0.6),
        Part(cap, textures.dots, (a, b), between(rng, 0.075, 0.12), 0.6),
    ]


def rock(rng: Rng, a: Colour, b: Colour) -> list[Part]:
    """An angular boulder of flat facets."""
    half, corners = between(rng, 0.6, 0.95), 9
    turn = np.pi * (1 + (np.arange(corners) + 0.6 * rng.random(corners)) / corners)
    reach = 0.8 + 0.25 * rng.random(corners)
    outline = np.stack([half * reach * np.cos(turn), reach * np.sin(turn)], axis=1)
    return [Part(outline, textures.facets, (a, b), between(rng, 0.05, 0.09), 0.3)]


@dataclass(frozen=True)
class Kind:
    """How an object is built, and its heights in pixels of the finished image."""

    build: Callable[[Rng, Colour, Colour], list[Part]]
    heights: tuple[float, float]


OBJECTS: dict[str, Kind] = {
    "house": Kind(house, (80, 130)),
    "tree": Kind(tree, (90, 150)),
    "car": Kind(car, (38, 64)),
    "animal": Kind(animal, (60, 100)),
    "tent": Kind(tent, (65, 110)),
    "balloon": Kind(balloon, (80, 130)),
    "mushroom": Kind(mushroom, (55, 100)),
    "rock": Kind(rock, (50, 90)),
}
