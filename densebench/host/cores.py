"""How many processors a process may use."""

import os

THREADS = "OMP_NUM_THREADS"


def cores() -> int:
    """Those of this process: its share where `torchrun` started several on this machine."""
    return max(1, _here() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def threads_each(count: int) -> str | None:
    """For the arithmetic of each of so many processes at a time, unless the user said.

    None sets no bound.
    """
    said = os.environ.get(THREADS)
    if said is not None or count == 1:
        return said
    return str(max(1, _here() // count))


def _here() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
