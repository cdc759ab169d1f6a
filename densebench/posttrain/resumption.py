"""What the folder of a post-training holds already, and how that is gone on with."""

import shutil
from pathlib import Path

from densebench.backbones.hf.filling import SAVED
from densebench.host.errors import DensebenchError
from densebench.posttrain.checkpoints import PATTERN
from densebench.posttrain.model_card import STUDENT
from densebench.posttrain.trainer import LOG

CHECKPOINTS, IMAGES = "checkpoints", "images.sha256"


def goes_on(folder: Path, resume: bool, overwrite: bool) -> bool:
    """Whether there is a checkpoint to go on from; a training killed before one starts over.

    Raises:
        DensebenchError: the folder holds what must not be written over unasked, or nothing to go
            on from.
    """
    saved, finished = _saved(folder), _has_weights(folder)
    begun = (folder / LOG).exists() or (folder / IMAGES).exists()
    if resume:
        if not (saved or finished or begun):
            raise DensebenchError(f"{folder}: no checkpoint to go on from; leave --resume out")
        return saved
    if (saved or finished) and not overwrite:
        raise DensebenchError(
            f"{folder}: holds a post-training already; --resume goes on with it, --overwrite "
            "removes it, another --name leaves it"
        )
    if not (saved or finished or begun) and folder.exists() and any(folder.iterdir()):
        raise DensebenchError(f"{folder}: is there already and is no post-training; choose --out")
    return False


def finished_card(folder: Path, name: str) -> Path | None:
    """The card of a training that has nothing left to do; checkpoints go last of all."""
    card = folder / f"{name}.toml"
    whole = card.is_file() and _has_weights(folder) and not _saved(folder)
    return card if whole else None


def prepare(folder: Path, clear: bool) -> None:
    """Make the folder; with ``clear`` nothing of an earlier training is left in it."""
    if clear and folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)


def remove_checkpoints(folder: Path) -> None:
    """What only a training that goes on needs: several times the size of the weights."""
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def _has_weights(folder: Path) -> bool:
    return any((folder / file).exists() for file in (STUDENT, SAVED))


def _saved(folder: Path) -> bool:
    return any((folder / CHECKPOINTS).glob(PATTERN))
