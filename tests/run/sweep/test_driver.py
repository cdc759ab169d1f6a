"""A sweep from its plan to its records, through submitit's local executor and a cluster's."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from densebench.host.cores import THREADS
from densebench.host.errors import DensebenchError
from densebench.host.gpus import VISIBLE
from densebench.host.watcher import Watcher
from densebench.records.store import load_record
from densebench.run.jobs import wanted_runs
from densebench.run.options import RunOptions
from densebench.run.sweep import driver
from densebench.run.sweep.driver import plan_sweep, resume, start, states, summary
from densebench.run.sweep.places import read_place
from densebench.run.sweep.states import Note, Sweep, SweepFolder, holding
from densebench.run.sweep.worker import Job, do_runs

COMMAND = (sys.executable, "-m", "densebench.cli", "sweep")
SECONDS = 300.0
SLOW = """
import time
import torch

class Slow(torch.nn.Module):
    patch_size, embed_dim = 14, 3
    def forward(self, images):
        time.sleep(300)

def make():
    return Slow()
"""


def planned(tasks: list[Path], backbones: list[str], seeds: int, on: str = "local") -> Sweep:
    base = RunOptions("", "", device="cpu", results=Path("results"))
    runs = wanted_runs(base, backbones, [str(task) for task in tasks], range(seeds))
    return plan_sweep(runs, read_place(on))


def wait_until(holds: Callable[[], object]) -> None:
    until = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


class FakeJobs:
    """Stands for submitit's: a job is done when it was asked about a few times."""

    def __init__(self, looks: int = 3, fails: bool = False) -> None:
        self.looks, self.fails = looks, fails
        self.started: list[Job] = []
        self.left: dict[int, int] = {}
        self.most = 0
        self.cancelled: list[int] = []

    def start(self, job: Job, logs: Path) -> Any:
        self.started.append(job)
        self.left[job.number] = self.looks
        self.most = max(self.most, len(self.left))
        files = SweepFolder(job.folder)
        for run in files.read().jobs[job.number]:
            files.tell(run, self.note(files, run))
        fakes, pickled = self, logs / f"{100 + job.number}_submitted.pkl"
        logs.mkdir(exist_ok=True)
        pickled.touch()

        class FakeJob:
            job_id = str(100 + job.number)
            paths = type("Paths", (), {"stderr": logs / "log", "submitted_pickle": pickled})

            def done(self) -> bool:
                fakes.left[job.number] -= 1
                if fakes.left[job.number] == 0:
                    del fakes.left[job.number]
                    return True
                return False

            def cancel(self) -> None:
                fakes.cancelled.append(job.number)

        return FakeJob()

    def note(self, files: SweepFolder, run: RunOptions) -> Note:
        if self.fails:
            return Note(state="failed", reason="no images")
        record = files.folder / f"{run.seed}.json"
        record.touch()
        return Note(state="done", record=record)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> FakeJobs:
    fakes = FakeJobs()
    monkeypatch.setattr(driver, "start_here", fakes.start)
    monkeypatch.setattr(driver, "POLL", 0.001)
    return fakes


@pytest.mark.usefixtures("own_places")
class TestOrder:
    def test_so_many_at_a_time_each_once(self, fakes: FakeJobs) -> None:
        sweep = planned([Path("scenes_linear"), Path("scenes_incontext")], ["rgb_s14"], 2)
        assert [len(job) for job in sweep.jobs] == [4]  # of one backbone on the same images
        sweep = Sweep(place=sweep.place, jobs=tuple((run,) for run in sweep.runs))
        found = start(Path("sweep"), sweep, "local:3", Watcher())
        assert [job.number for job in fakes.started] == [0, 1, 2, 3]
        assert fakes.most == 3
        assert summary(found) == "4 done"
        assert not list(Path("sweep/logs").glob("*.pkl"))  # a number may come again
        assert start(Path("sweep"), sweep, "local:3", Watcher()) == found
        assert len(fakes.started) == 4

    def test_what_failed_is_tried_again_where_that_is_asked(self, fakes: FakeJobs) -> None:
        fakes.fails = True
        sweep = planned([Path("scenes_linear")], ["rgb_s14", "hog_s14"], 1)
        found = start(Path("sweep"), sweep, "local:1", Watcher())
        assert [(s.state, s.told) for s in found] == [("failed", "no images")] * 2
        fakes.fails = False
        assert resume(Path("sweep"), None, False, Watcher()) == found
        assert len(fakes.started) == 2
        assert summary(resume(Path("sweep"), None, True, Watcher())) == "2 done"

    def test_a_record_that_has_gone_is_made_again(self, fakes: FakeJobs) -> None:
        start(Path("sweep"), planned([Path("scenes_linear")], ["rgb_s14"], 1), "local", Watcher())
        Path("sweep/0.json").unlink()
        (state,) = states(Path("sweep"))
        assert state.state == "missing" and "its record has gone" in state.told
        assert summary(resume(Path("sweep"), None, False, Watcher())) == "1 done"

    def test_an_interruption_ends_what_runs(
        self, fakes: FakeJobs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(seconds: float) -> None:
            raise KeyboardInterrupt

        sweep = planned([Path("scenes_linear")], ["rgb_s14", "hog_s14"], 1)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("densebench.run.sweep.driver.time.sleep", interrupt)
            start(Path("sweep"), sweep, "local:2", Watcher())
        assert fakes.cancelled == [0, 1]
        resume(Path("sweep"), None, False, Watcher())
        assert not list(Path("sweep/logs").glob("*.pkl"))

    def test_another_sweep_in_the_folder_starts_nothing(self, fakes: FakeJobs) -> None:
        start(Path("sweep"), planned([Path("scenes_linear")], ["rgb_s14"], 1), "local", Watcher())
        other = planned([Path("scenes_linear")], ["rgb_s14"], 2)
        with pytest.raises(DensebenchError, match="holds another sweep"):
            start(Path("sweep"), other, "local", Watcher())
        assert len(fakes.started) == 1

    def test_each_job_has_one_of_several_gpus(
        self, fakes: FakeJobs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runs = [RunOptions("rgb_s14", "scenes_linear", seed=seed) for seed in range(3)]
        sweep = Sweep(place=Path.cwd(), jobs=tuple((run,) for run in runs))
        monkeypatch.setenv(VISIBLE, "4,5")
        start(Path("sweep"), sweep, "local:3", Watcher())
        assert [job.local.gpus for job in fakes.started if job.local] == ["4", "5", "4"]

    @pytest.mark.parametrize(("on", "cores"), [("local:2", "4"), ("local:1", None)])
    def test_jobs_share_the_cores(
        self, fakes: FakeJobs, monkeypatch: pytest.MonkeyPatch, on: str, cores: str | None
    ) -> None:
        monkeypatch.delenv(THREADS)
        monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(9)), raising=False)
        sweep = planned([Path("scenes_linear")], ["rgb_s14", "hog_s14"], 1)
        start(Path("sweep"), sweep, on, Watcher())
        monkeypatch.setenv(THREADS, "3")
        start(Path("again"), sweep, on, Watcher())
        told = [job.local.threads for job in fakes.started if job.local]
        assert told == [cores, cores, "3", "3"]


@pytest.mark.usefixtures("own_places")
class TestChecks:
    """All before anything is submitted, so that no folder is made."""

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"backbone": "rbg_s14"}, "did you mean 'rgb_s14'"),
            ({"backbone": "mine.py:make"}, "no file mine.py"),
            ({"task": "scenes_liner"}, "did you mean 'scenes_linear'"),
            ({"params": {"epoch": 1}}, "unknown key 'epoch'"),
            ({"variant": "original"}, "original"),
            ({"device": "gpu"}, "'gpu' is no device"),
            ({"train_list": Path("absent/train.txt")}, "absent/train.txt"),
            ({"subset": "1/7"}, "1/7"),
        ],
    )
    @pytest.mark.parametrize("on", ["local", "slurm"])
    def test_what_is_wrong_with_a_run(self, change: dict[str, Any], told: str, on: str) -> None:
        options = {"backbone": "rgb_s14", "task": "scenes_linear", **change}
        runs = [RunOptions("hog_s14", "scenes_linear"), RunOptions(**options)]
        with pytest.raises(DensebenchError, match=told):
            plan_sweep(runs, read_place(on))

    def test_a_cluster_may_have_what_is_not_here(self) -> None:
        run = RunOptions("rgb_s14", "scenes_linear", device="cuda:7")
        assert plan_sweep([run, run], read_place("slurm")).jobs == ((run,),)


def test_states(tmp_path: Path) -> None:
    runs = tuple(RunOptions("rgb_s14", "scenes_linear", seed=seed) for seed in range(6))
    files = SweepFolder(tmp_path / "sweep")
    files.plan(Sweep(place=tmp_path, jobs=(runs[:4], runs[4:])))
    record = tmp_path / "record.json"
    record.touch()
    files.tell(runs[0], Note(state="done", record=record))
    files.tell(runs[1], Note(state="failed", reason="no images"))
    files.tell(runs[2], Note(state="running"))
    files.submit("local:1", "local", {0: "12"})

    def told() -> list[tuple[str, str]]:
        return [(state.state, state.told) for state in states(files.folder)]

    log = f"{files.logs}/12_0_log.err"
    known = [("done", str(record)), ("failed", "no images")]
    with files.driven(), holding(files.lock(0)):
        assert told() == [*known, ("running", log), ("waiting", ""), *[("waiting", "")] * 2]
    ended = ("missing", f"its job ended before it was done: {log}")
    assert told() == [*known, ended, ended, ("missing", ""), ("missing", "")]
    assert summary(states(files.folder)) == "1 done, 1 failed, 4 missing"


def records(place: Path) -> dict[Path, int]:
    found = (place / "results").rglob("*-seed*.json")
    return {path: path.stat().st_mtime_ns for path in found if ".panels" not in str(path)}


def killed_and_resumed(
    place: Path, tasks: list[Path], backbones: list[str], on: str
) -> dict[Path, int]:
    """A sweep whose driver is killed when it has a record, and what there is when it went on."""
    options = ("--backbone", ",".join(backbones), "--task", ",".join(map(str, tasks)))
    where = ("--on", on, "--device", "cpu", "--results", "results", "--cache", "off")
    total = len(tasks) * len(backbones)
    with subprocess.Popen([*COMMAND, *options, *where], stderr=subprocess.DEVNULL) as first:
        wait_until(lambda: records(place))
        started = psutil.Process(first.pid).children(recursive=True)
        first.kill()
    before = records(place)
    assert 0 < len(before) < total
    psutil.wait_procs(started, timeout=20)
    assert not [p for p in started if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    found = [state.state for state in states(Path("sweep"))]
    assert "missing" in found and "running" not in found and "waiting" not in found
    done = subprocess.run(
        [*COMMAND, "resume"], capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr
    assert f"{total} done" in done.stdout
    after = records(place)
    assert len(after) == total
    assert before.items() <= after.items()  # none was done twice
    told = {load_record(path).run_id for path in after}
    assert len(told) == total
    return after


@pytest.mark.slow
def test_killed_in_the_middle_and_resumed(own_places: Path, tiny_task: Path) -> None:
    killed_and_resumed(own_places, [tiny_task], ["rgb_s14", "hog_s14"], "local:1")


@pytest.mark.slow
def test_six_runs_killed_in_the_middle_and_resumed(
    own_places: Path, tiny_task: Path, colour_task: Path
) -> None:
    tasks = [tiny_task, tiny_task.with_name("linear.toml"), colour_task]
    found = killed_and_resumed(own_places, tasks, ["rgb_s14", "hog_s14"], "local:2")
    assert {path.parts[-3:-1] for path in found} == {
        (name, task)
        for name in ("rgb_s14", "hog_s14")
        for task in ("tiny_retrieval", "tiny_linear")
    }


@pytest.mark.slow
def test_ctrl_c_ends_all_with_one_line(own_places: Path, tiny_task: Path) -> None:
    (own_places / "slow.py").write_text(SLOW)
    options = ("--backbone", "rgb_s14,slow.py:make", "--task", str(tiny_task), "--on", "local:2")
    with subprocess.Popen(
        [*COMMAND, *options], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        wait_until(lambda: list(own_places.glob("sweep/runs/*.json")))
        started = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        told = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 130
    assert told.endswith("interrupted; run the same command again to go on\n")
    assert "Traceback" not in told
    psutil.wait_procs(started, timeout=20)
    assert not [p for p in started if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    found = {state.state for state in states(Path("sweep"))}
    assert {"missing"} <= found <= {"missing", "done"}


@pytest.mark.slow
def test_on_a_cluster_that_takes_the_machine_away(
    own_places: Path, cluster: Path, tiny_task: Path
) -> None:
    """Slurm's signal reaches the job and the run under way; the job is put in line again."""
    tasks = [tiny_task, tiny_task.with_name("linear.toml")]
    sweep = planned(tasks, ["rgb_s14", "hog_s14"], 1, "slurm")
    found = start(Path("sweep"), sweep, "slurm:partition=gpu", Watcher())
    assert summary(found) == "4 waiting"
    wait_until(lambda: any(s.state == "running" for s in states(Path("sweep")) if s.job == 0))
    pid = int((cluster / "pid-0").read_text())
    wait_until(lambda: psutil.Process(pid).children())
    for process in [psutil.Process(pid), *psutil.Process(pid).children()]:
        process.send_signal(signal.SIGUSR2)
    wait_until(lambda: summary(states(Path("sweep"))) == "4 done")
    begun = (cluster / "started.txt").read_text().split()
    assert sorted(begun) == ["77_0", "77_0", "77_1"]
    assert len(records(own_places)) == 4
    assert summary(resume(Path("sweep"), None, False, Watcher())) == "4 done"
    assert len((cluster / "started.txt").read_text().split()) == 3  # nothing was left to submit


@pytest.mark.slow
def test_submitit_begins_again_what_it_had_to_stop(own_places: Path, tiny_task: Path) -> None:
    """The executor of this machine calls the job's checkpoint as that of a cluster does."""
    options = ("--backbone", "rgb_s14,hog_s14", "--task", str(tiny_task), "--results", "results")
    with subprocess.Popen([*COMMAND, *options, "--cache", "off", "--device", "cpu"]) as process:
        wait_until(lambda: list(own_places.glob("sweep/runs/*.json")))
        started = psutil.Process(process.pid).children(recursive=True)
        (job,) = (p for p in started if "submitit.core._submit" in " ".join(p.cmdline()))
        wait_until(job.children)  # the run, which has a process of its own
        job.send_signal(signal.SIGUSR2)
        assert process.wait(SECONDS) == 0
    assert summary(states(Path("sweep"))) == "2 done"
    told = "".join(log.read_text() for log in own_places.glob("sweep/logs/*_log.*"))
    assert "Requeued job" in told
    assert len(records(own_places)) == 2


def test_a_run_that_fails_is_noted_with_its_reason(own_places: Path, tiny_task: Path) -> None:
    files = SweepFolder(Path("sweep"))
    run = RunOptions("rgb_s14", str(tiny_task), device="cpu", data_root=Path("absent"))
    files.plan(Sweep(place=own_places, jobs=((run,),)))
    do_runs(files, (run,), Watcher())
    (state,) = states(Path("sweep"))
    assert state.state == "failed" and "absent" in state.told and "\n" not in state.told
