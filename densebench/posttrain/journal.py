"""What a training tells as it goes: JSON lines in a file, and TensorBoard where it is wanted."""

import json
from pathlib import Path
from typing import Any

from densebench.files.atomic import write_atomically
from densebench.files.regular import parse_json, read_bytes
from densebench.host.errors import DensebenchError


class Journal:
    """The log of a training, one JSON object a line; `step` counts from 1.

    Args:
        file: the log; of what is there already, lines of steps after `done` are left out, since
            they will be written again.
        done: how many steps were taken before.
        tensorboard: a folder for TensorBoard's files, or None.

    Raises:
        DensebenchError: TensorBoard is asked for and not installed.
    """

    def __init__(self, file: Path, done: int = 0, tensorboard: Path | None = None) -> None:
        kept = [line for line in read_journal(file) if line["step"] <= done]
        write_atomically(file, "".join(f"{json.dumps(line)}\n" for line in kept))
        self._path, self._file = file, file.open("a", encoding="utf-8")
        self._board = _board(tensorboard, done) if tensorboard is not None else None

    def write(self, step: int, **values: Any) -> None:
        """Append a line; numbers go to TensorBoard too."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        if self._board is not None:
            for key, value in values.items():
                if isinstance(value, int | float):
                    self._board.add_scalar(f"posttrain/{key}", value, step)

    def close(self) -> None:
        """Write out what is left; where nothing could be written, no empty file stays."""
        try:
            self._file.close()
        finally:
            if self._path.is_file() and not self._path.stat().st_size:
                self._path.unlink()
        if self._board is not None:
            self._board.close()


def read_journal(file: Path) -> list[dict[str, Any]]:
    """The lines of a log, up to the first that is cut off or damaged."""
    if not file.is_file():
        return []
    lines = []
    for text in read_bytes(file).decode("utf-8", "replace").splitlines():
        try:
            line = parse_json(text)
        except ValueError:
            break
        if not isinstance(line, dict) or not isinstance(line.get("step"), int):
            break
        lines.append(line)
    return lines


def _board(folder: Path, done: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise DensebenchError(
            "--tensorboard needs TensorBoard: pip install 'densebench[tensorboard]'"
        ) from error
    return SummaryWriter(str(folder), purge_step=done + 1)
