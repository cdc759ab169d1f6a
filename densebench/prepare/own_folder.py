"""A task card for a folder of images and masks of one's own."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from densebench.cards import LARGEST
from densebench.cards.models import NAME_PATTERN
from densebench.datasets.folder import VOID
from densebench.datasets.image_files import MASKS, PHOTOS, list_files, read_ids, read_palette
from densebench.files.atomic import write_atomically
from densebench.files.tree import is_dir
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher

DEEPEST = 3  # folders below the one that is looked into
TRIED = 4  # masks that are opened to see whether a folder holds such
MOST_CLASSES = 255
VOID_ID = 255
SPLITS = ("train", "val")

Colours = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Pairs:
    """A folder of images, one of masks, and the names that both have."""

    images: Path
    masks: Path
    names: tuple[str, ...]

    @property
    def mask_files(self) -> Iterator[Path]:
        """The masks, in the order of the names."""
        files = list_files(self.masks, MASKS).files
        return (Path(files[name]) for name in self.names)


def find_pairs(folder: Path, images: str | None = None, masks: str | None = None) -> Pairs:
    """The two folders below ``folder`` that share the most names.

    Args:
        folder: looked into three levels deep.
        images: the folder of images, if it is known.
        masks: that of masks.

    Raises:
        DensebenchError: there is no such pair, or a folder lies elsewhere.
    """
    if not is_dir(folder):
        raise DensebenchError(f"{folder}: no such folder")
    for given in (images, masks):
        if given is not None and not (folder / given).resolve().is_relative_to(folder.resolve()):
            raise DensebenchError(f"{given}: must lie below {folder}, where the card will lie")
    places = [folder, *_below(folder)]
    photos = [folder / images] if images is not None else places
    labels = [folder / masks] if masks is not None else places
    found = [pair for p in photos for m in labels if (pair := _pairs(p, m)).names]
    tried = [(-len(pair.names), ids, n) for n, pair in enumerate(found) if (ids := _ids(pair))]
    if tried:
        return found[min(tried)[2]]
    raise DensebenchError(
        f"{folder}: found no images with masks: NAME.jpg or NAME.png in one folder and NAME.png, "
        "with an id for every pixel, in another; --images DIR and --masks DIR name them"
    )


def _below(folder: Path, deep: int = DEEPEST) -> Iterator[Path]:
    """The folders below one, some levels deep; links are not followed."""
    try:
        own = sorted(place for place in folder.iterdir() if place.is_dir())
    except OSError as error:
        raise DensebenchError(f"{folder}: cannot be listed: {error.strerror}") from error
    for place in own:
        if not place.name.startswith(".") and not place.is_symlink():
            yield place
            yield from _below(place, deep - 1) if deep > 1 else ()


def _pairs(images: Path, masks: Path) -> Pairs:
    together = images == masks
    photos = tuple(s for s in PHOTOS if s not in MASKS) if together else PHOTOS
    try:
        names = list_files(images, photos).files.keys() & list_files(masks, MASKS).files.keys()
    except DensebenchError:
        names = set()
    return Pairs(images, masks, tuple(sorted(names)))


def _ids(pair: Pairs) -> int:
    """How many different ids some of its masks hold; 0 where none of them can be read."""
    ids: set[int] = set()
    for file in islice(pair.mask_files, TRIED):
        with suppress(DensebenchError):  # one that is damaged is told when all are counted
            ids.update(np.unique(read_ids(file)).tolist())
    return len(ids)


@dataclass(frozen=True)
class Wanted:
    """The card that is wanted.

    Attributes:
        name: of the task, and of its file.
        val: the share of the images that is for validation, where the folder has no lists.
        seed: of that draw.
        overwrite: whether a card that is there is replaced.
    """

    name: str
    val: float = 0.2
    seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        if re.fullmatch(NAME_PATTERN, self.name) is None:
            raise DensebenchError(
                f"'{self.name}' is no name of a task: letters, digits, _ . and -; give a --name"
            )
        if not 0 < self.val < 1:
            raise DensebenchError(f"--val is {self.val}; it is a share between 0 and 1")
        if not 0 <= self.seed <= LARGEST:
            raise DensebenchError(f"--seed is {self.seed}; it is a whole number from 0 on")


def write_card(
    folder: Path, pairs: Pairs, wanted: Wanted, watcher: Watcher | None = None
) -> tuple[Path, list[str]]:
    """Write ``NAME.toml`` into a folder, a task card of what was found in it.

    Returns:
        The card, and what was found, in lines.

    Raises:
        DensebenchError: a card is there, a mask cannot be read, or there are too many ids.
    """
    file = folder / f"{wanted.name}.toml"
    if file.exists() and not wanted.overwrite:
        raise DensebenchError(
            f"{file}: there already; --overwrite replaces it, --name names another"
        )
    counted, palette = _counted(pairs, watcher or Watcher())
    ids = sorted(set(counted) - {VOID_ID})
    if not 0 < len(ids) <= MOST_CLASSES:
        raise DensebenchError(
            f"{pairs.masks}: its masks hold {len(ids):,} ids beside {VOID_ID}; a task has 1 to "
            f"{MOST_CLASSES} classes, so that these may be no masks; --masks DIR names others"
        )
    dataset = {
        "kind": "folder",
        "root": ".",
        "images": _relative(pairs.images, folder),
        "masks": _relative(pairs.masks, folder),
        **_lists(folder, wanted),
        "classes": [f"class_{id_}" for id_ in ids],
        **_mapped(ids, VOID_ID in counted),
        **({"palette": [list(palette[id_]) for id_ in ids]} if palette else {}),
    }
    told = f"{len(pairs.names):,} images of {folder.resolve().name}"
    head = {"name": wanted.name, "description": told, "protocol": "in_context"}
    lines = [f"{key} = {_toml(value)}" for key, value in head.items()]
    lines += ["", "[dataset]", *(f"{key} = {_toml(value)}" for key, value in dataset.items())]
    write_atomically(file, "\n".join(lines) + "\n")
    return file, list(_told(pairs, counted, bool(palette)))


def _counted(pairs: Pairs, watcher: Watcher) -> tuple[Counter[int], Colours]:
    """Pixels of each id over all masks, and the first palette, if a mask has one."""
    counts: Counter[int] = Counter()
    palette: Colours = ()
    with watcher.phase("masks", len(pairs.names), "files") as advance:
        for file in pairs.mask_files:
            ids, pixels = np.unique(read_ids(file), return_counts=True)
            counts.update(dict(zip(ids.tolist(), pixels.tolist(), strict=True)))
            palette = palette or read_palette(file)
            advance(1)
    return counts, palette


def _lists(folder: Path, wanted: Wanted) -> dict[str, Any]:
    """The folder's own lists, or a share that is drawn."""
    for place in (folder, folder / "sets", folder / "ImageSets" / "Segmentation"):
        files = [place / f"{split}.txt" for split in SPLITS]
        if all(file.is_file() for file in files):
            own = zip(SPLITS, files, strict=True)
            return {split: _relative(file, folder) for split, file in own}
    return {"split": {"val": wanted.val, "seed": wanted.seed}}


def _mapped(ids: list[int], has_void: bool) -> dict[str, Any]:
    """A map of ids, where they are not the classes' indices already."""
    if ids == list(range(len(ids))):
        return {}
    known = {str(id_): f"class_{id_}" for id_ in ids}
    return {"ids": {**known, **({str(VOID_ID): VOID} if has_void else {})}}


def _told(pairs: Pairs, counts: Counter[int], coloured: bool) -> Iterator[str]:
    yield f"{len(pairs.names):,} images in {pairs.images} with masks in {pairs.masks}"
    total = max(1, sum(counts.values()))
    for id_, pixels in sorted(counts.items()):
        void = ", taken for void" if id_ == VOID_ID else ""
        yield f"  id {id_}: {100 * pixels / total:.2f}% of the pixels{void}"
    if coloured:
        yield "the masks' palette is kept"


def _relative(path: Path, folder: Path) -> str:
    return path.resolve().relative_to(folder.resolve()).as_posix()


def _toml(value: Any) -> str:
    """JSON's notation of strings, numbers and lists is TOML's; a table stands in one line."""
    if isinstance(value, dict):
        inner = ", ".join(f"{key} = {_toml(part)}" for key, part in value.items())
        return f"{{ {inner} }}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
