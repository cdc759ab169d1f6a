"""Pictures of predictions: palette label maps of chosen images, and sheets that set them out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image, ImageDraw, ImageFont

from densebench.datasets import Dataset, Split
from densebench.protocols.base import Prediction
from densebench.scoring import label_map

VOID_COLOUR = (224, 224, 224)
GAP, HEADER = 6, 22


@dataclass
class PanelKeeper:
    """Keeps the label maps, at input size, of the first ``count`` validation images."""

    count: int
    _labels: dict[int, Int64[np.ndarray, "H W"]] = field(default_factory=dict)

    def add(self, prediction: Prediction) -> None:
        """Keep what is wanted of one prediction; of repeats, the first."""
        for position, index in enumerate(prediction.indices.tolist()):
            if index < self.count and prediction.repeat == 0:
                size = tuple(prediction.masks[position].shape)
                self._labels[index] = label_map(prediction, position, size)

    def save(self, folder: Path, dataset: Dataset, mapping: Sequence[int]) -> None:
        """One palette PNG per image, named as the image, clusters renamed to their classes."""
        folder.mkdir(parents=True, exist_ok=True)
        for index, labels in self._labels.items():
            classes = np.asarray(mapping)[labels].astype(np.uint8)
            coloured(classes, dataset.palette).save(folder / f"{dataset.val.names[index]}.png")


def panel_folder(record: Path) -> Path:
    """Where the label maps of a record lie: beside it."""
    return record.with_suffix(".panels")


def coloured(
    labels: UInt8[np.ndarray, "h w"], palette: Sequence[tuple[int, int, int]]
) -> Image.Image:
    """A label map as a palette image; labels without a colour of their own are void."""
    image = Image.fromarray(labels)
    colours = list(palette[:256])
    colours += [VOID_COLOUR] * (256 - len(colours))
    image.putpalette([channel for colour in colours for channel in colour])
    return image


def contact_sheet(
    dataset: Dataset, names: Sequence[str], predictions: dict[str, Path], side: int
) -> Image.Image:
    """Rows of image, ground truth and one prediction per backbone; ``predictions`` are folders."""
    titles = ["image", "ground truth", *predictions]
    width = len(titles) * (side + GAP) + GAP
    height = HEADER + len(names) * (side + GAP)
    sheet = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for column, title in enumerate(titles):
        draw.text((GAP + column * (side + GAP), 3), title, fill="black", font=font)
    for row, name in enumerate(names):
        cells = _cells(dataset, dataset.val, name, list(predictions.values()), side)
        for column, cell in enumerate(cells):
            sheet.paste(cell, (GAP + column * (side + GAP), HEADER + row * (side + GAP)))
    return sheet


def _cells(
    dataset: Dataset, split: Split, name: str, predictions: list[Path], side: int
) -> list[Image.Image]:
    index = split.names.index(name)
    image = split.image(index).resize((side, side), Image.Resampling.BILINEAR)
    maps = [coloured(split.mask(index), dataset.palette)]
    maps += [Image.open(folder / f"{name}.png") for folder in predictions]
    return [image, *(m.convert("RGB").resize((side, side), Image.Resampling.NEAREST) for m in maps)]
