"""One job: which of its runs it does, what it notes, and when it ends."""

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from densebench.host.gpus import VISIBLE
from densebench.host.watcher import Watcher
from densebench.run.apart import Outcome
from densebench.run.options import RunOptions
from densebench.run.sweep import worker
from densebench.run.sweep.states import Note, Sweep, SweepFolder, holding
from densebench.run.sweep.worker import Job, do_runs

RUNS = tuple(RunOptions("rgb_s14", "scenes_linear", seed=seed) for seed in range(5))


@pytest.fixture
def files(tmp_path: Path) -> SweepFolder:
    files = SweepFolder(tmp_path / "sweep")
    files.plan(Sweep(place=tmp_path, jobs=(RUNS,)))
    return files


@pytest.fixture
def done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds of the runs that were done; the third fails, the fourth is interrupted."""
    seeds: list[int] = []

    def work(runs: Sequence[RunOptions], watcher: Watcher) -> Iterator[Outcome]:
        for run in runs:
            seeds.append(run.seed)
            path = tmp_path / f"{run.seed}.json"
            if run.seed == 2:
                yield Outcome(run, None, None, "no\nimages")
            elif run.seed == 3:
                yield Outcome(run, None, None, "ended", interrupted=True)
            else:
                path.touch()
                yield Outcome(run, None, path)

    monkeypatch.setattr(worker, "work", work)
    return seeds


def test_what_became_of_each_is_noted(files: SweepFolder, done: list[int], tmp_path: Path) -> None:
    do_runs(files, RUNS, Watcher())
    assert [files.note(run) for run in RUNS] == [
        Note(state="done", record=tmp_path / "0.json"),
        Note(state="done", record=tmp_path / "1.json"),
        Note(state="failed", reason="no images"),
        Note(state="running"),  # from outside, so that it has not failed
        Note(state="done", record=tmp_path / "4.json"),
    ]
    do_runs(files, RUNS, Watcher())
    assert done == [0, 1, 2, 3, 4, 3]  # what is done or failed is not done again


def test_a_job_that_another_process_is_at(
    files: SweepFolder, done: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LOOK", 0.2)
    monkeypatch.chdir(files.folder)
    with holding(files.lock(0)):
        Job(files.folder, 0)()
    assert not done
    Job(files.folder, 0)()
    assert done == [0, 1, 2, 3, 4]
    assert Path.cwd() == files.folder.parent  # where relative paths are meant


def test_a_job_begins_again_as_it_was(files: SweepFolder) -> None:
    """What submitit keeps for the next time, in whatever process that is."""
    job = pickle.loads(pickle.dumps(Job(files.folder, 3)))
    again = job.checkpoint()
    assert again.function == Job(files.folder, 3)
    assert (again.args, again.kwargs) == ((), {})


ENDS = """
import os, sys, time
from pathlib import Path
from densebench.run.sweep.worker import LocalShare, _take
_take(LocalShare(sys.argv[2] or None, sys.argv[2] or None, Path(sys.argv[1])))
print(*map(os.environ.get, ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("gpus", "told"), [("1", "1 1\n"), ("", "None None\n")])
def test_a_job_here_ends_with_its_driver(files: SweepFolder, gpus: str, told: str) -> None:
    with files.rope() as rope:
        process = subprocess.Popen(
            [sys.executable, "-c", ENDS, str(rope), gpus],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, VISIBLE: ""},
        )
        assert process.stdout is not None
        assert process.stdout.readline() == told
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
    with process:
        assert process.wait(10) == 1
    assert not rope.exists()
