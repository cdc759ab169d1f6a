"""The file from which an interrupted training goes on: from its last whole epoch."""

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from torch import nn

from densebench.files.atomic import write_atomically
from densebench.files.zipped import check_parts
from densebench.host.distributed import World

OF_NO_USE = (
    OSError,
    EOFError,
    RuntimeError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    pickle.UnpicklingError,
    BadZipFile,
)


class Checkpoint:
    """A training's state in the folder of its run, whose name is the run's."""

    def __init__(self, folder: Path) -> None:
        self.file, self._run = folder / "epoch.pt", folder.name

    def save(self, state: dict[str, Any]) -> None:
        """Replace what was there, whole or not at all.

        Another process that did the same run may remove the folder in just that moment.
        """
        buffer = io.BytesIO()
        torch.save({"run": self._run, "state": state}, buffer)
        try:
            write_atomically(self.file, buffer.getvalue())
        except FileNotFoundError:
            write_atomically(self.file, buffer.getvalue())

    def restore(self, take_up: Callable[[dict[str, Any]], None]) -> bool:
        """Hand over the state that was saved; False if the file is damaged or another run's.

        ``take_up`` may refuse a state by any of the errors that reading it would raise.
        """
        try:
            check_parts(self.file)
            # On the CPU: the run may go on where there is no GPU, or another one.
            saved = torch.load(self.file, map_location="cpu", weights_only=True)
            if saved["run"] != self._run:
                return False
            take_up(saved["state"])
        except OF_NO_USE:
            return False
        return True


def go_on(
    workdir: Path | None,
    take_up: Callable[[dict[str, Any]], None],
    begin_anew: Callable[[], None],
    reached: Callable[[], str],
) -> str:
    """Take up the last checkpoint of an interrupted run; one that is of no use is passed by.

    Args:
        workdir: where it lies; None where none is kept.
        take_up: takes its state, or raises on one that does not fit.
        begin_anew: undoes what a bad one may have changed.
        reached: how far a good one was, in words.

    Returns:
        What was done, in a line; nothing where there is no checkpoint.
    """
    if workdir is None:
        return ""
    checkpoint = Checkpoint(workdir)
    if not checkpoint.file.exists():
        return ""
    if checkpoint.restore(take_up):
        return f"going on after {reached()}"
    begin_anew()
    return f"{checkpoint.file} is of no use; the training begins anew"


def share_head(head: nn.Module, world: World) -> None:
    """Give the first process's head to all."""
    if world.size > 1:
        state = {name: tensor.cpu() for name, tensor in head.state_dict().items()}
        head.load_state_dict(world.from_main(state))
