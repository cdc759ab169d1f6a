"""What ``--save-panels`` leaves beside a record: small pictures of some validation images.

A folder ``RECORD.panels`` holds, for each image, what the backbone saw, truth and prediction as
palette PNGs at input size (of class indices, or of places on a scale that ``bar.png`` shows), the
principal components of its patches, and for retrieval a sprite of the nearest memory patches;
``index.json`` says what is what.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from pydantic import Field, model_validator

from densebench.cards import validate
from densebench.files.regular import read_json
from densebench.host.errors import DensebenchError
from densebench.records.scales import Scale, bar
from densebench.records.schema import Part
from densebench.records.store import INDEX, PANELS, beside

VOID_COLOUR = (224, 224, 224)
GAP, HEADER = 6, 22
PICTURES = ("PNG", "JPEG", "WEBP")  # no format whose reader starts a program

# A plain name: an index that somebody sends cannot lead out of its folder.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_@+-][A-Za-z0-9_.@+-]*$")]
Side = Annotated[int, Field(gt=0, le=1_000_000)]
Place = tuple[int, int]  # row and column on a patch grid
Tile = tuple[int, int, int, int, int]  # image, augmentation pass, row, column, class


class MemoryPanel(Part):
    """The nearest memory patches of some patches of one image.

    A tile is one memory patch: which of ``images`` it is from, in which augmentation pass, its
    place on that view's grid, and the most frequent class of its pixels. The first ``pictured`` of
    ``tiles`` (all, where it is not said) lie in the sprite row by row; each shows its patch in the
    middle of its eight neighbours. ``nearest`` and ``similarity`` (cosine) are per query, best
    first.
    """

    images: list[str]  # names of training images
    sprite: FileName
    tile_side: int = Field(gt=0)
    sprite_columns: int = Field(gt=0)
    tiles: list[Tile]
    pictured: int | None = Field(default=None, ge=0)
    queries: list[Place] = Field(min_length=1)
    nearest: list[list[int]]
    similarity: list[list[float]]

    @model_validator(mode="after")
    def _tables_fit(self) -> "MemoryPanel":
        lengths = {len(self.queries), len(self.nearest), len(self.similarity)}
        pairs = zip(self.nearest, self.similarity, strict=False)
        if len(lengths) > 1 or any(len(tiles) != len(values) for tiles, values in pairs):
            raise ValueError("queries, nearest and similarity must be of one length")
        rows, columns = (sorted(set(places)) for places in zip(*self.queries, strict=True))
        if self.queries != [(row, column) for row in rows for column in columns]:
            raise ValueError("queries must be a grid, row by row")
        if any(not 0 <= tile < len(self.tiles) for tiles in self.nearest for tile in tiles):
            raise ValueError("nearest names a tile that is not there")
        if any(not 0 <= tile[0] < len(self.images) for tile in self.tiles):
            raise ValueError("a tile names an image that is not there")
        return self


class Panel(Part):
    """The pictures of one validation image, whose width and height in pixels are its ``size``."""

    name: str
    size: tuple[Side, Side] | None = None  # not kept by older versions
    image: FileName
    truth: FileName
    prediction: FileName
    pca: FileName
    memory: MemoryPanel | None = None


class PanelIndex(Part):
    """The file ``index.json``. Components are fitted jointly on the patches of all its images.

    Where ``scale`` says what the maps' places stand for, the class of a memory tile is that value
    in hundredths of its unit.
    """

    schema_version: Literal[1] = 1
    run_id: str
    grid: int = Field(gt=0)  # rows of patches
    columns: int | None = Field(default=None, gt=0)  # where it is not said, as many
    palette: list[tuple[int, int, int]]  # of the classes, or of the scale
    scale: Scale | None = None  # of values that are no labels
    panels: list[Panel]


def panel_folder(record: Path) -> Path:
    """Where the panels of a record lie: beside it."""
    return beside(record, PANELS)


def load_panels(folder: Path) -> PanelIndex | None:
    """The index of a folder of panels; none where there is none.

    Raises:
        DensebenchError: it is no index, or of a schema that this version does not know.
    """
    file = folder / INDEX
    if not file.is_file():
        return None
    try:
        values = read_json(file)
    except (OSError, ValueError) as error:
        raise DensebenchError(f"{file}: not an index of panels: {error}") from error
    if not isinstance(values, dict):
        raise DensebenchError(f"{file}: not an index of panels: it holds no JSON object")
    return validate(PanelIndex, values, str(file))


def open_picture(file: Path) -> tuple[Image.Image, bytes]:
    """A picture of a panel, decoded, and the file's content.

    Only a file that lies in the folder itself: a link could show another of the machine.

    Raises:
        DensebenchError: it is a link, no regular file, or no PNG, JPEG or WebP.
    """
    if file.is_symlink() or not file.is_file():
        raise DensebenchError(f"{file}: not a picture of a panel: no regular file")
    content = file.read_bytes()
    try:
        with Image.open(io.BytesIO(content), formats=PICTURES) as image:
            image.load()
            return image, content
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DensebenchError(f"{file}: not a picture of a panel: {error}") from error


def coloured(
    labels: UInt8[np.ndarray, "h w"], palette: Sequence[tuple[int, int, int]]
) -> Image.Image:
    """A label map as a palette image; labels without a colour of their own are void."""
    image = Image.fromarray(labels)
    colours = list(palette[:256])
    colours += [VOID_COLOUR] * (256 - len(colours))
    image.putpalette([channel for colour in colours for channel in colour])
    return image


def contact_sheet(predictions: dict[str, Path], side: int) -> Image.Image:
    """Rows of image, ground truth and one prediction per backbone; of depth, a bar under them.

    Args:
        predictions: folders of panels of the same images, by the backbone's name.
        side: of each picture in pixels.

    Raises:
        DensebenchError: a folder without an index.
    """
    indices = {folder: load_panels(folder) for folder in predictions.values()}
    for folder, index in indices.items():
        if index is None:
            raise DensebenchError(f"{folder}: no panels there; --save-panels keeps them")
    columns = [[(f, p) for p in index.panels] for f, index in indices.items() if index]
    titles = ["image", "ground truth", *predictions]
    rows = list(zip(*columns, strict=True))
    sheet = Image.new(
        "RGB", (len(titles) * (side + GAP) + GAP, HEADER + len(rows) * (side + GAP)), "white"
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for column, title in enumerate(titles):
        draw.text((GAP + column * (side + GAP), 3), title, fill="black", font=font)
    for row, panels in enumerate(rows):
        for column, cell in enumerate(_cells(panels, side)):
            sheet.paste(cell, (GAP + column * (side + GAP), HEADER + row * (side + GAP)))
    scale = next((index.scale for index in indices.values() if index and index.scale), None)
    return sheet if scale is None else _with_bar(sheet, scale)


def _with_bar(sheet: Image.Image, scale: Scale) -> Image.Image:
    strip = bar(scale, sheet.width - 2 * GAP)
    whole = Image.new("RGB", (sheet.width, sheet.height + strip.height + GAP), "white")
    whole.paste(sheet, (0, 0))
    whole.paste(strip, (GAP, sheet.height))
    return whole


def _cells(panels: Sequence[tuple[Path, Panel]], side: int) -> list[Image.Image]:
    folder, first = panels[0]
    photograph, _ = open_picture(folder / first.image)
    photograph = photograph.resize((side, side), Image.Resampling.BILINEAR)
    files = [folder / first.truth, *(f / panel.prediction for f, panel in panels)]
    maps = [open_picture(file)[0].convert("RGB") for file in files]
    return [photograph, *(m.resize((side, side), Image.Resampling.NEAREST) for m in maps)]
