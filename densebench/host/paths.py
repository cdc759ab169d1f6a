"""Where densebench keeps things outside the working directory."""

import os
from pathlib import Path


def cache_home() -> Path:
    """The folder of all that can be made again: ``DENSEBENCH_CACHE``, or the user's cache."""
    chosen = os.environ.get("DENSEBENCH_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "densebench"


def data_home() -> Path:
    """The folder that holds the datasets: ``DENSEBENCH_DATA``, or ``data`` where you are."""
    return Path(os.environ.get("DENSEBENCH_DATA", "data")).expanduser()


def user_home() -> Path:
    """The folder of what belongs to the user: ``DENSEBENCH_HOME``, or the user's data."""
    chosen = os.environ.get("DENSEBENCH_HOME")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "densebench"
