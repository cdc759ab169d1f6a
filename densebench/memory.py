"""How much memory there is, how much a run will take, and how much it took."""

import os
import resource
import sys
from pathlib import Path

import psutil

from densebench.errors import DensebenchError

CGROUP_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


def available_bytes() -> int:
    """Memory that this process may still take: the machine's, or its container's if less.

    ``DENSEBENCH_MEMORY`` (bytes) lowers it, for machines that others use too.
    """
    free = int(psutil.virtual_memory().available)
    for limit, used in CGROUP_LIMITS:
        try:
            free = min(free, int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):
            continue
    chosen = os.environ.get("DENSEBENCH_MEMORY")
    if chosen is None:
        return free
    if not chosen.isdigit():
        raise DensebenchError(f"DENSEBENCH_MEMORY must be a number of bytes, not '{chosen}'")
    return min(free, int(chosen))


def current_rss() -> int:
    """Resident bytes of this process now."""
    return int(psutil.Process().memory_info().rss)


def peak_rss() -> int:
    """Largest resident bytes of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def require(plan: dict[str, int], advice: str) -> int:
    """The sum of a plan in bytes, if it fits beside what the process already holds.

    Raises:
        DensebenchError: it does not fit; the line names the largest part and the advice.
    """
    needed, free = sum(plan.values()), available_bytes()
    if needed > free:
        part = max(plan, key=lambda name: plan[name])
        raise DensebenchError(
            f"this run needs {gigabytes(needed)} more memory and {gigabytes(free)} are free "
            f"(the largest part, {part}: {gigabytes(plan[part])}); {advice}"
        )
    return needed


def gigabytes(n_bytes: int) -> str:
    """Bytes for people."""
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e7 else f"{n_bytes / 1e6:.2f} MB"
