"""COCO's panoptic annotations: PNGs whose colours are segment ids, and a JSON that classes them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt8

from densebench.datasets.classes import VOID, coco_panoptic, coco_things, supercategory_indices
from densebench.datasets.image_files import read_colours
from densebench.datasets.masks import unknown_ids
from densebench.files.regular import parse_json
from densebench.files.tree import read_text
from densebench.host.errors import DensebenchError


@dataclass(frozen=True, eq=False)
class PanopticReader:
    """Reads panoptic PNGs as thing classes.

    The segments of all images lie in two flat arrays, since a dictionary of the 1.3 million of
    train2017 would be copied into every loader worker.

    Attributes:
        spans: first and last-plus-one segment by image name.
        segments: segment ids, ascending within an image.
        classes: their class indices, the ignore index for stuff.
    """

    spans: Mapping[str, tuple[int, int]]
    segments: Int32[np.ndarray, " n"]
    classes: UInt8[np.ndarray, " n"]

    def read(self, file: Path) -> UInt8[np.ndarray, "h w"]:
        """Class index of every pixel.

        Raises:
            DensebenchError: no 8-bit RGB image, or a segment that the JSON does not describe.
        """
        segments, classes = self._of(file)
        red, green, blue = np.moveaxis(read_colours(file).astype(np.int32), -1, 0)
        ids = red + 256 * green + 65536 * blue
        positions = np.minimum(np.searchsorted(segments, ids), len(segments) - 1)
        unknown = segments[positions] != ids
        if unknown.any():
            allowed = "0 and the segments that the panoptic JSON gives for this image"
            raise unknown_ids(file, ids[unknown], allowed)
        mask: UInt8[np.ndarray, "h w"] = classes[positions]
        return mask

    def rules(self, file: Path) -> bytes:
        """The segments of this image and their classes."""
        segments, classes = self._of(file)
        return segments.astype("<i4").tobytes() + classes.tobytes()

    def _of(self, file: Path) -> tuple[Int32[np.ndarray, " n"], UInt8[np.ndarray, " n"]]:
        """The image's segments, with 0 for what is not labelled."""
        start, stop = self.spans[file.stem]
        segments = np.concatenate([np.zeros(1, np.int32), self.segments[start:stop]])
        return segments, np.concatenate([np.full(1, VOID, np.uint8), self.classes[start:stop]])


def read_panoptic(file: Path) -> PanopticReader:
    """The reader of the PNGs that a panoptic JSON describes.

    Raises:
        DensebenchError: the file is missing or no panoptic JSON, or its categories are not COCO's.
    """
    try:
        content = parse_json(read_text(file))
        check_categories(content["categories"], file)
        return _reader(content["annotations"])
    except OSError as error:
        raise DensebenchError(f"{file}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DensebenchError(f"{file}: not a COCO panoptic JSON ({reason})") from error


def check_categories(categories: Iterable[Mapping[str, Any]], file: Path) -> None:
    """Compares categories with the table that the classes are made of.

    Raises:
        DensebenchError: a category is unknown, or is described otherwise.
    """
    known = {c.id: (c.name, c.supercategory, c.is_thing) for c in coco_panoptic()}
    for category in categories:
        given = (category["name"], category["supercategory"], bool(category["isthing"]))
        if known.get(category["id"]) != given:
            raise DensebenchError(
                f"{file}: category {category['id']} is {given}, but in COCO 2017 it is "
                f"{known.get(category['id'], 'not there')}; use the official JSON"
            )


def _reader(annotations: Iterable[Mapping[str, Any]]) -> PanopticReader:
    things = supercategory_indices(coco_things())
    targets = {category.id: things.get(category.id, VOID) for category in coco_panoptic()}
    spans: dict[str, tuple[int, int]] = {}
    segments: list[int] = []
    classes: list[int] = []
    for annotation in annotations:
        found = sorted((s["id"], targets[s["category_id"]]) for s in annotation["segments_info"])
        spans[Path(annotation["file_name"]).stem] = len(segments), len(segments) + len(found)
        segments.extend(segment for segment, _ in found)
        classes.extend(target for _, target in found)
    return PanopticReader(spans, np.array(segments, np.int32), np.array(classes, np.uint8))
