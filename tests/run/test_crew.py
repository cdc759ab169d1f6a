"""The processes of one run: what each of them sees, and when they end."""

import sys
import time
from threading import Event, Timer

import pytest

from densebench.host.children import PATIENCE
from densebench.host.cores import THREADS
from densebench.run import crew
from densebench.run.crew import Share, worked

SHOW = """
import os, sys
names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "CUDA_VISIBLE_DEVICES")
print(*map(os.environ.get, names), os.environ["OMP_NUM_THREADS"], sys.stdin.read())
print("told", file=sys.stderr)
sys.exit(int(os.environ["RANK"]) * 3)
"""
WAIT = """
import os, sys, time
from densebench.host.children import end_with_parent
try:
    end_with_parent(int(sys.argv[1]))
    if os.environ.get("RANK") == "1":
        sys.exit(7)
    time.sleep(100)
except KeyboardInterrupt:
    print("interrupted")
    sys.exit(130)
"""


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_one_for_each_gpu() -> None:
    heard: list[str] = []
    share = Share(("4", "6"), "3")
    codes, printed = worked(python(SHOW), b"given", share, heard.append)
    assert codes == [0, 3]
    assert printed == "0 0 2 2 4,6 3 given"  # of the first alone
    until = time.monotonic() + 10
    while len(heard) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert heard == ["told"] * 2


@pytest.mark.parametrize("gpus", [(), ("5",)])
def test_one_process_is_not_one_of_several(
    gpus: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv(THREADS, "2")
    assert Share(gpus).processes == 1
    codes, printed = worked(python(SHOW), b"", Share(gpus))
    assert codes == [0]
    assert printed == f"0 None None None {gpus[0] if gpus else '1,2'} 2"


def test_one_that_fails_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "GRACE", 0.1)
    codes, printed = worked(python(WAIT), b"", Share(("0", "1")))
    assert codes == [130, 7]
    assert printed == "interrupted"


def test_stopped_from_outside() -> None:
    stop = Event()
    Timer(0.5, stop.set).start()
    begin = time.monotonic()
    codes, printed = worked(python(WAIT), b"", Share(stop=stop))
    assert (codes, printed) in (([130], "interrupted"), ([1], ""))  # before Python was at it
    assert time.monotonic() - begin < 60 + PATIENCE
