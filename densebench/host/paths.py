"""Where densebench keeps things outside the working directory."""

import os
from pathlib import Path

from densebench.host.errors import DensebenchError


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with ``~`` and ``~NAME`` as home folders.

    Raises:
        DensebenchError: there is no such user, or this one has no home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DensebenchError(
            f"{os.fspath(path)}: there is no such home folder; write the path out, or set HOME, "
            "DENSEBENCH_CACHE and DENSEBENCH_HOME"
        ) from error


def cache_home() -> Path:
    """The folder of all that can be made again: ``DENSEBENCH_CACHE``, or the user's cache."""
    chosen = os.environ.get("DENSEBENCH_CACHE")
    if chosen:
        return expanded(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expanded(base) / "densebench"


def data_home() -> Path:
    """The folder that holds the datasets: ``DENSEBENCH_DATA``, or ``data`` where you are."""
    return expanded(os.environ.get("DENSEBENCH_DATA", "data"))


def user_home() -> Path:
    """The folder of what belongs to the user: ``DENSEBENCH_HOME``, or the user's data."""
    chosen = os.environ.get("DENSEBENCH_HOME")
    if chosen:
        return expanded(chosen)
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return expanded(base) / "densebench"
