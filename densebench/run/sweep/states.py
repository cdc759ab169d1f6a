"""The files of a sweep: its plan, where its jobs went, and a note of each run.

    sweep.json       the jobs, written once
    submitted.json   where each job went at last
    runs/KEY.json    what became of a run, written by the job that has it
    driver.lock      held by the process that starts jobs
    jobs/N.lock      held by the process that works on a job
    logs/            what the jobs print, and what submitit needs

Each is written whole or not at all, and checked when it is read.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Literal, NoReturn, TypeVar
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

from densebench.cards import validate
from densebench.files.atomic import write_atomically
from densebench.files.hashes import content_hash
from densebench.files.locks import held
from densebench.files.regular import read_json
from densebench.host.errors import DensebenchError
from densebench.run.options import RunOptions

PATIENCE = 5.0  # seconds in which the jobs of a process that was killed end
SWEEP, SUBMITTED = "sweep.json", "submitted.json"


class Part(BaseModel):
    """What the files share: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


F = TypeVar("F", bound=Part)


class Sweep(Part):
    """What is to be run. ``place`` is the working directory that relative paths refer to."""

    schema_version: Literal[1] = 1
    place: Path
    jobs: tuple[tuple[RunOptions, ...], ...] = Field(min_length=1)

    @property
    def runs(self) -> list[RunOptions]:
        """All of them, job by job."""
        return [run for job in self.jobs for run in job]


class Submission(Part):
    """Where a job went: the kind of place, its id there, and when."""

    kind: Literal["local", "slurm"]
    id: str = Field(pattern=r"^[0-9]+(_[0-9]+)?$")
    time: float


class Submitted(Part):
    """Where all went: the last ``--on``, and each job by its number."""

    on: str
    jobs: dict[int, Submission] = Field(default_factory=dict)


class Note(Part):
    """What became of a run: ``record`` of one that is done, ``reason`` of one that failed."""

    state: Literal["running", "done", "failed"]
    record: Path | None = None
    reason: str = ""


def key_of(run: RunOptions) -> str:
    """What tells a run from the others of a sweep."""
    return content_hash(asdict(run))[:16]


class SweepFolder:
    """The folder of a sweep.

    Attributes:
        folder: its absolute path.
        logs: what jobs print.
        driver: the lock of whoever starts jobs.

    Raises:
        DensebenchError: from whatever reads, a file that is not what was written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        if "%" in str(self.folder):  # which stands for something in the names of logs
            raise DensebenchError(f"{self.folder}: the folder of a sweep has no % in its path")
        self.logs, self.driver = self.folder / "logs", self.folder / "driver.lock"

    def check(self, sweep: Sweep) -> None:
        """Nothing, if the folder is empty or absent, or holds the same sweep.

        Raises:
            DensebenchError: it holds another sweep, or something else.
        """
        if (self.folder / SWEEP).exists():
            if self.read() != sweep:
                raise DensebenchError(
                    f"{self.folder} holds another sweep; give this one another --folder"
                )
        elif self.folder.exists() and any(f != self.driver for f in self.folder.iterdir()):
            raise DensebenchError(
                f"{self.folder} holds something else than a sweep; give it another --folder"
            )

    def plan(self, sweep: Sweep) -> None:
        """Write the plan; one that is there already must be the same, as for ``check``."""
        self.check(sweep)
        if not (self.folder / SWEEP).exists():
            write_atomically(self.folder / SWEEP, sweep.model_dump_json(indent=1) + "\n")

    def read(self) -> Sweep:
        """The plan."""
        file = self.folder / SWEEP
        if not file.exists():
            raise DensebenchError(f"no sweep in {self.folder}; start one with densebench sweep")
        return _read(file, Sweep)

    def submitted(self) -> Submitted | None:
        """Where jobs went; none where nothing was submitted."""
        file = self.folder / SUBMITTED
        return _read(file, Submitted) if file.exists() else None

    def submit(self, on: str, kind: Literal["local", "slurm"], jobs: dict[int, str]) -> None:
        """Note that jobs went somewhere, by their ids there."""
        before, now = self.submitted(), round(time.time(), 3)
        new = {number: Submission(kind=kind, id=id_, time=now) for number, id_ in jobs.items()}
        all_ = Submitted(on=on, jobs={**(before.jobs if before else {}), **new})
        write_atomically(self.folder / SUBMITTED, all_.model_dump_json(indent=1) + "\n")

    def note(self, run: RunOptions) -> Note | None:
        """What became of a run; none before it began."""
        file = self._note_file(run)
        return _read(file, Note) if file.exists() else None

    def tell(self, run: RunOptions, note: Note) -> None:
        """Note what became of a run."""
        write_atomically(self._note_file(run), note.model_dump_json(indent=1) + "\n")

    def forget(self, run: RunOptions) -> None:
        """Of a run that is to be tried again."""
        self._note_file(run).unlink(missing_ok=True)

    def lock(self, job: int) -> Path:
        """What the process holds that works on a job."""
        return self.folder / "jobs" / f"{job}.lock"

    @contextmanager
    def driven(self) -> Iterator[None]:
        """Hold the driver's lock.

        Raises:
            DensebenchError: another process holds it.
        """
        with holding(self.driver, PATIENCE) as mine:
            if not mine:
                raise DensebenchError(
                    f"another process is at the sweep in {self.folder}; wait for it, or end it"
                )
            yield

    @contextmanager
    def rope(self) -> Iterator[Path]:
        """A lock of this driver alone: the jobs that it starts end when it is free."""
        lock = self.folder / "jobs" / f"driver-{uuid4().hex}.lock"
        for old in lock.parent.glob("driver-*.lock"):
            old.unlink(missing_ok=True)
        with holding(lock):
            yield lock
        lock.unlink(missing_ok=True)

    def _note_file(self, run: RunOptions) -> Path:
        return self.folder / "runs" / f"{key_of(run)}.json"


def _read(file: Path, model: type[F]) -> F:
    try:
        values = read_json(file)
    except (OSError, ValueError) as error:
        raise DensebenchError(f"{file}: not a file of a sweep: {error}") from error
    return validate(model, values, str(file))


class _TakenError(Exception):
    """Another process holds a lock."""


@contextmanager
def holding(lock: Path, patience: float = 0.0) -> Iterator[bool]:
    """Whether the lock could be had within so many seconds; it is held for as long as this.

    Where a file system has no locks, all are free.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + patience
    with ExitStack() as stack:
        while not _entered(stack, lock):
            if time.monotonic() >= until:
                yield False
                return
            time.sleep(0.1)
        yield True


def _entered(stack: ExitStack, lock: Path) -> bool:
    def taken() -> NoReturn:
        raise _TakenError

    try:
        with suppress(OSError):
            stack.enter_context(held(lock, taken))
    except _TakenError:
        return False
    return True


def is_held(lock: Path) -> bool:
    """Whether a process holds it: of this machine, or of another where locks are shared."""
    if not lock.exists():
        return False
    with holding(lock) as free:
        return not free
