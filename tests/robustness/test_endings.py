"""However a command is ended, or what it writes to: a line, nothing lost, and it goes on."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

RUN = "run --backbone rgb_s14 --task data/retrieval.toml --results new --overwrite"
LINEAR = "run --backbone net.py:make --task data/linear.toml --results new --overwrite"
TRAIN = "posttrain --backbone net.py:make --recipe tiny.toml --name new --data data/images"
COMMANDS = {
    "run": RUN,
    "linear": LINEAR,
    "matrix": RUN.replace("rgb_s14", "rgb_s14,hog_s14"),
    "posttrain": f"{TRAIN} --overwrite",
    "profile": "profile --backbone rgb_s14 --size 28 --batch-size 1 --results new",
    "extract": "extract --backbone rgb_s14 --image data/images --size 28 --out out.npz",
    "predict": "predict --backbone net.py:make --head head.safetensors --image good.png "
    "--out out.png",
    "leaderboard": "leaderboard --results results --html board.html",
    "list": "list",
    "show": "show rgb_s14",
    "cache": "cache list",
    "clear": "cache clear",
    "compare": "compare rgb_s14 rgb_s14 --task tiny_retrieval --results results",
    "doctor": "doctor --results results",
    "reproduce": "reproduce neco-voc --dry-run --markdown table.md",
    "weights": "weights list",
    "prepare": "data prepare camvid --from data --root datasets --accept-license",
    "verify": "data verify camvid --root datasets",
    "sweep": "sweep --backbone rgb_s14 --task data/retrieval.toml --results new --dry-run",
    "demo": "demo --out shown",
}
# What prints its results as it finds them.
PRINTS = ("list", "weights", "demo", "cache", "show", "clear")
# Which of them find something wrong here: no data, which is so however they are ended.
REFUSED = ("prepare", "verify")
# The whole of it takes its minute.
LONG = ("matrix", "demo")
AGAIN = ("run", "linear", "extract", "leaderboard", "compare", "reproduce", "clear", "sweep")


def few_scenes() -> None:
    """The demo draws ten pictures, else each of its cases begins with ten seconds of drawing."""
    from densebench.datasets import scenes

    scenes.COUNTS.update(trainaug=6, val=4)


def left_behind(place: Path) -> list[Path]:
    """Files of which only a part is there, or nothing."""
    made = [path for path in place.rglob("*") if path.is_file() and path.suffix != ".lock"]
    empty = [path for path in made if not path.stat().st_size and path.name != "lock"]
    return empty + [path for path in made if path.name.endswith(".part")]


@pytest.mark.parametrize("after", [20, 200, 1000])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_signal(
    going: type, at_call: Callable, place: Path, command: str, number: int, after: int
) -> None:
    arguments = COMMANDS[command].split()
    stop = at_call(after, lambda: os.kill(os.getpid(), number))
    done = going(place, arguments, first=lambda: (few_scenes(), stop())).ended()
    assert "Traceback" not in done.err, done.err
    assert done.code in (0, 130) or (done.code == 2 and command in REFUSED), done
    if done.code == 130:
        assert done.err.splitlines()[-1].startswith("interrupted"), done.err
        assert done.out == "" or command in PRINTS
    assert not left_behind(place)
    if command in AGAIN:
        assert going(place, arguments).ended().code == 0


@pytest.mark.parametrize("after", [50, 500, 1500])
@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in LONG])
def test_killed_and_again(
    going: type, at_call: Callable, place: Path, command: str, after: int
) -> None:
    """As if nothing had been; what was half written has gone."""
    arguments = COMMANDS[command].split()
    end = at_call(after, lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert going(place, arguments, first=end).ended().code in (0, 2, -signal.SIGKILL)
    done = going(place, arguments).ended()
    assert not done.fault, f"{done.fault}: {done}"
    assert done.code == (2 if command in REFUSED else 0), done.err
    assert not left_behind(place)
    assert command not in LEFT or list(place.glob(LEFT[command]))


def no_reader(*numbers: int) -> Callable[[], None]:
    """``| head -1``, where head has gone already."""

    def set_up() -> None:
        read, write = os.pipe()
        os.close(read)
        for number in numbers:
            os.dup2(write, number)

    return set_up


def closed(number: int, name: str) -> Callable[[], None]:
    """``>&-``."""

    def set_up() -> None:
        os.close(number)
        setattr(sys, name, None)

    return set_up


STREAMS = {
    "head": no_reader(1),
    "head of both": no_reader(1, 2),
    "no output": closed(1, "stdout"),
    "no errors": closed(2, "stderr"),
}
LEFT = {
    "run": "new/rgb_s14/*/*.json",
    "linear": "new/net.py*/*/*.json",
    "posttrain": "posttrained/new/student.safetensors",
    "profile": "new/**/*.json",
    "extract": "out.npz",
    "predict": "out.png",
    "leaderboard": "board.html",
}


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in LONG])
def test_nobody_reads(going: type, place: Path, command: str, stream: str) -> None:
    """The work is done all the same."""
    done = going(place, COMMANDS[command].split(), first=STREAMS[stream]).ended()
    told = stream not in ("head of both", "no errors")
    assert not done.fault or (command in REFUSED and not told), f"{done.fault}: {done}"
    assert done.code == (2 if command in REFUSED else 0)
    assert command not in LEFT or list(place.glob(LEFT[command]))


@pytest.mark.slow
def test_nobody_reads_of_many_runs(going: type, place: Path) -> None:
    """Each of which has a process that is not a fork, and takes its time."""
    done = going(place, COMMANDS["matrix"].split(), first=STREAMS["head"]).ended(240)
    assert done.code == 0, done
    assert len(list(place.glob("new/*/*/*.json"))) == 2
