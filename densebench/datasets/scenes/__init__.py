"""The embedded dataset: drawn scenes, made on first use, in the layout of PASCAL VOC.

Ten classes that differ by texture and shape and share their colours. Nothing is downloaded, so a
first run and the tests need no dataset; a score on it says nothing about photographs.
"""

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from densebench.datasets import voc
from densebench.datasets.classes import Classes
from densebench.datasets.kind import KEYS, labelled
from densebench.files.locks import held
from densebench.host.errors import DensebenchError
from densebench.host.paths import cache_home

if TYPE_CHECKING:
    from densebench.datasets.scenes.render import Scene

# What is drawn, in the order of ``shapes.OBJECTS``: that module is loaded only to draw.
CLASSES: tuple[str, ...] = (
    "sky",
    "ground",
    "house",
    "tree",
    "car",
    "animal",
    "tent",
    "balloon",
    "mushroom",
    "rock",
)
PALETTE: tuple[tuple[int, int, int], ...] = (
    (120, 180, 230),
    (110, 140, 80),
    (200, 60, 50),
    (30, 110, 40),
    (240, 200, 60),
    (150, 90, 40),
    (230, 120, 200),
    (250, 140, 30),
    (150, 60, 180),
    (120, 120, 120),
)
COUNTS = {"trainaug": 256, "val": 64}

_VERSION = "1"  # to be raised with every change of the generator: it is what the marker holds
_MARKER, _LOCK = "scenes-version.txt", "lock"
_TRIES = 3
_VOID_COLOUR = (224, 224, 192)
_SETS = Path("ImageSets", "Segmentation")
DEPTH = "Depth"
_Pair: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def scenes_root(folder: Path | None = None) -> Path:
    """The folder of the scenes, generated first where they are absent (10 s on two cores).

    The same images and masks come out on every machine, before JPEG. They are built in a sibling
    folder that takes its final name when it is complete, so that an interrupted or a simultaneous
    generation never shows half a dataset; the next one goes on with what an interrupted one left.

    Args:
        folder: where to keep them; default ``scenes-v1`` in the cache.

    Raises:
        DensebenchError: the folder cannot be written, or holds something else.
    """
    root = cache_home() / "scenes-v1" if folder is None else Path(folder)
    if _is_complete(root):
        _remove_leftovers(root)
        return root
    try:
        _refuse_foreign(root)
        with _building(root) as building:
            _generate(building)
            _install(building, root)
        _remove_leftovers(root)
    except OSError as error:
        raise _cannot_write(root, error) from error
    return root


def _cannot_write(root: Path, error: OSError) -> DensebenchError:
    return DensebenchError(
        f"cannot write the scenes to {root}: {error.strerror or error}; set DENSEBENCH_CACHE "
        "to a folder that can be written"
    )


def render_scene(split: str, index: int) -> _Pair:
    """One scene as it is before it is stored.

    Args:
        split: "trainaug" or "val".
        index: from 0 to the split's count in ``COUNTS``, exclusive.

    Returns:
        The RGB image (224, 224, 3) and its mask (224, 224): indices of ``CLASSES``, 255 = void.
    """
    found = _scene(split, index)
    return found.image, found.mask


def render_depth(split: str, index: int) -> NDArray[np.uint16]:
    """The depth of that scene (224, 224) in millimetres, 0 where there is none; arguments as above.

    The sky has none, nor has what is void in the mask.
    """
    return np.rint(1000 * _scene(split, index).depth).astype(np.uint16)


def depth_root(folder: Path | None = None) -> Path:
    """The folder of the scenes, with the depth of each in ``Depth/NAME.png``.

    Depth takes as many seconds more, and is added whole: images and masks stay as they are.

    Raises:
        DensebenchError: as :func:`scenes_root`.
    """
    root = scenes_root(folder)
    if (root / DEPTH).is_dir():
        return root
    try:
        with _building(_depth_place(root)) as building:
            _generate_depth(building)
            try:
                (building / DEPTH).rename(root / DEPTH)
            except OSError:
                if not (root / DEPTH).is_dir():  # else another process was first
                    raise
            finally:
                shutil.rmtree(building, ignore_errors=True)
        _remove_leftovers(_depth_place(root))
    except OSError as error:
        raise _cannot_write(root, error) from error
    return root


def _depth_place(root: Path) -> Path:
    """Beside which depth is built: not where the scenes are, whose leftovers are removed."""
    return root.with_name(f"{root.name}-depth")


def _scene(split: str, index: int) -> "Scene":
    from densebench.datasets.scenes.render import scene

    return scene((int(_VERSION), list(COUNTS).index(split), index))


@contextlib.contextmanager
def _building(root: Path) -> Iterator[Path]:
    """A folder to build in, this process's alone: one that a killed process left, or a new one."""
    start = f".{root.name}.{_VERSION}."
    left = sorted(root.parent.glob(f"{start}*")) if root.parent.is_dir() else []
    new = [root.parent / f"{start}{uuid.uuid4().hex}" for _ in range(_TRIES)]
    for folder in (*left, *new):
        with contextlib.ExitStack() as stack:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(held(folder / _LOCK, taken=_leave_alone))
            except (BlockingIOError, FileNotFoundError):  # another process builds it, or has built
                continue
            if (folder / _LOCK).exists():  # it was not removed in the moment before the lock
                yield folder
                return
    raise FileNotFoundError(errno.ENOENT, "what is made there is removed at once", str(root.parent))


def _remove_leftovers(root: Path) -> None:
    """What killed processes left beside the whole scenes; a living one holds a lock on its own."""
    for folder in root.parent.glob(f".{root.name}.*"):
        with (
            contextlib.suppress(OSError, DensebenchError),
            held(folder / _LOCK, taken=_leave_alone),
        ):
            shutil.rmtree(folder)


def _leave_alone() -> None:
    raise BlockingIOError


def _is_complete(root: Path) -> bool:
    marker = root / _MARKER
    return marker.is_file() and marker.read_text(encoding="utf-8").strip() == _VERSION


def _refuse_foreign(root: Path) -> None:
    """Only an empty folder, or one with our marker, is ever replaced."""
    if not root.exists() or (root / _MARKER).is_file():
        return
    if not root.is_dir() or any(root.iterdir()):
        raise DensebenchError(f"{root} exists and does not hold the scenes; move it away")


def _generate(root: Path) -> None:
    for name in ("JPEGImages", "SegmentationClass", "SegmentationClassAug", _SETS):
        (root / name).mkdir(parents=True, exist_ok=True)
    _for_each(lambda split, index: _write_scene(root, split, index))
    for split, count in COUNTS.items():
        names = "".join(f"{_name(split, index)}\n" for index in range(count))
        (root / _SETS / f"{split}.txt").write_text(names, encoding="utf-8")
    (root / _MARKER).write_text(_VERSION + "\n", encoding="utf-8")


def _generate_depth(root: Path) -> None:
    (root / DEPTH).mkdir(exist_ok=True)
    _for_each(lambda split, index: _write_depth(root, split, index))


def _for_each(write: Callable[[str, int], None]) -> None:
    """Write something of every scene."""
    jobs = [(split, index) for split, count in COUNTS.items() for index in range(count)]
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(lambda job: write(*job), jobs):
            pass


def _write_depth(root: Path, split: str, index: int) -> None:
    file = root / DEPTH / f"{_name(split, index)}.png"
    if not file.exists():  # else of a generation that was interrupted
        part = file.with_suffix(".part")
        Image.fromarray(render_depth(split, index)).save(part, format="PNG")
        part.replace(file)


def _write_scene(root: Path, split: str, index: int) -> None:
    name = _name(split, index)
    last = root / "SegmentationClassAug" / f"{name}.png"
    if last.exists():  # of a generation that was interrupted
        return
    image, mask = render_scene(split, index)
    Image.fromarray(image).save(root / "JPEGImages" / f"{name}.jpg", quality=95)
    coloured = Image.fromarray(mask)
    coloured.putpalette(_palette_bytes())
    target = root / "SegmentationClass" / f"{name}.png"
    coloured.save(target)
    part = last.with_suffix(".part")
    shutil.copyfile(target, part)
    part.replace(last)


def _name(split: str, index: int) -> str:
    return f"{split.removesuffix('aug')}_{index:06d}"


def _palette_bytes() -> bytes:
    from densebench.datasets.scenes.render import VOID

    colours = [*PALETTE, *[(0, 0, 0)] * (VOID - len(PALETTE)), _VOID_COLOUR]
    return bytes(value for colour in colours for value in colour)


def _install(building: Path, root: Path) -> None:
    """Gives the finished folder its name, unless another process was first."""
    stale = root.parent / f".{root.name}.old.{uuid.uuid4().hex}"
    (building / _LOCK).unlink()
    try:
        if (root / _MARKER).is_file() and not _is_complete(root):
            with contextlib.suppress(FileNotFoundError):
                root.rename(stale)
        building.rename(root)
    except OSError:
        if not _is_complete(root):
            raise
    finally:
        shutil.rmtree(stale, ignore_errors=True)
        shutil.rmtree(building, ignore_errors=True)


DATASET = labelled(
    lambda card: Classes(CLASSES, PALETTE),
    read_split=lambda card, root, split, names: voc.read_split(
        root, split, names, Classes(CLASSES, PALETTE)
    ),
    locate=lambda card, card_path, data_root: scenes_root(),
    lists=lambda card, root: voc.lists_folder(root),
    keys=KEYS - {"root"},
)
__all__ = [
    "CLASSES",
    "COUNTS",
    "DATASET",
    "DEPTH",
    "PALETTE",
    "depth_root",
    "render_depth",
    "render_scene",
    "scenes_root",
]
