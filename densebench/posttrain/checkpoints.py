"""Training checkpoints: written whole or not at all, the last few kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from densebench.files.atomic import remove_leftovers, replacing
from densebench.files.zipped import check_parts
from densebench.host.errors import DensebenchError

PATTERN = "step-*.pt"


@dataclass(frozen=True)
class TrainingState:
    """All that a training needs to go on after `step` steps, beside its recipe and its images.

    Every random draw of a step follows from the recipe's seed, the step and the process, so there
    is no generator to keep. `identity` says which training it is.
    """

    step: int
    identity: dict[str, str]
    student: dict[str, Any]
    teacher: dict[str, Any]
    queue: dict[str, Any]
    optimiser: dict[str, Any]
    unreadable: dict[str, str]

    def __post_init__(self) -> None:
        """Refuse what no training wrote.

        Raises:
            TypeError: a value of another type.
        """
        tables = self.student, self.teacher, self.queue, self.optimiser
        told = *self.identity.items(), *self.unreadable.items()
        if not all(isinstance(table, dict) for table in tables):
            raise TypeError("a state is no table")
        if not all(isinstance(part, str) for pair in told for part in pair):
            raise TypeError("what is said of it is no text")


def save_state(folder: Path, state: TrainingState, keep: int) -> Path:
    """Write a checkpoint, then remove all but the last `keep`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _name(state.step)
    try:
        with replacing(path) as file:
            torch.save(vars(state), file)
    except RuntimeError as error:  # torch's own writer, of a disk that is full
        reason = str(error).splitlines()[0]
        raise DensebenchError(
            f"{path}: the checkpoint cannot be written, most likely no space left ({reason}); "
            "free some, and go on with --resume from the one before"
        ) from error
    for old in sorted(folder.glob(PATTERN))[:-keep]:
        old.unlink()
    return path


def latest_state(folder: Path, identity: dict[str, str]) -> TrainingState:
    """The last checkpoint of a training, with its tensors on the CPU.

    Raises:
        DensebenchError: there is none, it cannot be read, or it is of another training.
    """
    remove_leftovers(folder)
    paths = sorted(folder.glob(PATTERN))
    if not paths:
        raise DensebenchError(f"{folder}: no checkpoint to go on from; leave --resume out")
    try:
        check_parts(paths[-1])
        state = TrainingState(**torch.load(paths[-1], map_location="cpu", weights_only=True))
        if paths[-1].name != _name(state.step):
            raise ValueError("it is of another step")
    except Exception as error:  # torch raises what its readers happen to raise
        raise DensebenchError(
            f"{paths[-1]}: not a readable checkpoint; remove it to go on from the one before"
        ) from error
    for key, value in identity.items():
        if state.identity.get(key) != value:
            raise DensebenchError(
                f"{paths[-1]}: is of a training with another {key}; use the options that it was "
                "begun with, or another --name"
            )
    return state


@contextmanager
def fitting(folder: Path) -> Iterator[None]:
    """While the last checkpoint is taken up.

    Raises:
        DensebenchError: it has other tensors than the training.
    """
    try:
        yield
    except (LookupError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise DensebenchError(
            f"{folder}: the last checkpoint does not fit the training ({str(error)[:200]}); remove "
            "it to go on from the one before"
        ) from error


def _name(step: int) -> str:
    return f"step-{step:08d}.pt"
