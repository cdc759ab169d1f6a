"""Panels of many records as pictures inside one page, within a budget of its size."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from densebench.host.errors import DensebenchError
from densebench.records.panels import (
    Panel,
    PanelIndex,
    coloured,
    load_panels,
    open_picture,
    panel_folder,
)
from densebench.records.scales import VOID_PLACE, Scale
from densebench.report.board.tables import Table

BUDGET = 24_000_000  # characters of all pictures of a page
LARGEST = 224  # pixels on a side of an embedded label map
FOLDERS = ("folder", "depth_folder")  # kinds whose name tells nothing of the images
RIGHT, VOID, WRONG = 0, 1, 2
ERROR_COLOURS = ((0, 0, 0, 0), (128, 128, 128, 90), (214, 69, 63, 255))


@dataclass(frozen=True)
class Shown:
    """One kept image of one row: where its pictures lie and what the index says of them."""

    row: int
    folder: Path
    index: PanelIndex
    panel: Panel
    ignore_index: int  # of labels, or the place of what has no value

    @property
    def scale(self) -> Scale | None:
        """Of values that are no labels."""
        return self.index.scale


Kept = tuple[str, list[Shown]]  # an image's name, and the rows that kept it


@dataclass(frozen=True)
class Examples:
    """The validation images of one table that stand in the page, of so many that were kept."""

    shown: list[dict[str, Any]]
    kept: int

    @property
    def palette(self) -> list[str]:
        """The colours of the dataset's classes; none where no image is shown, or no labels."""
        return [] if not self.shown or self.shown[0]["scale"] else self.shown[0]["palette"]


def embedded(tables: Sequence[Table]) -> list[Examples]:
    """Per table its validation images, each with the pictures of every row that kept it.

    First come the label maps of the first image of each table, then their memory patches table by
    table, then the second image, and so on until ``BUDGET`` is reached.
    """
    images = [list(_by_image(table).items()) for table in tables]
    examples = [Examples([], len(found)) for found in images]
    _fill(images, examples)
    return examples


def _fill(images: Sequence[Sequence[Kept]], examples: Sequence[Examples]) -> None:
    """Add pictures in their order while they fit."""
    left = BUDGET
    for number in range(max(map(len, images), default=0)):
        here = [(t, *found[number]) for t, found in enumerate(images) if number < len(found)]
        for t, name, panels in here:
            example = _example(name, panels)
            left -= _size(example)
            if left < 0:
                return
            examples[t].shown.append(example)
        for t, _, panels in here:
            memories = [_memory(panel) for panel in panels]
            left -= _size(memories)
            if left < 0:
                return
            example = examples[t].shown[number]
            example["trimmed"] = False
            for model, memory in zip(example["models"], memories, strict=True):
                model["memory"] = memory


def _size(value: Any) -> int:
    return len(json.dumps(value))


def _by_image(table: Table) -> dict[str, list[Shown]]:
    images: dict[str, list[Shown]] = {}
    for number, row in enumerate(table.rows):
        path, record = row.found[0]
        folder = panel_folder(path)
        index, ignored = load_panels(folder), record.dataset.ignore_index
        if index is not None and index.scale is not None:
            ignored = VOID_PLACE
        if index is None or ignored is None:
            continue
        for panel in index.panels:
            shown = Shown(number, folder, index, panel, ignored)
            images.setdefault(panel.name, []).append(shown)
    return images


def _example(name: str, panels: Sequence[Shown]) -> dict[str, Any]:
    """One validation image: what all rows share, and the pictures of each."""
    first = panels[0]
    truth = _labels(first, first.panel.truth)
    present = sorted({int(label) for label in np.unique(truth)} - {first.ignore_index})
    return {
        "name": name,
        "image": _file_uri(first.folder / first.panel.image),
        "ratio": _ratio(panels),
        "truth": _palette_uri(first, first.panel.truth),
        "present": [] if first.scale else present,
        "scale": first.scale.model_dump() if first.scale else None,
        "palette": [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in first.index.palette],
        "models": [_model(panel) for panel in panels],
        "trimmed": any(panel.panel.memory for panel in panels),  # until they are added
    }


def _ratio(panels: Sequence[Shown]) -> float:
    """Width by height of the photograph; of older panels, of what the backbone saw."""
    known = [shown.panel.size for shown in panels if shown.panel.size is not None]
    size = known[0] if known else open_picture(panels[0].folder / panels[0].panel.image)[0].size
    return round(size[0] / size[1], 4)


def _model(shown: Shown) -> dict[str, Any]:
    truth, prediction = (
        _labels(shown, file) for file in (shown.panel.truth, shown.panel.prediction)
    )
    if truth.shape != prediction.shape:
        raise DensebenchError(f"{shown.folder}: truth and prediction are of different sizes")
    if shown.scale is not None:
        return _model_of_values(shown, shown.scale, truth, prediction)
    errors = error_map(truth, prediction, shown.ignore_index)
    scored = int((errors != VOID).sum())
    return {
        "row": shown.row,
        "grid": shown.index.grid,
        "columns": shown.index.columns or shown.index.grid,
        "wrong": float((errors == WRONG).sum()) / scored if scored else None,
        "prediction": _palette_uri(shown, shown.panel.prediction),
        "error": _error_uri(errors),
        "pca": _file_uri(shown.folder / shown.panel.pca),
    }


def _model_of_values(
    shown: Shown,
    scale: Scale,
    truth: UInt8[np.ndarray, "h w"],
    prediction: UInt8[np.ndarray, "h w"],
) -> dict[str, Any]:
    """The error of values in their own unit, as their pictures tell it: to 1/254 of the scale."""
    apart = np.abs(scale.values(prediction) - scale.values(truth))
    known = np.isfinite(apart)
    errors = Scale(low=0.0, high=scale.high - scale.low, unit=scale.unit)
    painted = coloured(errors.places(np.nan_to_num(apart), known), shown.index.palette)
    off = float(np.sqrt(np.square(apart[known]).mean())) if known.any() else None
    return {
        "row": shown.row,
        "grid": shown.index.grid,
        "columns": shown.index.columns or shown.index.grid,
        "off": off,
        "prediction": _palette_uri(shown, shown.panel.prediction),
        "error": _png_uri(_smaller(painted)),
        "pca": _file_uri(shown.folder / shown.panel.pca),
    }


def error_map(
    truth: UInt8[np.ndarray, "h w"], prediction: UInt8[np.ndarray, "h w"], ignore_index: int
) -> UInt8[np.ndarray, "h w"]:
    """``RIGHT``, ``WRONG``, or ``VOID`` where no score counts."""
    wrong: Bool[np.ndarray, "h w"] = truth != prediction
    return np.where(truth == ignore_index, VOID, np.where(wrong, WRONG, RIGHT)).astype(np.uint8)


def _memory(shown: Shown) -> dict[str, Any] | None:
    memory = shown.panel.memory
    if memory is None:
        return None
    sprite = _file_uri(shown.folder / memory.sprite)
    near = [[round(value, 2) for value in values] for values in memory.similarity]  # as printed
    return {**memory.model_dump(mode="json"), "sprite": sprite, "similarity": near}


def _labels(shown: Shown, file: str) -> UInt8[np.ndarray, "h w"]:
    image, _ = open_picture(shown.folder / file)
    if image.mode != "P":
        raise DensebenchError(f"{shown.folder / file}: not a palette PNG of class indices")
    return np.asarray(image)


def _palette_uri(shown: Shown, file: str) -> str:
    image, _ = open_picture(shown.folder / file)
    return (
        _png_uri(_smaller(image)) if max(image.size) > LARGEST else _file_uri(shown.folder / file)
    )


def _error_uri(errors: UInt8[np.ndarray, "h w"]) -> str:
    image = Image.fromarray(errors)
    image.putpalette([channel for colour in ERROR_COLOURS for channel in colour[:3]])
    transparency = bytes(colour[3] for colour in ERROR_COLOURS)
    return _png_uri(_smaller(image), transparency=transparency)


def _smaller(image: Image.Image) -> Image.Image:
    share = LARGEST / max(image.size)
    if share >= 1:
        return image
    width, height = (max(1, round(share * side)) for side in image.size)
    return image.resize((width, height), Image.Resampling.NEAREST)


def _file_uri(file: Path) -> str:
    """A file as it is, once it is known to be a picture."""
    image, content = open_picture(file)
    return _uri(content, str(image.format))


def _png_uri(image: Image.Image, **options: Any) -> str:
    content = io.BytesIO()
    image.save(content, format="PNG", **options)
    return _uri(content.getvalue(), "PNG")


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content).decode()}"


def dataset_name(table: Table) -> str:
    """The dataset whose images a table's panels show; a folder goes by its task's name."""
    kind = table.record.dataset.kind
    return table.task if kind in FOLDERS else kind
