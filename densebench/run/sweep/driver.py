"""A sweep from its plan to its records: what is left is started, and what is there is told."""

import os
import re
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from densebench.host.cores import threads_each
from densebench.host.errors import DensebenchError
from densebench.host.gpus import VISIBLE, named_gpus, shared_out
from densebench.host.watcher import Watcher
from densebench.run.apart import words
from densebench.run.jobs import check_names, sharing_features
from densebench.run.options import RunOptions
from densebench.run.sweep.places import (
    Place,
    check_place,
    read_place,
    start_here,
    submit_array,
    under_way,
)
from densebench.run.sweep.states import PATIENCE, Note, Sweep, SweepFolder, holding, is_held, key_of
from densebench.run.sweep.worker import Job, LocalShare

POLL = 0.2
State = Literal["done", "running", "waiting", "failed", "missing"]


@dataclass(frozen=True)
class RunState:
    """A run of a sweep and what has become of it.

    Attributes:
        job: its job's number.
        run: what it is.
        state: in one word.
        told: the record's file, or why there is none.
    """

    job: int
    run: RunOptions
    state: State
    told: str = ""


def plan_sweep(runs: Sequence[RunOptions], place: Place) -> Sweep:
    """The jobs, once every name and option is seen to be good; nothing is submitted.

    Raises:
        DensebenchError: a name, a parameter, a device or a list that is not.
    """
    check_names([run.backbone for run in runs], [run.task for run in runs])
    for run in {(run.backbone, run.task): run for run in runs}.values():
        _check(run, place)
    distinct = list({key_of(run): run for run in runs}.values())
    return Sweep(place=Path.cwd(), jobs=sharing_features(distinct))


def _check(run: RunOptions, place: Place) -> None:
    from densebench.run.plan import plan_run

    if place.kind == "slurm":  # whose machines have devices that this one need not have
        if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", run.device):
            raise DensebenchError(f"'{run.device}' is no device; take auto, cpu, cuda or cuda:N")
        run = replace(run, device="cpu")
    plan_run(run)


def start(folder: Path, sweep: Sweep, on: str, watcher: Watcher) -> list[RunState]:
    """Start a sweep, or go on with it where the folder holds the same.

    On this machine it comes back when all is done, from a cluster at once.

    Raises:
        DensebenchError: the folder holds something else, or jobs cannot be started.
    """
    place, files = read_place(on), SweepFolder(folder)
    check_place(place)
    files.check(sweep)
    with files.driven():
        files.plan(sweep)
        return _go_on(files, sweep, place, on, watcher)


def resume(folder: Path, on: str | None, failed: bool, watcher: Watcher) -> list[RunState]:
    """Start what is missing, where it was started before or ``on`` another place.

    With ``failed`` also what failed.

    Raises:
        DensebenchError: no sweep, or jobs cannot be started.
    """
    files = SweepFolder(folder)
    sweep, before = files.read(), files.submitted()
    on = on or (before.on if before else "local:1")
    place = read_place(on)
    check_place(place)
    with files.driven():
        if failed:
            _forget_failed(files, sweep)
        return _go_on(files, sweep, place, on, watcher)


def states(folder: Path) -> list[RunState]:
    """What has become of every run, job by job."""
    files = SweepFolder(folder)
    return _states(files, files.read(), driven=is_held(files.driver))


def summary(found: Sequence[RunState]) -> str:
    """How many are done, and how many are not."""
    counts = Counter(state.state for state in found)
    order: tuple[State, ...] = ("done", "running", "waiting", "failed", "missing")
    return ", ".join(f"{counts[name]} {name}" for name in order if counts[name])


def _forget_failed(files: SweepFolder, sweep: Sweep) -> None:
    for run in sweep.runs:
        note = files.note(run)
        if note is not None and note.state == "failed":
            files.forget(run)


def _go_on(
    files: SweepFolder, sweep: Sweep, place: Place, on: str, watcher: Watcher
) -> list[RunState]:
    _let_end(files)
    found = _states(files, sweep, driven=False)
    missing = sorted({state.job for state in found if state.state == "missing"})
    watcher.say(f"{len(found)} runs in {len(sweep.jobs)} jobs: {summary(found)}")
    if not missing:
        return found
    for state in found:
        if state.state == "missing":  # a record that has gone is made again
            files.forget(state.run)
    if place.kind == "slurm":
        jobs = [Job(files.folder, number) for number in missing]
        ids = submit_array(jobs, place, files.logs)
        files.submit(on, "slurm", dict(zip(missing, ids, strict=True)))
        watcher.say(f"submitted {len(ids)} jobs: {ids[0]} to {ids[-1]}")
    else:
        _Crew(files, sweep, on, watcher).work_off(missing, place.processes)
    return _states(files, sweep, driven=False)


def _let_end(files: SweepFolder) -> None:
    """Wait for jobs of this machine whose driver was killed just now.

    What submitit was to start them with goes: its name is a process's number, which may come again.
    """
    submitted = files.submitted()
    for number, submission in submitted.jobs.items() if submitted else ():
        if submission.kind == "local":
            with holding(files.lock(number), PATIENCE):
                (files.logs / f"{submission.id}_submitted.pkl").unlink(missing_ok=True)


def _states(files: SweepFolder, sweep: Sweep, driven: bool) -> list[RunState]:
    submitted = files.submitted()
    gone = submitted.jobs if submitted else {}
    alive = under_way(gone, time.time(), files.logs)
    found = []
    for number, job in enumerate(sweep.jobs):
        worked_on = number in alive or is_held(files.lock(number))
        log = files.logs / f"{gone[number].id}_0_log.err" if number in gone else None
        for run in job:
            state, told = _state(files.note(run), worked_on, worked_on or driven, log)
            found.append(RunState(number, run, state, told))
    return found


def _state(
    note: Note | None, worked_on: bool, expected: bool, log: Path | None
) -> tuple[State, str]:
    if note is not None and note.state == "failed":
        return "failed", note.reason
    if note is not None and note.record is not None:
        if note.record.is_file():
            return "done", str(note.record)
        return "missing", f"its record has gone: {note.record}"
    if note is not None and worked_on:
        return "running", "" if log is None else str(log)
    if expected:
        return "waiting", ""
    return "missing", "" if log is None else f"its job ended before it was done: {log}"


class _Crew:
    """The jobs on this machine, so many at a time."""

    def __init__(self, files: SweepFolder, sweep: Sweep, on: str, watcher: Watcher) -> None:
        self._files, self._sweep, self._on, self._watcher = files, sweep, on, watcher

    def work_off(self, numbers: Sequence[int], processes: int) -> None:
        """All of them; what runs is ended when this is."""
        left, at_work = deque(numbers), dict[int, tuple[int, Any]]()
        device, count = self._sweep.runs[0].device, min(processes, len(left))
        with self._files.rope() as rope:
            shares = [LocalShare(gpus, threads_each(count), rope) for gpus in _gpus(device, count)]
            try:
                while left or at_work:
                    for slot, (number, job) in list(at_work.items()):
                        if job.done():
                            del at_work[slot]
                            job.paths.submitted_pickle.unlink(missing_ok=True)
                            self._tell(number)
                    for slot, share in enumerate(shares):
                        if left and slot not in at_work:
                            number = left.popleft()
                            at_work[slot] = number, self._start(number, share)
                    time.sleep(POLL)
            finally:
                for _, job in at_work.values():
                    job.cancel()

    def _start(self, number: int, share: LocalShare) -> Any:
        runs = self._sweep.jobs[number]
        job = start_here(Job(self._files.folder, number, share), self._files.logs)
        self._files.submit(self._on, "local", {number: str(job.job_id)})
        more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
        self._watcher.say(
            f"[job {number + 1}/{len(self._sweep.jobs)}] {words(runs[0])}{more}; "
            f"log: {job.paths.stderr}"
        )
        return job

    def _tell(self, number: int) -> None:
        """What became of the runs of a job that has ended."""
        for run in self._sweep.jobs[number]:
            note = self._files.note(run)
            if note is None or note.state == "running":
                told = "its job ended before it was done"
            else:
                told = note.reason or f"done: {note.record}"
            self._watcher.say(f"{words(run)}: {told}")


def _gpus(device: str, count: int) -> list[str | None]:
    """What each of so many jobs at a time may see."""
    seen = os.environ.get(VISIBLE)
    names = named_gpus() if device in ("auto", "cuda") else []
    return [",".join(part) or seen for part in shared_out(names, count)]
