"""One labelled scene from one seed: composition, light, camera.

Drawn at twice the finished size with plain NumPy, so that neither the image before JPEG nor the
mask depends on the version of an imaging library.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from densebench.datasets.scenes.shapes import OBJECTS, Part, Points
from densebench.datasets.scenes.textures import (
    PAINTS,
    Colour,
    Field,
    Rng,
    between,
    blend,
    brick,
    mix,
    noise,
)

SIZE = 224
VOID = 255
SKY, GROUND, FIRST_OBJECT = 0, 1, 2
_SCALE = 2
_CANVAS = SIZE * _SCALE
_SKY_PAINTS = (1, 4, 5, 5, 5, 6, 8, 9, 11)
_GROUND_PAINTS = (1, 2, 3, 3, 7, 8, 9, 10)
_KINDS = tuple(OBJECTS)
_HILL = 0.22  # how near the ground still is at the horizon, where 1 is its nearest row's own
_METRES = 2.0  # how far away the ground is where it is as near as 1


@dataclass
class _Canvas:
    """The picture (h, w, 3) in [0, 1], and which surface is seen: 0 sky, 1 ground, 2.. objects."""

    picture: Field
    seen: NDArray[np.uint8]
    light: tuple[float, float]


@dataclass(frozen=True)
class Scene:
    """A scene of 224x224 pixels: the image, class indices (255 = void), and metres (0 = none)."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    depth: NDArray[np.float64]


def scene(seed: tuple[int, ...]) -> Scene:
    """The scene of that seed."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    canvas, horizon = _landscape(rng)
    kinds, feet = _place_objects(rng, canvas, horizon)
    classes = np.array([SKY, GROUND, *kinds], np.uint8)
    image, mask = _photograph(rng, canvas), _mask(canvas.seen, classes)
    return Scene(image, mask, _depth(canvas.seen, mask, horizon, feet))


def _grid(top: int, bottom: int, left: int, right: int) -> tuple[Field, Field]:
    """Coordinates x (1, w) and y (h, 1), which broadcast to a window of the canvas."""
    x, y = np.arange(left, right, dtype=np.float32), np.arange(top, bottom, dtype=np.float32)
    return x[None], y[:, None]


def _paint(rng: Rng, indices: tuple[int, ...]) -> Colour:
    return PAINTS[indices[int(rng.random() * len(indices))]]


def _two_paints(rng: Rng) -> tuple[Colour, Colour]:
    first = int(rng.random() * len(PAINTS))
    second = first + 1 + int(rng.random() * (len(PAINTS) - 1))
    return PAINTS[first], PAINTS[second % len(PAINTS)]


def _landscape(rng: Rng) -> tuple[_Canvas, float]:
    """Sky over ground, and the height of the horizon as a fraction of the image."""
    x, y = _grid(0, _CANVAS, 0, _CANVAS)
    horizon = between(rng, 0.34, 0.58)
    # In float64, as the outlines are: float32 sines differ between processors, masks must not.
    ridge = np.full((1, _CANVAS), horizon * _CANVAS)
    for k in (1, 2, 4):
        phase = k * np.arange(_CANVAS) / 130 + between(rng, 0, 6.28)
        ridge += between(rng, 0.0, 9.0) / k * np.sin(phase)
    below = y > ridge
    top, bottom = int(ridge.min()), int(ridge.max()) + 1
    picture = np.empty((_CANVAS, _CANVAS, 3), np.float32)
    picture[:bottom] = _sky(rng, x, y[:bottom], horizon)
    ground = _ground(rng, x, y[top:], horizon)
    np.copyto(picture[top:], ground, where=below[top:, :, None])
    light = (between(rng, -0.9, 0.9), -between(rng, 0.3, 0.9))
    return _Canvas(picture, below.astype(np.uint8), light), horizon


def _sky(rng: Rng, x: Field, y: Field, horizon: float) -> Field:
    colour = mix(_paint(rng, _SKY_PAINTS), (0.75, 0.84, 0.95), between(rng, 0.15, 0.65))
    descent = np.clip(y / (horizon * _CANVAS), 0, 1)
    plain = blend(colour, mix(colour, (1.0, 0.97, 0.9), 0.6), descent)
    size = between(rng, 40, 90)
    cover = 0.65 * noise(rng, x / (2 * size), y / size) + 0.35 * noise(rng, x / 34, y / 17)
    cloud = np.clip((cover - between(rng, 0.4, 0.8)) * 4, 0, 0.85)[..., None]
    white = np.asarray(mix(colour, (1.0, 1.0, 1.0), 0.8), np.float32)
    return np.asarray(plain * (1 - cloud) + white * cloud)


def _ground(rng: Rng, x: Field, y: Field, horizon: float) -> Field:
    """Meadow, ploughed land or paving, seen in perspective."""
    colour, other = _paint(rng, _GROUND_PAINTS), _paint(rng, _GROUND_PAINTS)
    nearness = _nearness(y, horizon)
    across, away = (x - between(rng, 0.3, 0.7) * _CANVAS) / nearness, 60 / nearness
    kind = rng.random()
    if kind < 0.5:
        blades = noise(rng, across / 5, 2 * away)
        patches = noise(rng, across / 90, away / 8)
        return blend(colour, mix(colour, other, 0.4), patches) * (0.75 + 0.4 * blades)[..., None]
    if kind < 0.75:
        ridge = noise(rng, across / 14, np.zeros_like(away)) + 0.35 * noise(rng, across / 4, away)
        return np.asarray(mix(colour, other, 0.2), np.float32) * (0.62 + 0.45 * ridge)[..., None]
    course = between(rng, 3.0, 5.0)
    return brick(rng, across / 14, away, course, (mix(colour, PAINTS[8], 0.4), other))


def _nearness(y: Field, horizon: float) -> Field:
    """What the ground's depth is the inverse of, at rows of the canvas."""
    return np.clip((y / _CANVAS - horizon) / (1 - horizon), 0, 1) + _HILL


def _place_objects(
    rng: Rng, canvas: _Canvas, horizon: float
) -> tuple[list[int], NDArray[np.float64]]:
    """Draws 3 to 6 objects, the far ones first.

    Returns:
        Their classes in that order, and the rows of the canvas where they stand on the ground; of
        a balloon, which does not, above which place of the ground it is.
    """
    count = 3 + int(rng.random() * 4)
    chosen = np.argsort(rng.random(len(_KINDS)))[:count]
    feet = np.sort(rng.random(count))
    columns = (np.argsort(rng.random(count)) + rng.random(count)) / count
    for order in range(count):
        name, near = _KINDS[int(chosen[order])], float(feet[order])
        low, high = OBJECTS[name].heights
        height = _SCALE * (low + (high - low) * (0.6 * near + 0.4 * float(rng.random())))
        x = float(columns[order]) * _CANVAS
        y = (horizon + 0.06 + (0.92 - horizon) * near) * _CANVAS
        if name == "balloon":
            y = between(rng, 0.45, 0.85) * (horizon + 0.15) * _CANVAS
        else:
            _cast_shadow(canvas, x, y, height)
        parts = OBJECTS[name].build(rng, *_two_paints(rng))
        mirror = -1 if rng.random() < 0.5 else 1
        for part in parts:
            outline = part.outline * (mirror * height, height) + (x, y)
            placed = replace(part, outline=outline, period=max(part.period * height, 3.0))
            _draw(rng, canvas, placed, FIRST_OBJECT + order)
    standing = (horizon + 0.06 + (0.92 - horizon) * feet) * _CANVAS
    return [FIRST_OBJECT + int(kind) for kind in chosen], standing


def _cast_shadow(canvas: _Canvas, x: float, y: float, height: float) -> None:
    """Darkens the ground beside the foot of an object, away from the light."""
    top, bottom = (int(np.clip(y + s * 0.12 * height, 0, _CANVAS)) for s in (-1, 1))
    centre = x - 0.35 * height * canvas.light[0]
    grid_x, grid_y = _grid(top, bottom, 0, _CANVAS)
    reach = ((grid_x - centre) / (0.6 * height)) ** 2 + ((grid_y - y) / (0.1 * height)) ** 2
    depth = np.where(canvas.seen[top:bottom] == GROUND, 0.4 * np.clip(1.3 - reach, 0, 1), 0)
    canvas.picture[top:bottom] *= (1 - depth).astype(np.float32)[..., None]


def _draw(rng: Rng, canvas: _Canvas, part: Part, instance: int) -> None:
    """Fills one part, whose outline and period are in canvas pixels, with its shaded texture."""
    first, last = part.outline.min(axis=0), part.outline.max(axis=0)
    left, top = np.clip(np.floor(first).astype(int), 0, _CANVAS).tolist()
    right, bottom = np.clip(np.ceil(last).astype(int), 0, _CANVAS).tolist()
    if left == right or top == bottom:
        return
    window = slice(top, bottom), slice(left, right)
    inside = _filled(part.outline - (left, top), bottom - top, right - left)
    x, y = _grid(top, bottom, left, right)
    (u0, v0), (half_u, half_v) = ((first + last) / 2).tolist(), ((last - first) / 2).tolist()
    shade = _shade((x - u0) / half_u, (y - v0) / half_v, canvas.light, part.roundness)
    surface = part.texture(rng, x, y, part.period, part.colours)
    np.copyto(canvas.picture[window], surface * shade[..., None], where=inside[..., None])
    canvas.seen[window][inside] = instance


def _filled(outline: Points, height: int, width: int) -> NDArray[np.bool_]:
    """Pixels (height, width) whose centres lie inside the outline, by the even-odd rule."""
    x0, y0 = outline.T
    x1, y1 = np.roll(outline, -1, axis=0).T
    line = np.arange(height)[:, None] + 0.5
    crosses = (y0 <= line) != (y1 <= line)
    steps = np.where(y1 == y0, 1.0, y1 - y0)
    at = np.ceil(x0 + (line - y0) * (x1 - x0) / steps - 0.5).astype(int).clip(0, width)
    flips = np.zeros((height, width + 1), np.uint8)
    rows, edges = np.nonzero(crosses)
    np.add.at(flips, (rows, at[rows, edges]), 1)
    return np.asarray(np.cumsum(flips, axis=1)[:, :width] % 2 == 1)


def _shade(u: Field, v: Field, light: tuple[float, float], roundness: float) -> Field:
    """Lambert's law on a surface between a flat one and a ball; ``u`` and ``v`` are in [-1, 1]."""
    toward = u * light[0] + v * light[1]
    facing = np.sqrt(np.clip(1 - 0.8 * (u * u + v * v), 0, 1))
    ball = 0.55 + 0.3 * facing + 0.35 * toward
    return (1 - roundness) * (1 + 0.12 * toward) + roundness * ball


def _mask(seen: NDArray[np.uint8], classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Class indices at the finished size, void wherever two surfaces meet."""
    blocks = seen.reshape(SIZE, _SCALE, SIZE, _SCALE)
    low, high = blocks.min(axis=(1, 3)), blocks.max(axis=(1, 3))
    padded_low, padded_high = np.pad(low, 1, mode="edge"), np.pad(high, 1, mode="edge")
    shifts = [(dy, dx) for dy in range(3) for dx in range(3)]
    low = np.min([padded_low[dy : dy + SIZE, dx : dx + SIZE] for dy, dx in shifts], axis=0)
    high = np.max([padded_high[dy : dy + SIZE, dx : dx + SIZE] for dy, dx in shifts], axis=0)
    return np.where(low == high, classes[low], VOID).astype(np.uint8)


def _depth(
    seen: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    horizon: float,
    feet: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Metres at the finished size: about 1.6 to 9. The sky has none, nor has what is void.

    The ground is drawn in the perspective whose depth this is; objects are upright screens that
    stand on it, or hang over it.
    """
    rows = np.arange(SIZE, dtype=np.float64)[:, None] * _SCALE + (_SCALE - 1) / 2
    objects = _METRES / _nearness(feet, horizon)
    surfaces = np.array([0.0, 0.0, *objects])
    surface = seen[::_SCALE, ::_SCALE]
    ground = _METRES / _nearness(rows, horizon)
    metres = np.where(surface == GROUND, ground, surfaces[surface])
    return np.where(mask == VOID, 0.0, metres)


def _photograph(rng: Rng, canvas: _Canvas) -> NDArray[np.uint8]:
    """What a camera makes of it: exposure, white balance, gamma, focus, sensor noise."""
    picture = _reduced(canvas.picture)
    across = np.arange(SIZE)[:, None] / SIZE - 0.5
    slope = 1 + between(rng, 0, 0.3) * canvas.light[0] * across
    warmth, gain = between(rng, -0.08, 0.08), between(rng, 0.72, 1.12)
    balance = gain * np.asarray([1 + warmth, 1, 1 - warmth])
    picture = np.clip(picture * slope * balance, 0, 1) ** between(rng, 0.8, 1.25)
    if rng.random() < 0.4:
        picture = _blurred(picture, between(rng, 0.5, 1.6))
    # The sum of three uniform numbers is near enough to normal; its variance is 1 / 4.
    bell = rng.random((3, SIZE, SIZE, 3)).sum(axis=0) - 1.5
    grainy = picture + between(rng, 0, 0.07) * bell
    return np.asarray(np.rint(255 * np.clip(grainy, 0, 1)), np.uint8)


def _reduced(picture: Field) -> Field:
    """The mean of every block of 2 x 2 pixels."""
    rows = picture[::2] + picture[1::2]
    return (rows[:, ::2] + rows[:, 1::2]) / 4


def _blurred(picture: Field, sigma: float) -> Field:
    """Separable Gaussian blur; the border is repeated."""
    reach = int(np.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    rows = np.pad(picture, ((reach, reach), (0, 0), (0, 0)), mode="edge")
    mixed = np.zeros_like(picture)
    for k, weight in enumerate(weights.tolist()):
        mixed += weight * rows[k : k + SIZE]
    columns = np.pad(mixed, ((0, 0), (reach, reach), (0, 0)), mode="edge")
    blurred = np.zeros_like(picture)
    for k, weight in enumerate(weights.tolist()):
        blurred += weight * columns[:, k : k + SIZE]
    return blurred
