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

PREDICT = "predict --image good.png --out {}/out.png --backbone"
BOARD = "leaderboard --results results"
RUN = "run --results {} --overwrite --backbone"
# Where each of them writes to, if to anything but the cache, and the command.
COMMANDS = {
    "run": ("results", f"{RUN} hog_s14 --task data/retrieval.toml"),
    "linear": ("results", f"{RUN} net.py:make --task data/linear.toml"),
    "depth": ("results", f"{RUN} rgb_s14 --task data/depth_linear.toml --save-panels 1"),
    "posttrain": (
        "posttrained",
        "posttrain --backbone net.py:make --recipe tiny.toml --name new --data data/images "
        "--out {}/new --overwrite",
    ),
    "profile": ("results", "profile --backbone rgb_s14 --size 28 --batch-size 1 --results {}"),
    "extract": ("made", "extract --backbone rgb_s14 --image good.png --size 28 --out {}/out.npz"),
    "predict": ("made", f"{PREDICT} net.py:make --head head.safetensors"),
    "predict depth": ("made", f"{PREDICT} rgb_s14 --head depth.safetensors"),
    "html": ("made", f"{BOARD} --html {{}}/board.html"),
    "csv": ("made", f"{BOARD} --csv {{}}/board.csv"),
    "latex": ("made", f"{BOARD} --latex {{}}/board.tex"),
    "markdown": ("made", f"{BOARD} --out {{}}/board.md"),
    "reproduce": ("made", "reproduce neco-voc --dry-run --markdown {}/table.md"),
    "init": ("data", "data init {} --name new --overwrite"),
    "verify": ("", "data verify data/linear.toml"),
    "compare": ("", "compare rgb_s14 rgb_s14 --task tiny_retrieval --results results"),
    "ladder": ("", "ladder --backbone rgb_s14 --dataset scenes --dry-run --results results"),
    "sweep": ("", "sweep --backbone rgb_s14 --task data/retrieval.toml --dry-run"),
    "list": ("", "list"),
    "show": ("", "show mine"),
    "weights": ("", "weights list"),
    "cache": ("", "cache list"),
}
WRITES = [name for name, (folder, _) in COMMANDS.items() if folder]
# What needs the cards of the user.
ASKS_HOME = ("show",)


def asked(command: str, folder: str = "") -> list[str]:
    """What to type for it to write to a folder."""
    usual, words = COMMANDS[command]
    return [word.replace("{}", folder or usual) for word in words.split()]


def without_rights() -> None:
    """Root may write anywhere, unless it gives that up."""
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(header, none) == 0


def read_only(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o555 if path.is_dir() else 0o444)


@pytest.fixture
def writable_again(place: Path) -> Callable[[], None]:
    def mend() -> None:
        for path in [place, *place.rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)

    return mend


@pytest.mark.parametrize("there", [True, False], ids=["there", "to be made"])
@pytest.mark.parametrize("command", WRITES)
def test_a_folder_of_results_that_is_read_only(
    going: type, place: Path, writable_again: Callable, command: str, there: bool
) -> None:
    """It is found out before the work."""
    folder = COMMANDS[command][0]
    if there:
        read_only(place / folder)
    else:
        folder = "closed/new"
        (place / "closed").mkdir()
        if command == "init":
            shutil.copytree(place / "data", place / folder)
        read_only(place / "closed")
    done = going(place, asked(command, folder), first=without_rights).ended()
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
    done = going(place, asked(command), first=without_rights).ended()
    writable_again()
    assert not done.fault, f"{done.fault}: {done}"
    assert done.code == 0, done.err


def nobody_known() -> None:
    def unknown(number: int) -> NoReturn:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    pwd.getpwuid = unknown
    os.environ.pop("HOME", None)


HOMES: dict[str, Callable[[], object]] = {
    "nobody": nobody_known,
    "none": lambda: os.environ.pop("HOME", None),
    "absent": lambda: os.environ.update(HOME="/nowhere/at/all"),
    "file": lambda: os.environ.update(HOME=os.path.abspath("good.png")),  # noqa: PTH100
    "read only": lambda: (os.environ.update(HOME=os.path.abspath("closed")), without_rights()),  # noqa: PTH100
}


TOLD = ("closed", "/nowhere", "good.png")  # the places of them that are named


@pytest.mark.parametrize("home", HOMES)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_user_without_a_home(going: type, place: Path, command: str, home: str) -> None:
    """With places for what is kept all works; without, a line says what to set."""
    for folder in ("made", "closed"):
        (place / folder).mkdir()
    (place / "closed").chmod(0o555)
    arguments = asked(command)
    nowhere = {"DENSEBENCH_CACHE": "", "DENSEBENCH_HOME": "", "XDG_CACHE_HOME": ""}
    nowhere |= {"XDG_DATA_HOME": "", "XDG_CONFIG_HOME": ""}
    done = going(place, arguments, nowhere, first=HOMES[home]).ended()
    assert not done.fault, f"{done.fault}: {done}"
    refused = done.code == 2 and command not in ASKS_HOME
    assert not refused or any(place in done.err for place in ("HOME", *TOLD)), done.err
    assert "images seen" not in done.err or done.code == 0
    done = going(place, arguments, first=HOMES[home]).ended()
    assert done.code == 0, done


@pytest.mark.parametrize("umask", [0o077, 0o027], ids=oct)
@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_made_obeys_the_umask(going: type, place: Path, command: str, umask: int) -> None:
    (place / "made").mkdir()
    shutil.rmtree(place / ".cache")
    known = set(place.rglob("*"))
    done = going(place, asked(command), first=lambda: os.umask(umask)).ended()
    assert done.code == 0, done.err
    made = [path for path in set(place.rglob("*")) - known if not path.is_symlink()]
    assert made or command not in WRITES
    assert not [path for path in made if stat.S_IMODE(path.stat().st_mode) & umask]


NAMES = ["two words", "grün", "日本", "it's [old] #1 & more", os.fsdecode(b"gr\xfcn")]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_of_any_name(going: type, place: Path, command: str, name: str) -> None:
    """What cannot be written as text may be refused, before any work."""
    there = Path(shutil.copytree(place, place.with_name(name), symlinks=True))
    made = (
        Path(shutil.copytree(place / "data", there / name)) if command == "init" else there / name
    )
    made.mkdir(exist_ok=True)
    done = going(there, asked(command, name)).ended()
    assert not done.fault, f"{done.fault}: {done}"
    if name == NAMES[-1] and done.code == 2:
        assert "images/s" not in done.err
        return
    assert done.code == 0, done.err
    assert command not in WRITES or any(path.is_file() for path in made.rglob("*"))


@pytest.mark.parametrize("command", ["run", "linear", "depth", "posttrain", "verify", "init"])
def test_a_folder_of_data_whose_name_is_no_text(going: type, place: Path, command: str) -> None:
    """It works, or is found out before the work."""
    name = os.fsdecode(b"d\xe4ta")
    (place / "data").rename(place / name)
    words = [word.replace("data/", f"{name}/") for word in asked(command)]
    done = going(place, asked(command, name) if command == "init" else words).ended()
    assert not done.fault, f"{done.fault}: {done}"
    assert done.code == 0 or "images/s" not in done.err, done.err
