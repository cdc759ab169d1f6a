"""VOC's augmented training set: the list of 10,582 names, and the masks of VOC and SBD as PNGs."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

from PIL import Image

from densebench.datasets.classes import voc_classes
from densebench.datasets.image_files import MASKS, list_files
from densebench.datasets.lists import read_names
from densebench.datasets.masks import LookupReader, identity_table
from densebench.datasets.sbd import read_sbd_mask, sbd_masks, sbd_names
from densebench.files.atomic import write_atomically
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Advance, Watcher
from densebench.prepare.pieces import clear, count_files

THREADS = 4
ROOT = Path("VOCdevkit") / "VOC2012"
SBD = Path("SBD")


def build_voc(root: Path, n_train: int, watcher: Watcher) -> None:
    """Make ``trainaug.txt`` and ``SegmentationClassAug`` below ``root``, where they are missing.

    ``trainaug`` is what SBD or VOC's train set labels, less VOC's val set. A mask of VOC's own goes
    before SBD's of the same image, as in the SegmentationClassAug that is passed around.

    Raises:
        DensebenchError: the list has not ``n_train`` names, or a mask cannot be converted.
    """
    voc, sbd = root / ROOT, root / SBD
    lists = voc / "ImageSets" / "Segmentation"
    if not (lists / "trainaug.txt").is_file():
        names = augmented_names(voc, sbd)
        if len(names) != n_train:
            raise DensebenchError(
                f"{sbd}: its lists and VOC's give {len(names):,} training images and not "
                f"{n_train:,}; one of them is of another release"
            )
        write_atomically(lists / "trainaug.txt", "".join(f"{name}\n" for name in names))
    own = list_files(voc / "SegmentationClass", MASKS).files
    further = {name: file for name, file in sbd_masks(sbd).files.items() if name not in own}
    target = voc / "SegmentationClassAug"
    if count_files(target, ".png") < len(own) + len(further):
        _write_masks(target, own, further, watcher)


def augmented_names(voc: Path, sbd: Path) -> tuple[str, ...]:
    """The sorted names of the augmented training set.

    Raises:
        DensebenchError: a list is missing.
    """
    lists = voc / "ImageSets" / "Segmentation"
    labelled = {*sbd_names(sbd), *read_names(lists / "train.txt")}
    return tuple(sorted(labelled.difference(read_names(lists / "val.txt"))))


def _write_masks(
    target: Path, own: Mapping[str, str], further: Mapping[str, str], watcher: Watcher
) -> None:
    if target.is_dir() and any(target.iterdir()):
        raise DensebenchError(
            f"{target}: has fewer masks than VOC and SBD together ({len(own) + len(further):,}); "
            "complete it, or move it away so that it can be made anew"
        )
    temporary = target.with_name(f".{target.name}.making")
    clear([temporary])
    temporary.mkdir(parents=True)
    tasks: list[Callable[[], None]] = [
        *(partial(_copy, Path(file), temporary) for file in own.values()),
        *(partial(_convert, Path(file), temporary) for file in further.values()),
    ]
    try:
        with watcher.phase(f"making {target.name}", len(tasks), "files") as advance:
            _run_all(tasks, advance)
        if target.is_dir():
            target.rmdir()
        temporary.replace(target)
    finally:
        clear([temporary])


def _run_all(tasks: list[Callable[[], None]], advance: Advance) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for _ in pool.map(_call, tasks):
                advance(1)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _call(task: Callable[[], None]) -> None:
    task()


def _copy(file: Path, folder: Path) -> None:
    (folder / file.name).write_bytes(file.read_bytes())


def _convert(file: Path, folder: Path) -> None:
    classes = voc_classes()
    mask = LookupReader(identity_table(classes)).decode(read_sbd_mask(file), file)
    image = Image.fromarray(mask)
    image.putpalette(list(chain.from_iterable(classes.palette)))
    image.save(folder / f"{file.stem}.png")
