"""Which files a command may write over: those that it made itself, and none besides."""

from pathlib import Path

from densebench.host.errors import DensebenchError

HEAD = 1 << 16  # bytes at the beginning of a file, among which the line is that says who made it
LINES = 10  # at most, before our line


def check_ours(file: Path, start: str, command: str) -> None:
    """Refuse to write over what was not made by a command.

    Args:
        file: Where is to be written; it need not be there yet, and may be empty.
        start: How the line begins that the command writes into its files.
        command: As it is typed.

    Raises:
        DensebenchError: another file or a folder is there.
    """
    if not file.exists():
        return
    if not file.is_file():
        raise DensebenchError(f"{file} is no file that can be written over; choose another name")
    with file.open("rb") as opened:
        head = opened.read(HEAD).decode("utf-8", errors="replace")
    if head and not any(line.startswith(start) for line in head.splitlines()[:LINES]):
        raise DensebenchError(
            f"{file} is there and was not made by `{command}`; choose another name"
        )
