"""Whether a backbone's post-training has seen the images that it is scored on.

A post-training leaves the SHA-256 of every image that it was given beside its weights, in
``images.sha256``: one hash a line, sorted. Contents are compared, not names, so that a copy under
another name is found, in a folder or in an archive.
"""

import re
from pathlib import Path

from densebench.cards import BackboneCard, Found, find_backbone
from densebench.datasets.base import Split
from densebench.files.hashes import content_hashes
from densebench.files.regular import read_bytes
from densebench.host.errors import DensebenchError
from densebench.records.schema import ContaminationRecord

IMAGES_FILE = "images.sha256"
_HASH = re.compile(r"[0-9a-f]{64}")


def contamination(
    backbone: str, val: Split, weights: Path | None = None
) -> ContaminationRecord | None:
    """How many validation images the post-training of a backbone was given.

    Where the base of a post-training was itself post-trained, its images count as well.

    Args:
        backbone: As the user calls it: a card's name or path, or anything else that names one.
        val: The images that are scored.
        weights: The file that is loaded instead of the card's; then the list beside it counts.

    Returns:
        The counts; None where no list of images is known.

    Raises:
        DensebenchError: a list holds a line that is no SHA-256, or an image cannot be read.
    """
    lists = [folder / IMAGES_FILE for folder in _folders(backbone, weights)]
    found = [file for file in lists if file.is_file()]
    if not found:
        return None
    trained_on = frozenset[str]().union(*map(_read, found))
    hashes = content_hashes(val.image_files)
    seen = sum(hashes[file] in trained_on for file in val.image_files)
    return ContaminationRecord(seen=seen, total=len(val))


def _folders(backbone: str, weights: Path | None) -> list[Path]:
    """The folder of a backbone's card, then that of its base's, and so on."""
    folders: list[Path] = []
    base: str | None = backbone
    if weights is not None:
        folders.append(weights.resolve().parent)
        base = _base_beside(folders[0])
    while base is not None and (known := _known(base)) is not None and known.folder not in folders:
        folders.append(known.folder)
        base = known.card.adapted_from
    return folders


def _known(backbone: str) -> Found[BackboneCard] | None:
    """A backbone's card; None for what has no card, or is no longer here."""
    try:
        return find_backbone(backbone)
    except DensebenchError:
        return None


def _base_beside(folder: Path) -> str | None:
    """What a post-training began with, by the card beside its weights and its list of images."""
    if not (folder / IMAGES_FILE).is_file():
        return None
    known = filter(None, (_known(str(file)) for file in sorted(folder.glob("*.toml"))))
    return next((found.card.adapted_from for found in known), None)


def _read(file: Path) -> frozenset[str]:
    lines = read_bytes(file).decode("utf-8", "replace").split()
    wrong = next((line for line in lines if not _HASH.fullmatch(line)), None)
    if wrong is not None:
        raise DensebenchError(
            f"{file}: '{wrong[:70]}' is no SHA-256; without its list nobody knows which images "
            "this backbone has seen: restore the file, or post-train again"
        )
    return frozenset(lines)
