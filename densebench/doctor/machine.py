"""Memory, and the disks that a run reads from and writes to."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from densebench.doctor.findings import Finding, State, size_text
from densebench.host.cores import cores

LITTLE_SPACE = 5_000_000_000
SHARED = Path("/dev/shm")
# Of a batch of 16 at the largest size that a task takes by itself, of floats, with its masks.
BATCH_BYTES = 16 * 518**2 * (3 * 4 + 1)
BATCHES_AHEAD = 3  # two that lie ready for each worker, and the one that it is at
FILES_BESIDE = 200  # what a process has open anyway


def memory() -> Iterator[Finding]:
    """What is free."""
    from densebench.host.memory import available_bytes

    free = available_bytes()
    yield Finding("memory", "memory", "ok", f"{size_text(free)} free, {os.cpu_count()} processors")


def workers() -> Iterator[Finding]:
    """Whether those that load images may open and share what they need."""
    count, files = cores(), _open_files()
    if files is not None:
        few = files < FILES_BESIDE + count * BATCHES_AHEAD
        state: State = "note" if few else "ok"
        remedy = "ulimit -n 4096" if few else ""
        yield Finding("memory", "open files", state, f"{files:,} at once", remedy)
    if SHARED.is_dir():
        free, needed = shutil.disk_usage(SHARED).free, count * BATCHES_AHEAD * BATCH_BYTES
        text = f"{SHARED}: {size_text(free)} free"
        if free < needed:
            told = f"{text}, {count} workers may need {size_text(needed)}"
            remedy = "densebench run --workers 0 ..., or docker run --shm-size 8g"
            yield Finding("memory", "shared memory", "note", told, remedy)
        else:
            yield Finding("memory", "shared memory", "ok", text)


def _open_files() -> int | None:
    """How many files a process may have open; None where there is no limit, or none is told."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def disk(places: dict[str, Path]) -> Iterator[Finding]:
    """Cache, data and results: whether each can be written and has room."""
    from densebench.features.cache import feature_cache

    variables = {
        "cache": "export DENSEBENCH_CACHE=DIR",
        "data": "export DENSEBENCH_DATA=DIR",
        "results": "densebench run --results DIR ...",
    }
    for name, place in places.items():
        existing = _existing(place)
        free = shutil.disk_usage(existing).free
        text = f"{place}: {size_text(free)} free"
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            # Data are only read; the other two must be written.
            state: State = "note" if name == "data" else "broken"
            yield Finding("disk", name, state, f"{place}: cannot be written", variables[name])
        elif free < LITTLE_SPACE:
            yield Finding("disk", name, "note", f"{text}, which is little", variables[name])
        else:
            yield Finding("disk", name, "ok", text)
    kept = feature_cache()
    size = sum(entry.n_bytes for entry in kept.entries())
    yield Finding(
        "disk", "features", "ok", f"{size_text(size)} of at most {size_text(kept.limit)} kept"
    )


def _existing(path: Path) -> Path:
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists())
