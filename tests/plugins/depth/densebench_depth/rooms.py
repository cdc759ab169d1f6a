"""Drawn rooms with their depth: images beside 16-bit PNGs, made on first use.

The farther a surface is, the darker it is drawn, with texture and noise on top. A tenth of the
pixels is invalid, as where a sensor sees no return, and one image has no valid pixel at all.
"""

import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image
from pydantic import Field

from densebench import DensebenchError
from densebench.cards import DatasetCard
from densebench.datasets import (
    MASKS,
    PHOTOS,
    DatasetKind,
    Split,
    SplitName,
    Target,
    base_folder,
    list_files,
    listed_names,
    make_split,
)
from densebench.host.paths import cache_home

COUNTS = {"train": 24, "val": 12}
HEIGHT, WIDTH = 96, 128
INVALID = 0.0
LIGHT = 4.0  # metres in which brightness falls by e


class RoomsCard(DatasetCard):
    """``metres`` is the depth that one step of a 16-bit PNG stands for."""

    metres: float = Field(default=0.001, gt=0, allow_inf_nan=False)


@dataclass(frozen=True)
class DepthReader:
    """Reads 16-bit PNGs; 0 is invalid."""

    metres: float

    def read(self, file: Path) -> Float[np.ndarray, "h w"]:
        """Depth in metres of every pixel.

        Raises:
            DensebenchError: no readable 16-bit PNG.
        """
        try:
            with Image.open(file, formats=["PNG"]) as image:
                steps = np.array(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise DensebenchError(f"{file}: not a readable depth map ({error})") from error
        if steps.ndim != 2 or steps.dtype == np.uint8:
            raise DensebenchError(f"{file}: a depth map must be a 16-bit PNG with one channel")
        return (steps * self.metres).astype(np.float32)

    def rules(self, file: Path) -> bytes:
        """What a step stands for."""
        return repr(self.metres).encode()


def read_split(
    card: DatasetCard, root: Path, split: SplitName, names: tuple[str, ...] | None
) -> Split:
    """The listed images, with ``depth/NAME.png``."""
    assert isinstance(card, RoomsCard)
    return make_split(
        split,
        names or listed_names(root / f"{split}.txt"),
        images=list_files(root / "images", PHOTOS),
        masks=list_files(root / "depth", MASKS),
        reader=DepthReader(card.metres),
        target=TARGET,
    )


def find_root(card: DatasetCard, card_path: Path | None, data_root: str | Path | None) -> Path:
    """The place that is given, or the drawn rooms in the cache."""
    if card.root is not None or data_root is not None:
        return base_folder(card, card_path, data_root)
    root = cache_home() / "rooms-v1"
    if not root.is_dir():
        building = root.parent / f".rooms.{uuid.uuid4().hex}"
        draw(building)
        building.rename(root)
    return root


def draw(root: Path) -> None:
    """All rooms."""
    for name in ("images", "depth"):
        (root / name).mkdir(parents=True)
    for split, count in COUNTS.items():
        names = [f"{split}_{index:03d}" for index in range(count)]
        (root / f"{split}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
        for index, name in enumerate(names):
            rng = np.random.default_rng([list(COUNTS).index(split), index])
            depth = room(rng)
            picture(rng, depth).save(root / "images" / f"{name}.png")
            depth[rng.random(depth.shape) < 0.1] = INVALID
            if name == "val_000":
                depth[:] = INVALID
            Image.fromarray(np.rint(depth * 1000).astype(np.uint16)).save(
                root / "depth" / f"{name}.png"
            )


def room(rng: np.random.Generator) -> Float[np.ndarray, "h w"]:
    """Depth of a sloping wall with boxes before it, from about 1 to 9 metres."""
    rows, columns = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    depth = rng.uniform(5, 7) + rng.uniform(-2, 2) * (rows - 0.5) + rng.uniform(-2, 2) * columns
    for _ in range(3):
        top, left = rng.integers(0, HEIGHT // 2), rng.integers(0, WIDTH // 2)
        box = np.s_[top : top + HEIGHT // 2, left : left + WIDTH // 3]
        depth[box] = np.minimum(depth[box], rng.uniform(1, 5))
    return depth


def picture(rng: np.random.Generator, depth: Float[np.ndarray, "h w"]) -> Image.Image:
    """What a lamp beside the camera would show."""
    light = np.exp(-depth / LIGHT)[..., None] * rng.uniform(0.8, 1.0, 3)
    noisy = light + rng.normal(0, 0.03, (HEIGHT, WIDTH, 3))
    return Image.fromarray((255 * noisy.clip(0, 1)).astype(np.uint8))


TARGET = Target("depth", "float32", INVALID)
DATASET = DatasetKind(
    target=lambda card: TARGET,
    read_split=read_split,
    locate=find_root,
    card=RoomsCard,
)
