"""Which of several processes this one is, as `torchrun` tells it; without torch."""

import os

from densebench.host.errors import DensebenchError

LONGEST = 6  # digits


def process_count() -> int:
    """How many processes do one work together."""
    return _number("WORLD_SIZE", 1, least=1)


def processes_here() -> int:
    """How many of them are on this machine and share its memory."""
    return _number("LOCAL_WORLD_SIZE", process_count(), least=1)


def rank() -> int:
    """The number of this process among all, from 0 on."""
    return _number("RANK", 0)


def local_rank() -> int:
    """Its number on this machine, which is that of its GPU."""
    return _number("LOCAL_RANK", 0)


def is_main_process() -> bool:
    """Whether this process is the only or the first one, which alone writes and tells."""
    try:
        return rank() == 0
    except DensebenchError:  # which is told by whoever asks for the number
        return True


def _number(name: str, usual: int, least: int = 0) -> int:
    said = os.environ.get(name, str(usual))
    if not (said.isascii() and said.isdecimal() and len(said) <= LONGEST and int(said) >= least):
        raise DensebenchError(
            f"{name} is set to '{said:.20}', and torchrun sets it to a number from {least} on; "
            "unset it"
        )
    return int(said)
