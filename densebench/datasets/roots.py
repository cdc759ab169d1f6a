"""Where a dataset lies: the place that was given, or the usual folder names below it.

An archive is a place like a folder.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from densebench.cards import DatasetCard
from densebench.files.archives import COMPRESSED, refuse_compressed
from densebench.files.tree import is_dir, is_file, list_names, locate
from densebench.host.errors import DensebenchError
from densebench.host.paths import data_home, expanded


@dataclass(frozen=True)
class Layout:
    """How a dataset's folder is recognised.

    Attributes:
        folders: the names under which it usually lies in a folder of datasets.
        needs: sub-folders that it has, one tuple for each way in which it is shipped; a name that
            ends in ``.txt`` is a file.
    """

    folders: tuple[str, ...]
    needs: tuple[tuple[str, ...], ...]


class MissingDatasetError(DensebenchError):
    """There is no such dataset, or only a part of it, in the place where it is looked for."""


def base_folder(card: DatasetCard, card_path: Path | None, data_root: str | Path | None) -> Path:
    """Where a dataset is looked for: the user's place, the card's, or the folder of datasets.

    Raises:
        DensebenchError: it is an archive that cannot be read.
    """
    base = _base(card, card_path, data_root)
    refuse_compressed(base)
    return base


def find_layout(kind: str, layout: Layout, base: Path) -> Path:
    """The dataset in a folder or below it.

    Raises:
        MissingDatasetError: there is none.
    """
    found = complete(base, layout)
    if found is not None:
        return found
    places = [base, *(locate(base, folder) for folder in layout.folders)]
    raise missing(
        f"no {kind} dataset in {base}{_compressed_in(base)} "
        f"(also looked in {', '.join(layout.folders)}): "
        f"it needs {' or '.join(' + '.join(needs) for needs in layout.needs)}",
        first_missing(places, layout),
    )


def _base(card: DatasetCard, card_path: Path | None, data_root: str | Path | None) -> Path:
    if data_root is not None:
        return expanded(data_root)
    if card.root is None:
        return data_home()
    folder = card_path.parent if card_path is not None else Path()
    return folder / expanded(card.root)


def complete(base: Path, layout: Layout) -> Path | None:
    """The first place that has all that the layout needs.

    Plain folders go first, so that archives are looked into only where they are needed.
    """
    for find in (Path.joinpath, locate):
        for folder in ("", *layout.folders):
            place = find(base, folder)
            for needs in layout.needs:
                if all(_has(find(place, need)) for need in needs):
                    return place
    return None


def _has(place: Path) -> bool:
    return is_file(place) if place.suffix == ".txt" else is_dir(place)


def missing(problem: str, path: Path) -> DensebenchError:
    """What says that a dataset, or a part of it, is not there."""
    return MissingDatasetError(
        f"{problem}; the first that is missing is {path}; "
        "give the place with --data-root DIR or DENSEBENCH_DATA"
    )


def _compressed_in(base: Path) -> str:
    listed = sorted(list_names(base)) if is_dir(base) else []
    names = [name for name in listed if name.lower().endswith(COMPRESSED)]
    return f" ({names[0]} is compressed: unpack it, or repack it as .tar)" if names else ""


def first_missing(places: list[Path], layout: Layout) -> Path:
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
            missing = [place / need for need in needs if not _has(locate(place, need))]
            yield len(needs) - len(missing), missing[0]
