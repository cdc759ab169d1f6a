"""Training checkpoints: written whole or not at all, the last few kept."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from densebench.host.errors import DensebenchError

PATTERN = "step-*.pt"
PART = ".part"


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


def save_state(folder: Path, state: TrainingState, keep: int) -> Path:
    """Write a checkpoint, then remove all but the last `keep`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{state.step:08d}.pt"
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb") as file:
            torch.save(vars(state), file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    for old in sorted(folder.glob(PATTERN))[:-keep]:
        old.unlink()
    return path


def latest_state(folder: Path, identity: dict[str, str]) -> TrainingState:
    """The last checkpoint of a training, with its tensors on the CPU.

    Raises:
        DensebenchError: there is none, it cannot be read, or it is of another training.
    """
    for leftover in folder.glob(PATTERN + PART):  # of a process that was killed
        leftover.unlink(missing_ok=True)  # another process may have done so
    paths = sorted(folder.glob(PATTERN))
    if not paths:
        raise DensebenchError(f"{folder}: no checkpoint to go on from; leave --resume out")
    try:
        state = TrainingState(**torch.load(paths[-1], map_location="cpu", weights_only=True))
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
