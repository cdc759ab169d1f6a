"""Several processes in one place, one of which may be killed: each result is that of one alone."""

import json
import os
import signal
import sys
from collections.abc import Callable
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
