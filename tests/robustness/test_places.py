"""Wherever a command works, and whoever has it work: it works, or one line says what it lacks."""

import ctypes
import os
import pwd
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

RUN = "run --backbone hog_s14 --task data/retrieval.toml --results results"
LINEAR = "run --backbone net.py:make --task data/linear.toml --results results --overwrite"
TRAIN = "posttrain --backbone net.py:make --recipe tiny.toml --name new --data data/images"
COMMANDS = {
    "run": RUN,
    "linear": LINEAR,
    "posttrain": TRAIN,
    "extract": "extract --backbone rgb_s14 --image good.png --size 28 --out made/out.npz",
    "predict": "predict --backbone net.py:make --head head.safetensors --image good.png "
    "--out made/out.png",
    "leaderboard": "leaderboard --results results --html made/board.html",
}
# What each of them writes to.
MADE = {
    "run": "results",
    "linear": "results",
    "posttrain": "posttrained",
    "extract": "made",
    "predict": "made",
    "leaderboard": "made",
}


def without_rights() -> None:
    """Root may write anywhere, unless it gives that up."""
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(header, none) == 0


def read_only(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)


@pytest.fixture
def writable_again(place: Path) -> Callable[[], None]:
    def mend() -> None:
        for path in [place, *place.rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)

    return mend


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_of_results_that_is_read_only(
    going: type, place: Path, writable_again: Callable, command: str
) -> None:
    """It is found out before the work."""
    read_only(place / MADE[command])
    done = going(place, COMMANDS[command].split(), first=without_rights).ended()
    writable_again()
    assert not done.fault, f"{done.fault}: {done}"
    assert done.code == 2
    assert "Permission denied" in done.err or "no folder to write to" in done.err
    assert "images/s" not in done.err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_cache_that_is_read_only(
    going: type, place: Path, writable_again: Callable, command: str
) -> None:
    """What cannot be kept is computed again."""
    (place / "made").mkdir()
    read_only(place / ".cache")
    done = going(place, COMMANDS[command].split(), first=without_rights).ended()
    writable_again()
    assert not done.fault, f"{done.fault}: {done}"
    assert done.code == 0, done.err


def nobody_known() -> None:
    def unknown(number: int) -> NoReturn:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    pwd.getpwuid = unknown
    os.environ.pop("HOME", None)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_user_without_a_home(going: type, place: Path, command: str) -> None:
    """With places for what is kept all works; without, a line says what to set."""
    (place / "made").mkdir()
    arguments = COMMANDS[command].split()
    assert going(place, arguments, first=nobody_known).ended().code == 0
    nowhere = {"DENSEBENCH_CACHE": "", "DENSEBENCH_HOME": "", "XDG_CACHE_HOME": ""}
    done = going(place, arguments, nowhere, first=nobody_known).ended()
    assert not done.fault, f"{done.fault}: {done}"
    assert done.code == 0 or "HOME" in done.err


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_made_obeys_the_umask(going: type, place: Path, command: str) -> None:
    (place / "made").mkdir()
    known = set(place.rglob("*"))
    done = going(place, COMMANDS[command].split(), first=lambda: os.umask(0o077)).ended()
    assert done.code == 0, done.err
    made = [path for path in set(place.rglob("*")) - known if not path.is_symlink()]
    assert made
    assert not [path for path in made if stat.S_IMODE(path.stat().st_mode) & 0o077]


@pytest.mark.parametrize("name", ["two words", "grün", "日本", "it's [old] #1 & more"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_of_any_name(going: type, place: Path, command: str, name: str) -> None:
    there = Path(shutil.copytree(place, place.with_name(name), symlinks=True))
    made = there / name
    arguments = [part.replace("made", name) for part in COMMANDS[command].split()]
    arguments = [
        name if part == "results" and command != "leaderboard" else part for part in arguments
    ]
    if command != "posttrain":
        made.mkdir()
    else:
        arguments += ["--out", name]
    done = going(there, arguments).ended()
    assert done.code == 0, done.err
    assert any(path.is_file() for path in made.rglob("*"))
