"""How many processors a process may use."""

import os


def cores() -> int:
    """Those of this process: its share where `torchrun` started several on this machine."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (here or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
