"""Which GPUs there are, and who is given which; torch is loaded where there may be several."""

import os
from collections.abc import Sequence
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
DEVICES = Path("/dev")
DRIVERS = ("nvidia[0-9]*", "kfd", "dxg")  # Nvidia's, AMD's, and that of Linux under Windows


def named_gpus() -> list[str]:
    """Those that this process may see, as the environment names them."""
    seen = os.environ.get(VISIBLE)
    if seen is not None:  # an empty list of them hides all
        return [part.strip() for part in seen.split(",") if part.strip()]
    if not any(any(DEVICES.glob(name)) for name in DRIVERS):
        return []
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def usable_gpus(device: str) -> list[str]:
    """Those that a run on such a device may use, if they are several and torch can use them."""
    names = named_gpus() if device in ("auto", "cuda") else []
    if len(names) < 2:
        return names
    import torch

    return names[: torch.cuda.device_count()]


def shared_out(names: Sequence[str], count: int) -> list[tuple[str, ...]]:
    """What each of so many has of the GPUs: as many as the others, or with others the same one."""
    if not names:
        return [()] * count
    if count >= len(names):
        return [(names[place % len(names)],) for place in range(count)]
    ends = [len(names) * place // count for place in range(count + 1)]
    return [tuple(names[ends[place] : ends[place + 1]]) for place in range(count)]
