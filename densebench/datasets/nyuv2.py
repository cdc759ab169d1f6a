"""NYU Depth v2 as evaluations of depth use it: the images that BTS extracted, by two lists.

A line of ``nyu_train.txt`` and ``nyu_test.txt`` names an image, its depth (16-bit PNG in
millimetres, 0 where there is none) and a focal length, which nothing here needs. Paths are relative
to the dataset's folder, or to the folders ``sync`` and ``official_splits/test`` of its two parts.
"""

import math
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from densebench.datasets.base import Split, SplitName
from densebench.datasets.depth_maps import METRES, DepthReader
from densebench.datasets.image_files import Listing
from densebench.datasets.kind import DatasetKind
from densebench.datasets.pairing import make_split
from densebench.datasets.roots import Layout
from densebench.files.tree import is_dir, is_file, list_names, locate, read_text
from densebench.host.errors import DensebenchError

LISTS: dict[SplitName, str] = {"train": "nyu_train.txt", "val": "nyu_test.txt"}
LAYOUT = Layout(("nyuv2", "NYUv2", "nyu", "NYU", "nyu_depth_v2"), (tuple(LISTS.values()),))
PARTS = ("", "sync", "official_splits/test", "train", "test")
NO_FILE = "None"  # what some lists say of an image without depth


class Line(NamedTuple):
    """An image and its depth, as a list names them."""

    image: str
    depth: str

    @property
    def name(self) -> str:
        """Of the room and the frame, such as ``kitchen_0028b-rgb_00045``."""
        return "-".join(PurePosixPath(self.image).with_suffix("").parts)


def read_split(root: Path, split: SplitName, names: tuple[str, ...] | None = None) -> Split:
    """The images of the split's list; a list of names may take images of both.

    Raises:
        DensebenchError: a list is missing or says something else, or a file is not there.
    """
    kinds: tuple[SplitName, ...] = (split,) if names is None else ("train", "val")
    images, depth = dict[str, str](), dict[str, str]()
    for kind in kinds:
        lines = read_lines(locate(root, LISTS[kind]))
        found = _Files(root, lines[0].image)
        images |= {line.name: file for line in lines if (file := found.of(line.image))}
        depth |= {line.name: file for line in lines if (file := found.of(line.depth))}
        if names is None:
            names = tuple(line.name for line in lines)
    return make_split(
        split,
        names,
        images=Listing(root, images),
        masks=Listing(root, depth),
        reader=DepthReader(),
        target=METRES,
    )


def read_lines(file: Path) -> list[Line]:
    """What a list names, without images that have no depth.

    Raises:
        DensebenchError: it is missing or empty, names a file twice, or has a line of another form.
    """
    try:
        text = read_text(file, encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DensebenchError(f"{file}: no such list of images") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DensebenchError(f"{file}: not a readable list of images: {error}") from error
    told = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    lines = [found for n, line in told if (found := _line(file, n, line)) is not None]
    if not lines:
        raise DensebenchError(f"{file}: the list is empty; it needs IMAGE DEPTH FOCAL a line")
    name, count = Counter(line.name for line in lines).most_common(1)[0]
    if count > 1:
        raise DensebenchError(f"{file}: '{name}' is there {count} times; remove all but one")
    return lines


def _line(file: Path, number: int, line: str) -> Line | None:
    """What a line names; none for an image without depth.

    Raises:
        DensebenchError: it has another form, or leads out of the dataset.
    """
    words = line.split()
    if not 2 <= len(words) <= 3 or not _is_number(words[2:]):
        raise DensebenchError(f"{file}: line {number} is not IMAGE DEPTH FOCAL: '{line.strip()}'")
    if words[1] == NO_FILE:
        return None
    image, depth = (word.replace("\\", "/").lstrip("/") for word in words[:2])
    if ".." in PurePosixPath(image).parts + PurePosixPath(depth).parts:
        raise DensebenchError(f"{file}: line {number} leads out of the dataset's folder")
    return Line(image, depth)


def _is_number(words: list[str]) -> bool:
    try:
        return all(math.isfinite(float(word)) for word in words)
    except ValueError:
        return False


class _Files:
    """The files of one list, each folder listed once.

    Args:
        root: the dataset's folder.
        first: a file of the list, by which the part is found in which all of them lie.
    """

    def __init__(self, root: Path, first: str) -> None:
        parts = (root / part for part in PARTS)
        self._root = next((part for part in parts if is_file(locate(part, first))), root)
        self._folders: dict[str, tuple[str, frozenset[str]]] = {}

    def of(self, file: str) -> str | None:
        """Where a file is; none where it is not there."""
        folder, _, name = file.rpartition("/")
        if folder not in self._folders:
            place = locate(self._root, folder)
            names = list_names(place) if is_dir(place) else []
            self._folders[folder] = str(place), frozenset(names)
        place_of, known = self._folders[folder]
        return f"{place_of}/{name}" if name in known else None


DATASET = DatasetKind(
    target=lambda card: METRES,
    read_split=lambda card, root, split, names: read_split(root, split, names),
    layout=LAYOUT,
)
