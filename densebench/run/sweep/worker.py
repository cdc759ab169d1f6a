"""One job of a sweep, wherever it is: its runs, one after the other, and a note of each."""

import fcntl
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from densebench.host.console import one_line
from densebench.host.cores import THREADS
from densebench.host.gpus import VISIBLE
from densebench.host.progress import TerminalWatcher
from densebench.host.screen import Console
from densebench.host.watcher import Watcher
from densebench.run.apart import Outcome
from densebench.run.jobs import work
from densebench.run.options import RunOptions
from densebench.run.sweep.states import Note, SweepFolder, holding

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

LOOK = 1.0  # seconds in which whoever only looked at a lock lets go of it


@dataclass(frozen=True)
class LocalShare:
    """What a job on this machine has of it.

    Attributes:
        gpus: those that torch may see, as the environment names them; None sets no bound.
        threads: for its arithmetic, likewise.
        rope: a lock that whoever started the job holds while it lives.
    """

    gpus: str | None
    threads: str | None
    rope: Path


@dataclass(frozen=True)
class Job:
    """What submitit calls, again after each time that the cluster took the machine away.

    Attributes:
        folder: of the sweep.
        number: of the job in its plan.
        local: of a job that ends with the process that started it; None on a cluster.
    """

    folder: Path
    number: int
    local: LocalShare | None = None

    def __call__(self) -> None:
        """Do the runs that are neither done nor failed."""
        place = SweepFolder(self.folder)
        if self.local is not None:
            _take(self.local)
        sweep = place.read()
        os.chdir(sweep.place)
        watcher = TerminalWatcher(Console(stderr=True))
        with holding(place.lock(self.number), LOOK) as mine:
            if not mine:
                watcher.say("another process is at this job")
                return
            do_runs(place, sweep.jobs[self.number], watcher)

    def checkpoint(self) -> "DelayedSubmission":
        """The same again: what is done is noted, and the rest goes on from the caches."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def do_runs(place: SweepFolder, runs: tuple[RunOptions, ...], watcher: Watcher) -> None:
    """Each run that is neither done nor failed, with a note of what became of it."""
    left = [run for run in runs if _is_left(place, run)]
    outcomes = work(left, watcher)
    for run in left:
        place.tell(run, Note(state="running"))
        _tell(place, run, next(outcomes))


def _is_left(place: SweepFolder, run: RunOptions) -> bool:
    note = place.note(run)
    return note is None or note.state == "running"


def _tell(place: SweepFolder, run: RunOptions, outcome: Outcome) -> None:
    if outcome.path is not None:
        place.tell(run, Note(state="done", record=outcome.path.absolute()))
    elif not outcome.interrupted:
        place.tell(run, Note(state="failed", reason=one_line(outcome.reason)))


def _take(share: LocalShare) -> None:
    """The GPUs, which submitit hides, and cores; end with the process that started the job."""
    for name, value in ((VISIBLE, share.gpus), (THREADS, share.threads)):
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    threading.Thread(target=_end_after, args=(share.rope,), daemon=True).start()


def _end_after(rope: Path) -> None:
    """End when whoever holds the lock has gone; the run's own process then ends by itself."""
    try:
        with rope.open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        pass
    except OSError:  # a file system without locks: the job goes on alone
        return
    os._exit(1)
