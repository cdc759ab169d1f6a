"""Where the jobs of a sweep go: this machine or a Slurm cluster, both by submitit.

``local:N`` or ``slurm:KEY=VALUE,...``; what is asked of Slurm has submitit's names.
"""

import os
import shutil
import site
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from densebench.cards import suggestion
from densebench.host.console import one_line
from densebench.host.errors import DensebenchError
from densebench.run.sweep.states import Submission
from densebench.run.sweep.worker import Job

MOST_PROCESSES = 256
DAY = 24 * 60  # minutes
FOREVER = 365 * DAY
REQUEUES = 100  # after so many timeouts a job is given up
SACCT_LAG = 600.0  # seconds in which Slurm may not yet know of a job
SOURCES = Path(__file__).parents[3]  # the folder that the package lies in

WANTED: dict[type, str] = {int: "a whole number", float: "a number", str: "a value"}
GENERIC: dict[str, type] = {
    "cpus_per_task": int,
    "gpus_per_node": int,
    "mem_gb": float,
    "timeout_min": int,
}
SPECIFIC: dict[str, type] = {
    "account": str,
    "array_parallelism": int,
    "comment": str,
    "constraint": str,
    "exclude": str,
    "gres": str,
    "partition": str,
    "qos": str,
    "signal_delay_s": int,
}
KEYS = {**GENERIC, **SPECIFIC}
UNDER_WAY = {
    "COMPLETING",
    "CONFIGURING",
    "PENDING",
    "REQUEUED",
    "REQUEUE_HOLD",
    "RESIZING",
    "RUNNING",
    "SIGNALING",
    "STAGE_OUT",
    "STOPPED",
    "SUSPENDED",
}


@dataclass(frozen=True)
class Place:
    """What ``--on`` says.

    Attributes:
        kind: of the place.
        processes: at a time, on this machine.
        asked: of Slurm, by submitit's names.
    """

    kind: Literal["local", "slurm"]
    processes: int = 1
    asked: Mapping[str, Any] = field(default_factory=dict)


def read_place(on: str) -> Place:
    """``local:N``, or ``slurm:KEY=VALUE,...``.

    Raises:
        DensebenchError: another form, an unknown key, or a bad value.
    """
    kind, _, rest = on.partition(":")
    if kind == "local":
        return Place("local", _count(rest or "1"))
    if kind == "slurm":
        pairs = [part.strip() for part in rest.split(",") if part.strip()]
        return Place("slurm", asked=dict(map(_pair, pairs)))
    raise DensebenchError(f"--on wants local:N or slurm:KEY=VALUE,..., not '{one_line(on):.40}'")


def _count(text: str) -> int:
    good = text.isascii() and text.isdecimal() and len(text) <= len(str(MOST_PROCESSES))
    if not (good and 1 <= int(text) <= MOST_PROCESSES):
        raise DensebenchError(
            f"--on local:N wants a number of processes from 1 to {MOST_PROCESSES}, "
            f"not '{one_line(text):.20}'"
        )
    return int(text)


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = (part.strip() for part in text.partition("="))
    if key not in KEYS:
        raise DensebenchError(
            f"--on slurm: unknown key '{key}'{suggestion(key, KEYS)}; "
            f"allowed are {', '.join(sorted(KEYS))}"
        )
    try:
        if not (equals and value.isprintable() and value):
            raise ValueError
        read = KEYS[key](value)
        if not isinstance(read, str) and not 0 <= read < FOREVER:
            raise ValueError
    except ValueError:
        wanted = WANTED[KEYS[key]]
        raise DensebenchError(f"--on slurm: {key} wants {wanted}, not '{value}'") from None
    return key, read


def submitit() -> ModuleType:
    """The library.

    Raises:
        DensebenchError: it is not installed.
    """
    try:
        import submitit as library
    except ImportError:
        raise DensebenchError("a sweep needs submitit: pip install 'densebench[slurm]'") from None
    return library


def check_place(place: Place) -> None:
    """Nothing, where jobs can be started.

    Raises:
        DensebenchError: submitit is not installed, or there is no Slurm here.
    """
    submitit()
    if place.kind == "slurm":
        missing = [name for name in ("sbatch", "srun") if shutil.which(name) is None]
        if missing:
            raise DensebenchError(
                f"no {' and no '.join(missing)} is on the PATH: start this sweep on a machine of "
                "the cluster, or here with --on local:N"
            )


def start_here(job: Job, logs: Path) -> Any:
    """Start a job on this machine: submitit's, which is done when its process has ended."""
    executor = submitit().LocalExecutor(logs)
    executor.update_parameters(timeout_min=FOREVER)
    with _surroundings(logs), _errors_to(logs / "submitit.log"):
        return executor.submit(job)


def submit_array(jobs: list[Job], place: Place, logs: Path) -> list[str]:
    """Hand jobs to Slurm, as one array; gives their ids.

    Raises:
        DensebenchError: Slurm refused them.
    """
    library = submitit()
    executor = library.AutoExecutor(logs, cluster="slurm", slurm_max_num_timeout=REQUEUES)
    asked = {(k if k in GENERIC else f"slurm_{k}"): v for k, v in place.asked.items()}
    executor.update_parameters(**{"name": "densebench", "timeout_min": DAY, **asked})
    try:
        with _surroundings(logs):
            return [str(job.job_id) for job in executor.submit_array(jobs)]
    except (RuntimeError, OSError) as error:  # submitit's own errors are of the first
        raise DensebenchError(f"Slurm refused the jobs: {one_line(str(error))}") from error


def under_way(submissions: Mapping[int, Submission], now: float, logs: Path) -> set[int]:
    """Which jobs of a cluster wait or run, by what Slurm says of them."""
    on_slurm = {number: s for number, s in submissions.items() if s.kind == "slurm"}
    if not on_slurm:
        return set()
    library = submitit()
    jobs = {n: library.SlurmJob(folder=logs, job_id=s.id) for n, s in on_slurm.items()}
    watcher = library.SlurmJob.watcher
    for job in jobs.values():
        watcher.register_job(job.job_id)
    watcher.update()
    found = set()
    for number, job in jobs.items():
        state = watcher.get_state(job.job_id, mode="cache").split()[0]
        young = now - on_slurm[number].time < SACCT_LAG and not job.paths.result_pickle.exists()
        if state in UNDER_WAY or (state == "UNKNOWN" and young):
            found.add(number)
    return found


@contextmanager
def _surroundings(logs: Path) -> Iterator[None]:
    """For a job's Python: this very package, and no module of the working directory.

    It starts where it is submitted, and a file such as statistics.py there would be taken for the
    module of that name.
    """
    logs.mkdir(parents=True, exist_ok=True)
    place, paths = Path.cwd(), os.environ.get("PYTHONPATH")
    packages = {Path(folder) for folder in (*site.getsitepackages(), site.getusersitepackages())}
    os.chdir(logs)
    try:
        if SOURCES not in packages:
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(SOURCES), paths)))
        yield
    finally:
        os.chdir(place)
        if paths is None:
            os.environ.pop("PYTHONPATH", None)
        else:
            os.environ["PYTHONPATH"] = paths


@contextmanager
def _errors_to(file: Path) -> Iterator[None]:
    """For submitit's own process, which prints a traceback when it is interrupted."""
    kept = os.dup(2)
    try:
        with file.open("ab") as log:
            os.dup2(log.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
