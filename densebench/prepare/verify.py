"""Is a dataset what its owners released: counts, pairs, sizes, ids, and its fingerprint."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from densebench.cards import DatasetCard
from densebench.datasets import cityscapes
from densebench.datasets.base import Split, SplitName
from densebench.datasets.image_files import read_image
from densebench.datasets.kind import dataset_kind
from densebench.datasets.load import load_dataset
from densebench.datasets.roots import Layout
from densebench.datasets.subset import data_fingerprint
from densebench.files.hashes import content_hash, content_hashes
from densebench.files.tree import exists, is_dir, list_names, locate
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.prepare.releases import release_problems
from densebench.prepare.sources import Piece, Source, Table, official_table

SAMPLE = 64
SHOWN = 5
BATCH = 512
ID_COUNT = 256
SPLITS: tuple[SplitName, ...] = ("train", "val")


@dataclass
class SplitReport:
    """One split: how many images it has and should have, and the pixels of each class.

    Of a target that is no labels, ``valued`` counts the pixels with a value, and ``ignored`` those
    without.
    """

    images: int
    expected: int
    checked: int = 0
    pixels: dict[str, int] = field(default_factory=dict)
    ignored: int = 0
    valued: int = 0


@dataclass
class Report:
    """What a check found; the dataset is as released where there are no problems."""

    dataset: str
    place: str
    quick: bool
    problems: list[str] = field(default_factory=list)
    splits: dict[str, SplitReport] = field(default_factory=dict)
    fingerprint: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def verify(
    name: str,
    root: Path,
    *,
    quick: bool = False,
    table: Table | None = None,
    watcher: Watcher | None = None,
) -> Report:
    """Check a dataset below ``root``, or at ``root`` itself.

    Args:
        name: its name in the table.
        root: the folder of datasets.
        quick: read a sample of the files, and leave the fingerprint out.
        table: the datasets; the official ones if not given.
        watcher: is told of progress.

    Raises:
        DensebenchError: there is no such name; all that is wrong with the data is in the report.
    """
    table, watcher = table or official_table(), watcher or Watcher()
    source = table.source(name)
    if source.kind is None:
        return _verify_images(name, root, table, quick, watcher)
    return _verify_labelled(name, source, source.kind, root, quick, watcher)


def is_there(name: str, root: Path, table: Table | None = None) -> bool:
    """Whether anything of a dataset's own is below ``root``."""
    table = table or official_table()
    source = table.source(name)
    if source.kind is None:
        return any((root / piece.target).is_dir() for piece in table.pieces_of(name).values())
    place, _ = _find(source.kind, root)
    if place is None:
        return False
    own = dataset_kind(source.kind).annotations
    return not own or any(exists(locate(place, folder)) for folder in own)


def has_expected_counts(name: str, root: Path, table: Table) -> bool:
    """Whether the dataset can be read, in any layout, with as many images as were released."""
    source = table.source(name)
    if source.kind is None:
        return False
    try:
        dataset = load_dataset(DatasetCard(kind=source.kind), data_root=root)
    except DensebenchError:
        return False
    return (len(dataset.train), len(dataset.val)) == (source.n_train, source.n_val)


def _verify_labelled(
    name: str, source: Source, kind: str, root: Path, quick: bool, watcher: Watcher
) -> Report:
    place, reason = _find(kind, root)
    report = Report(name, str(place or root), quick)
    usual = root / _layout(kind).folders[0]
    report.problems += release_problems(name, kind, root, place or usual)
    if place is None:
        report.problems.append(reason)
        return report
    for split_name, expected in zip(SPLITS, (source.n_train, source.n_val), strict=True):
        try:
            split = dataset_kind(kind).read_split(DatasetCard(kind=kind), place, split_name, None)
        except DensebenchError as error:
            report.problems.append(f"{split_name}: {error}")
            continue
        report.splits[split_name] = SplitReport(len(split), expected or 0)
        _check_count(kind, split, expected or 0, report)
        report.problems += _lone_masks(split)
        check_files(split, report, watcher)
    whole = len(report.splits) == len(SPLITS) and not quick
    if whole and all(s.checked == s.images for s in report.splits.values()):
        watcher.say(f"{name}: hashing the files for the fingerprint")
        dataset = load_dataset(DatasetCard(kind=kind), data_root=place)
        report.fingerprint = data_fingerprint(dataset)
    return report


def _find(kind: str, root: Path) -> tuple[Path | None, str]:
    """The dataset's folder, even where parts of it are missing, or why there is none."""
    try:
        return dataset_kind(kind).find_root(DatasetCard(kind=kind), None, root), ""
    except DensebenchError as error:
        layout = _layout(kind)
        places = [root, *(root / folder for folder in layout.folders)]
        needs = [need for way in layout.needs for need in way if need != "annotations"]
        there = (p for p in places if any(exists(p / need) for need in needs))
        return next(there, None), str(error)


def _layout(kind: str) -> Layout:
    layout = dataset_kind(kind).layout
    assert layout is not None  # every dataset of the table has one
    return layout


def _check_count(kind: str, split: Split, expected: int, report: Report) -> None:
    if len(split) != expected:
        known = dataset_kind(kind).known_count(split.name, len(split))
        report.problems.append(
            f"{split.name}: {len(split):,} images, but {expected:,} were released{known}"
        )


def _lone_masks(split: Split) -> Iterator[str]:
    """Masks in the split's folders of which there is no image."""
    images = {name for folder in _folders(split.image_files) for name in _bare_names(folder)}
    for folder in _folders(split.mask_files):
        own = [name for name in _bare_names(folder) if not _is_other_map(name)]
        lone = [name for name in own if name not in images]
        if lone:
            yield f"{folder}: {len(lone):,} masks are without an image, the first is '{lone[0]}'"


def _folders(files: Iterable[str]) -> list[str]:
    folders = {os.path.split(file)[0] for file in files}
    return sorted(folder for folder in folders if is_dir(Path(folder)))


def _bare_names(folder: str) -> list[str]:
    stems = (name.rpartition(".")[0] for name in list_names(Path(folder)))
    endings = (cityscapes.IMAGE_ENDING, cityscapes.MASK_ENDING)
    return sorted(s.removesuffix(endings[0]).removesuffix(endings[1]) for s in stems if s)


def _is_other_map(name: str) -> bool:
    """Colours, instances and polygons lie beside the label ids of Cityscapes."""
    return "_gtFine_" in name


def check_files(split: Split, report: Report, watcher: Watcher, shown: int | None = None) -> None:
    """Decode images and masks, compare their sizes, and count the pixels of each class."""
    chosen = _sample(len(split)) if report.quick else range(len(split))
    total: Int64[np.ndarray, " 256"] = np.zeros(ID_COUNT, np.int64)
    bad: list[str] = []
    with watcher.phase(f"{report.dataset} {split.name}", len(chosen), "files") as advance:
        for found in _in_threads(partial(_pixels, split), chosen):
            if isinstance(found, str):
                bad.append(found)
            else:
                total += found
                report.splits[split.name].checked += 1
            advance(1)
    report.problems += shortened(bad, shown)
    own = report.splits[split.name]
    if not split.target.is_labels:
        own.ignored, own.valued = int(total[0]), int(total[1])
        return
    own.pixels = {
        name: int(total[i]) for i, name in enumerate(split.classes) if i != split.ignore_index
    }
    own.ignored = int(total[split.ignore_index])


def _pixels(split: Split, i: int) -> Int64[np.ndarray, " 256"] | str:
    """Of each label; of other values, how many there are without (0) and with one (1)."""
    try:
        split.image(i)
        mask = split.mask(i)
        counted = mask if split.target.is_labels else split.target.valid(mask).astype(np.uint8)
        return np.bincount(counted.ravel(), minlength=ID_COUNT)
    except DensebenchError as error:
        return str(error)


def _sample(n: int) -> list[int]:
    """Indices that are spread evenly."""
    return sorted({round(i) for i in np.linspace(0, n - 1, min(n, SAMPLE))})


def _in_threads(work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """Results in order; few are waiting at a time. Pillow decodes outside of the GIL."""
    remaining = iter(items)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        while batch := list(islice(remaining, BATCH)):
            yield from pool.map(work, batch)


def shortened(problems: list[str], shown: int | None = None) -> list[str]:
    """The first of many problems, and how many more there are."""
    shown = SHOWN if shown is None else shown
    more = len(problems) - shown
    return [*problems[:shown], f"and {more:,} more files like these"] if more > 0 else problems


def _verify_images(name: str, root: Path, table: Table, quick: bool, watcher: Watcher) -> Report:
    pieces = table.pieces_of(name)
    report = Report(name, str(root), quick)
    files: dict[str, str] = {}
    for piece in pieces.values():
        place = root / piece.target
        report.place = str(place if len(pieces) == 1 else place.parent)
        found = _image_files(place, piece)
        split = SplitReport(len(found), piece.files)
        report.splits[place.name] = split
        if len(found) != piece.files:
            report.problems.append(
                f"{place}: {len(found):,} images, but {piece.files:,} were released"
            )
        _check_images(place.name, list(found.values()), split, report, watcher)
        files |= {f"{piece.target}/{relative}": file for relative, file in found.items()}
    report.problems += release_problems(name, None, root, root / name)
    if files and not quick and all(s.checked == s.images for s in report.splits.values()):
        hashes = content_hashes(files.values())
        report.fingerprint = content_hash([[n, hashes[file]] for n, file in sorted(files.items())])
    return report


def _image_files(place: Path, piece: Piece) -> dict[str, str]:
    found = {}
    for folder, _, names in os.walk(place):
        for name in names:
            if name.endswith(piece.suffix) and not name.startswith("."):
                file = f"{folder}/{name}"
                found[file[len(str(place)) + 1 :]] = file
    return dict(sorted(found.items()))


def _check_images(
    title: str, files: list[str], split: SplitReport, report: Report, watcher: Watcher
) -> None:
    chosen = [files[i] for i in _sample(len(files))] if report.quick and files else files
    bad: list[str] = []
    with watcher.phase(f"{report.dataset} {title}", len(chosen), "files") as advance:
        for problem in _in_threads(_image_problem, chosen):
            if problem is None:
                split.checked += 1
            else:
                bad.append(problem)
            advance(1)
    report.problems += shortened(bad)


def _image_problem(file: str) -> str | None:
    try:
        read_image(Path(file))
    except DensebenchError as error:
        return str(error)
    return None
