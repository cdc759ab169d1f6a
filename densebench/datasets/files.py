"""Image files: opened safely, and listed by name."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from densebench.files.tree import list_names, open_file
from densebench.host.errors import DensebenchError

PHOTOS = (".jpg", ".jpeg", ".png")
MASKS = (".png",)
# Pillow tells of a broken file in each of these ways, according to the format and the place.
_BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def read_image(file: Path) -> Image.Image:
    """The image as RGB.

    Raises:
        DensebenchError: no readable image.
    """
    try:
        with open_file(file) as stream, Image.open(stream) as image:
            rgb: Image.Image = image.convert("RGB")
            return rgb
    except _BROKEN as error:
        raise _unreadable(file, "image", error) from error


def image_size(file: Path) -> tuple[int, int]:
    """Width and height, from the header alone.

    Raises:
        DensebenchError: no readable image.
    """
    try:
        with open_file(file) as stream, Image.open(stream) as image:
            size: tuple[int, int] = image.size
            return size
    except _BROKEN as error:
        raise _unreadable(file, "image", error) from error


def read_indices(file: Path) -> UInt8[np.ndarray, "h w"]:
    """The 8-bit values of a mask file: of a palette image the indices, not the colours.

    Raises:
        DensebenchError: not readable, or not 8-bit with one channel.
    """
    return _read_pixels(file, ("L", "P"), "8-bit with one channel (greyscale or palette PNG)")


def read_colours(file: Path) -> UInt8[np.ndarray, "h w 3"]:
    """The red, green and blue values of a mask file that codes ids as colours.

    Raises:
        DensebenchError: not readable, or not 8-bit RGB.
    """
    return _read_pixels(file, ("RGB",), "8-bit RGB (COCO panoptic PNG)")


def _read_pixels(file: Path, modes: tuple[str, ...], wanted: str) -> Shaped[np.ndarray, "h w ..."]:
    try:
        with open_file(file) as stream, Image.open(stream) as image:
            if image.mode not in modes:
                raise DensebenchError(f"{file}: a mask must be {wanted}, not mode {image.mode}")
            return np.array(image)
    except _BROKEN as error:
        raise _unreadable(file, "mask", error) from error


def _unreadable(file: Path, what: str, error: BaseException) -> DensebenchError:
    reason = getattr(error, "strerror", None) or str(error)
    return DensebenchError(f"{file}: not a readable {what} ({reason}); replace the file")


@dataclass(frozen=True)
class Listing:
    """The files of a folder by name without suffix."""

    folder: Path
    files: Mapping[str, str]


def list_files(folder: Path, suffixes: tuple[str, ...]) -> Listing:
    """The files with one of these suffixes, in either case.

    Raises:
        DensebenchError: no such folder, or two files of one name under different suffixes.
    """
    try:
        names = sorted(list_names(folder))
    except OSError as error:
        raise DensebenchError(f"{folder}: cannot be listed: {error.strerror}") from error
    found: dict[str, str] = {}
    for name in names:
        stem, dot, ending = name.rpartition(".")
        # macOS leaves ._NAME beside every file of an archive that was packed there.
        if (dot + ending).lower() not in suffixes or name.startswith("."):
            continue
        if stem in found:
            other = os.path.basename(found[stem])  # noqa: PTH119 - as below
            raise DensebenchError(
                f"{folder}: {other} and {name} have one name, so that it is not known which is "
                "meant; move one of them away"
            )
        found[stem] = os.path.join(folder, name)  # noqa: PTH118 - a Path is slow
    return Listing(folder, found)
