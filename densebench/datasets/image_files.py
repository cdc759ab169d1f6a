"""Image files: opened safely, and listed by name."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32, Integer, Shaped, UInt8
from PIL import Image, ImageFile, UnidentifiedImageError

from densebench.files.tree import list_names, open_file
from densebench.host.errors import DensebenchError

PHOTOS = (".jpg", ".jpeg", ".png")
MASKS = (".png",)
# What a file is goes by its content. Pillow knows some seventy formats more, and starts Ghostscript
# for one of them.
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
MASK_FORMATS = ("PNG",)
EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB")
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
# How a PNG stores what Pillow gives as it is; of 16 bits it gives eight, and 2 it stretches to 8.
UNCHANGED = ("L", "P", "P;1", "P;2", "P;4", "RGB")


def read_image(file: Path) -> Image.Image:
    """The image as RGB; of 16 bits the upper eight, in grey as in colour.

    Raises:
        DensebenchError: no readable image, or one of values whose range is not known.
    """
    with _opened(file, "image", IMAGE_FORMATS) as image:
        return as_rgb(image, str(file))


def as_rgb(image: Image.Image, name: str) -> Image.Image:
    """An image as :func:`read_image` gives it; ``name`` is told where it is none.

    Raises:
        DensebenchError: it has no pixel, or values whose range is not known.
    """
    if image.mode in SIXTEEN_BITS or (image.mode == "I" and image.format == "PNG"):
        values = np.asarray(image).astype(np.int32) >> 8
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if image.mode not in EIGHT_BITS:
        raise DensebenchError(
            f"{name}: not a readable image (values of mode {image.mode}, whose range is not "
            "known); save it with 8 bits a value"
        )
    if not all(image.size):
        raise DensebenchError(f"{name}: not a readable image (it has no pixel)")
    return image.convert("RGB")


def image_size(file: Path) -> tuple[int, int]:
    """Width and height, from the header alone.

    Raises:
        DensebenchError: no readable image.
    """
    with _opened(file, "image", IMAGE_FORMATS) as image:
        size: tuple[int, int] = image.size
        return size


def read_indices(file: Path) -> UInt8[np.ndarray, "h w"]:
    """The 8-bit values of a mask file: of a palette image the indices, not the colours.

    Raises:
        DensebenchError: not readable, or not 8-bit with one channel.
    """
    return _read_pixels(file, ("L", "P"), "8-bit with one channel (greyscale or palette PNG)")


def read_ids(file: Path) -> Integer[np.ndarray, "h w"]:
    """The values of a mask file of 8 or 16 bits.

    Raises:
        DensebenchError: not readable, or neither of them with one channel.
    """
    with _opened(file, "mask", MASK_FORMATS) as image:
        stored = str(image.tile[0][3]) if image.tile else "nothing"
        if image.mode in (*SIXTEEN_BITS, "I") and stored.startswith("I;16"):
            return np.asarray(image).astype(np.int32)
    return _read_pixels(file, ("L", "P"), "8-bit or 16-bit with one channel (greyscale, palette)")


def read_palette(file: Path) -> tuple[tuple[int, int, int], ...]:
    """The colours of a palette image by index, 256 of them; none of another.

    Raises:
        DensebenchError: not readable.
    """
    with _opened(file, "mask", MASK_FORMATS) as image:
        if image.mode != "P":
            return ()
        values = image.getpalette() or []
        values += [0] * (3 * 256 - len(values))
        return tuple((r, g, b) for r, g, b in zip(*[iter(values)] * 3, strict=True))


def read_colours(file: Path) -> UInt8[np.ndarray, "h w 3"]:
    """The red, green and blue values of a mask file that codes ids as colours.

    Raises:
        DensebenchError: not readable, or not 8-bit RGB.
    """
    return _read_pixels(file, ("RGB",), "8-bit RGB (COCO panoptic PNG)")


def read_sixteen_bits(file: Path) -> Int32[np.ndarray, "h w"]:
    """The 16-bit values of a map with one channel, such as a depth.

    Raises:
        DensebenchError: not readable, or not 16-bit with one channel.
    """
    with _opened(file, "map", MASK_FORMATS) as image:
        stored = str(image.tile[0][3]) if image.tile else "nothing"
        if image.mode not in (*SIXTEEN_BITS, "I") or not stored.startswith("I;16"):
            raise DensebenchError(
                f"{file}: a depth map must be a 16-bit PNG with one channel, not mode "
                f"{image.mode} (stored as {stored})"
            )
        return np.asarray(image).astype(np.int32)


def _read_pixels(file: Path, modes: tuple[str, ...], wanted: str) -> Shaped[np.ndarray, "h w ..."]:
    with _opened(file, "mask", MASK_FORMATS) as image:
        stored = str(image.tile[0][3]) if image.tile else "nothing"
        if image.mode not in modes or stored not in UNCHANGED:
            raise DensebenchError(
                f"{file}: a mask must be {wanted}, not mode {image.mode} (stored as {stored})"
            )
        return np.array(image)


@contextmanager
def _opened(file: Path, what: str, formats: tuple[str, ...]) -> Iterator[ImageFile.ImageFile]:
    """An image of one of these formats, whatever is wrong with it told in one line."""
    try:
        with open_file(file) as stream, Image.open(stream, formats=formats) as image:
            yield image
    except DensebenchError:
        raise
    except UnidentifiedImageError as error:
        allowed = ", ".join(formats)
        raise _unreadable(file, what, ValueError(f"no {allowed}")) from error
    except Exception as error:  # Pillow's decoders raise what they happen to raise
        raise _unreadable(file, what, error) from error


def _unreadable(file: Path, what: str, error: BaseException) -> DensebenchError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return DensebenchError(f"{file}: not a readable {what} ({reason}); replace the file")


@dataclass(frozen=True)
class Listing:
    """The files of a folder by name without suffix."""

    folder: Path
    files: Mapping[str, str]


_LISTED: ContextVar[dict[tuple[Path, tuple[str, ...]], Listing] | None] = ContextVar(
    "listed", default=None
)


@contextmanager
def each_folder_once() -> Iterator[None]:
    """While a dataset is found, what its splits share is listed once: it may be 118,287 files."""
    token = _LISTED.set({})
    try:
        yield
    finally:
        _LISTED.reset(token)


def list_files(folder: Path, suffixes: tuple[str, ...]) -> Listing:
    """The files with one of these suffixes, in either case.

    Raises:
        DensebenchError: no such folder, or two files of one name under different suffixes.
    """
    known = _LISTED.get()
    if known is None:
        return _listed(folder, suffixes)
    if (folder, suffixes) not in known:
        known[folder, suffixes] = _listed(folder, suffixes)
    return known[folder, suffixes]


def _listed(folder: Path, suffixes: tuple[str, ...]) -> Listing:
    try:
        names = sorted(list_names(folder))
    except OSError as error:
        raise DensebenchError(f"{folder}: cannot be listed: {error.strerror}") from error
    found: dict[str, str] = {}
    start = os.path.join(folder, "")  # noqa: PTH118 - a Path is slow
    for name in names:
        stem, dot, ending = name.rpartition(".")
        # macOS leaves ._NAME beside every file of an archive that was packed there.
        if (dot + ending).lower() not in suffixes or name.startswith("."):
            continue
        if stem in found:
            other = os.path.basename(found[stem])  # noqa: PTH119 - as above
            raise DensebenchError(
                f"{folder}: {other} and {name} have one name, so that it is not known which is "
                "meant; move one of them away"
            )
        found[stem] = start + name
    return Listing(folder, found)
