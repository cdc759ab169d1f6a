"""Memory, and the disks that a run reads from and writes to."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from densebench.doctor.findings import Finding, State, size_text

LITTLE_SPACE = 5_000_000_000


def memory() -> Iterator[Finding]:
    """What is free."""
    from densebench.host.memory import available_bytes

    free = available_bytes()
    yield Finding("memory", "memory", "ok", f"{size_text(free)} free, {os.cpu_count()} processors")


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
