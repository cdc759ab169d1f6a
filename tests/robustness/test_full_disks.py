"""A disk without room: one line, nothing half written, and with room again all is as it should."""

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

COMMANDS = {
    "run": "run --backbone rgb_s14 --task data/retrieval.toml --results disk/new --save-panels 1",
    "linear": "run --backbone net.py:make --task data/linear.toml --results disk/new",
    "posttrain": "posttrain --backbone net.py:make --recipe tiny.toml --name new "
    "--data data/images --out disk/new --overwrite",
    "profile": "profile --backbone rgb_s14 --size 28 --batch-size 1 --results disk/new",
    "extract": "extract --backbone rgb_s14 --image data/images --size 28 --out disk/out.npz",
    "predict": "predict --backbone net.py:make --head head.safetensors --image good.png "
    "--out disk/out.png",
    "html": "leaderboard --results results --html disk/board.html",
    "csv": "leaderboard --results results --csv disk/board.csv --latex disk/board.tex",
    "reproduce": "reproduce neco-voc --dry-run --markdown disk/table.md",
}
LEFT = {
    "run": "disk/new/rgb_s14/*/*.json",
    "linear": "disk/new/net.py*/*/*.json",
    "posttrain": "disk/new/student.safetensors",
    "profile": "disk/new/**/*.json",
    "extract": "disk/out.npz",
    "predict": "disk/out.png",
    "html": "disk/board.html",
    "csv": "disk/board.*",
    "reproduce": "disk/table.md",
}


def half_written(folder: Path) -> list[Path]:
    made = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    empty = [path for path in made if not path.stat().st_size and path.name != "lock"]
    return empty + [path for path in made if path.name.endswith(".part")]


def room(most: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


@pytest.mark.parametrize("most", [0, 60, 1000, 4100, 20_000])
@pytest.mark.parametrize("command", COMMANDS)
def test_no_room_for_a_file_of_more(going: type, place: Path, command: str, most: int) -> None:
    """More bytes than ``most``; what is there in the end is whole."""
    (place / "disk").mkdir()
    arguments = COMMANDS[command].split()
    done = going(place, arguments, first=room(most)).ended()
    assert not done.fault, f"{done.fault}: {done}"
    assert done.code == 0 or "no space left" in done.err, done.err
    assert not half_written(place)
    done = going(place, arguments).ended()
    assert done.code == 0, done.err
    assert list(place.glob(LEFT[command]))


@pytest.fixture
def disk(place: Path) -> Iterator[Callable[[int], None]]:
    """A small file system in memory, and what makes it another size."""
    there = place / "disk"
    there.mkdir()

    def mount(*options: str) -> bool:
        if os.geteuid() or shutil.which("mount") is None:
            return False
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "none", str(there)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    if not mount("size=16k"):
        pytest.skip("no file system may be mounted here; files of a bounded size stand for one")
    yield lambda pages: mount("remount", f"size={4 * pages}k")
    subprocess.run(["umount", "-l", str(there)], check=True)


@pytest.mark.parametrize("pages", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("where", ["results", "cache"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_disk_that_is_full(
    going: type, place: Path, disk: Callable, command: str, where: str, pages: int
) -> None:
    """Of so many pages of 4 kB: where results go, or where features are kept."""
    disk(pages)
    arguments = COMMANDS[command].split()
    env = {}
    if where == "cache":
        arguments = [part.replace("disk/", "") for part in arguments]
        env = {"DENSEBENCH_CACHE": f"{place}/disk/cache"}
    done = going(place, arguments, env).ended()
    assert not done.fault, f"{done.fault}: {done}"
    if where == "cache":  # what cannot be kept is computed again
        assert done.code == 0, done.err
        return
    assert done.code == 0 or "no space left" in done.err, done.err
    assert not half_written(place / "disk")
    disk(1000)
    done = going(place, arguments).ended()
    assert done.code == 0, done.err
    assert list(place.glob(LEFT[command]))
