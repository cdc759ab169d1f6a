"""Several processes in one place, one of which may be killed: each result is that of one alone."""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from itertools import combinations_with_replacement
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

RUN, LINEAR, TRAIN, EXTRACT = (
    line.split()
    for line in (
        "run --backbone rgb_s14 --task data/retrieval.toml --results new",
        "run --backbone net.py:make --task data/linear.toml --results new",
        "posttrain --backbone net.py:make --recipe tiny.toml --name new --data data/images",
        "extract --backbone rgb_s14 --image data/images --size 28 --out out.npz",
    )
)
ALONE = {"run": (RUN, "rgb_s14"), "linear": (LINEAR, "net.py*")}


def scores(folder: Path, backbone: str) -> list[Any]:
    return [json.loads(file.read_text())["scores"] for file in folder.glob(f"{backbone}/*/*.json")]


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("what", ALONE)
def test_runs_at_once(going: type, place: Path, what: str, count: int) -> None:
    """On a cache that has nothing yet, with one folder of results."""
    command, backbone = ALONE[what]
    env = {"DENSEBENCH_CACHE": f"{place}/cache"}
    at_work = [going(place, command, env) for _ in range(count)]
    ended = [one.ended() for one in at_work]
    assert [done.err.splitlines()[-1] for done in ended if done.code] == []
    assert scores(place / "new", backbone) == scores(place / "results", backbone)
    assert not list(place.rglob("*.part"))


TYPED = {
    "depth": "run --backbone rgb_s14 --task data/depth_linear.toml --results new",
    "again": "run --backbone rgb_s14 --task data/retrieval.toml --results results --overwrite",
    "panels": "run --backbone hog_s14 --task data/retrieval.toml --results new --save-panels 2",
    "predict": "predict --backbone net.py:make --head head.safetensors --image good.png "
    "--out out.png",
    "profile": "profile --backbone rgb_s14 --size 28 --batch-size 1 --results new",
    "leaderboard": "leaderboard --results results --html board.html",
    "init": "data init data --name new --overwrite",
}
SIDE_BY_SIDE = {
    **{"run": RUN, "linear": LINEAR, "posttrain": TRAIN, "extract": EXTRACT},
    **{name: words.split() for name, words in TYPED.items()},
}
PAIRS = list(combinations_with_replacement(SIDE_BY_SIDE, 2))
# What a second one of the same is refused, as long as the first is at it.
ALONE_IN_ITS_PLACE = ("posttrain",)


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=[f"{a}-{b}" for a, b in PAIRS])
def test_two_commands_at_once(going: type, place: Path, first: str, second: str) -> None:
    """In one folder, with a cache that has nothing yet: each ends as it does alone."""
    env = {"DENSEBENCH_CACHE": f"{place}/cache"}
    at_work = [going(place, SIDE_BY_SIDE[name], env) for name in (first, second)]
    ended = [one.ended() for one in at_work]
    assert not [done for done in ended if done.fault], ended
    refused = [done for done in ended if done.code]
    assert not refused or (first == second and first in ALONE_IN_ITS_PLACE and len(refused) == 1)
    assert not list(place.rglob("*.part"))
    for command, backbone in ALONE.values():
        if command in (SIDE_BY_SIDE[first], SIDE_BY_SIDE[second]):
            (file,) = place.glob(f"new/{backbone}/tiny_{Path(command[4]).stem}/*.json")
            assert json.loads(file.read_text())["scores"] in scores(place / "results", backbone)


def stop_in_training() -> None:
    """The process halts as soon as its learner is at work, when the name is taken."""

    def halt(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if code.co_name == "step" and code.co_filename.endswith("posttrain/learner.py"):
            sys.setprofile(None)
            os.kill(os.getpid(), signal.SIGSTOP)

    sys.setprofile(halt)


def test_two_post_trainings_of_one_name(going: type, place: Path) -> None:
    first = going(place, TRAIN, first=stop_in_training)
    assert first.stopped()
    second = going(place, TRAIN).ended()
    os.kill(first.process, signal.SIGCONT)
    assert second.code == 2, second
    assert not second.fault
    assert first.ended().code == 0


def children_of(process: int) -> list[int]:
    """The processes that it started and that have not ended."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = file.read_text().rpartition(")")[2].split()[:2]
            found += [int(file.parent.name)] if int(parent) == process and state != "Z" else []
    return found


def is_there(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc is not here")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_run_of_a_matrix_ends_with_it(going: type, place: Path, number: int) -> None:
    """However it is ended, and it alone: nothing goes on computing."""
    matrix = going(place, [*RUN[:2], "rgb_s14,hog_s14", *RUN[3:]])
    until = time.monotonic() + 60
    while not (children := children_of(matrix.process)) and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(1)
    os.kill(matrix.process, number)
    done = matrix.ended()
    assert done.code == (-signal.SIGKILL if number == signal.SIGKILL else 130), done
    assert "Traceback" not in done.err, done.err
    until = time.monotonic() + 15
    while any(map(is_there, children)) and time.monotonic() < until:
        time.sleep(0.1)
    assert children
    assert not [child for child in children if is_there(child)]


@pytest.mark.parametrize("after", [200, 500, 700, 1000, 1300])
@pytest.mark.parametrize("what", ALONE)
def test_the_cache_is_cleared_in_the_middle(
    going: type, at_call: Callable, place: Path, what: str, after: int
) -> None:
    command, backbone = ALONE[what]
    env = {"DENSEBENCH_CACHE": f"{place}/cache"}
    halt = at_call(after, lambda: os.kill(os.getpid(), signal.SIGSTOP))
    run = going(place, command, env, first=halt)
    assert run.stopped()
    assert going(place, ["cache", "clear"], env).ended().code == 0
    os.kill(run.process, signal.SIGCONT)
    done = run.ended()
    assert done.code == 0, done
    assert scores(place / "new", backbone) == scores(place / "results", backbone)


@pytest.mark.parametrize("after", [100, 300, 500, 700, 900, 1100, 1300, 1500])
@pytest.mark.parametrize("command", [RUN, LINEAR, TRAIN, EXTRACT], ids=lambda words: words[0])
def test_what_a_killed_process_left(
    going: type, at_call: Callable, place: Path, command: list[str], after: int
) -> None:
    """The next one goes on, and clears it away."""
    env = {"DENSEBENCH_CACHE": f"{place}/cache"}
    end = at_call(after, lambda: os.kill(os.getpid(), signal.SIGKILL))
    killed = going(place, command, env, first=end).ended()
    assert killed.code in (0, -signal.SIGKILL)
    resumed = ["--resume"] if command is TRAIN and (place / "posttrained/new").exists() else []
    done = going(place, [*command, *resumed], env).ended()
    assert done.code == 0, done
    assert not list(place.rglob("*.part"))
    assert not list(place.glob("new/.unfinished/*"))
    for what, (asked, backbone) in ALONE.items():
        if asked is command:
            assert scores(place / "new", backbone) == scores(place / "results", backbone), what
