"""Which of several processes this one is, as `torchrun` tells it; without torch."""

import os


def process_count() -> int:
    """How many processes do one work together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def processes_here() -> int:
    """How many of them are on this machine and share its memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", str(process_count())))


def rank() -> int:
    """The number of this process among all, from 0 on."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Its number on this machine, which is that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_main_process() -> bool:
    """Whether this process is the only or the first one, which alone writes and tells."""
    return rank() == 0
