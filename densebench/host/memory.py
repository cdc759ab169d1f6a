"""How much memory there is, how much a run will take, and how much it took."""

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from densebench.host.errors import DensebenchError

MOST_DIGITS = 20
ON_GPU = "on the GPU: "  # how the names of a plan begin that are not of the host's memory
# Folder, limit, usage, and the prefix of the counters in memory.stat: cgroup version 2, then 1.
CGROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current", ""),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
)


def available_bytes() -> int:
    """Memory that this process may still take: the machine's, or its container's if less.

    ``DENSEBENCH_MEMORY`` (bytes) lowers it, for machines that others use too.
    """
    free = int(psutil.virtual_memory().available)
    for group in CGROUPS:
        with suppress(OSError, ValueError):
            free = min(free, _free_in_cgroup(*group))
    chosen = os.environ.get("DENSEBENCH_MEMORY")
    if chosen is None:
        return free
    if not chosen.isdecimal() or len(chosen) > MOST_DIGITS:
        raise DensebenchError(f"DENSEBENCH_MEMORY must be a number of bytes, not '{chosen:.40}'")
    return min(free, int(chosen))


def _free_in_cgroup(folder: Path, limit: str, usage: str, prefix: str) -> int:
    """What a container may still take; cached files count as used there, but give way."""
    lines = (folder / "memory.stat").read_text().splitlines()
    stat = {name: int(value) for name, value in (line.split() for line in lines)}
    files = sum(stat.get(f"{prefix}{kind}_file", 0) for kind in ("active", "inactive"))
    return int((folder / limit).read_text()) - int((folder / usage).read_text()) + files


def current_rss() -> int:
    """Resident bytes of this process now."""
    return int(psutil.Process().memory_info().rss)


def peak_rss() -> int:
    """Largest resident bytes of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def parts(plan: dict[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """What a plan takes of the host's memory, and what of a GPU's."""
    on_gpu = {name: size for name, size in plan.items() if name.startswith(ON_GPU)}
    return {name: size for name, size in plan.items() if name not in on_gpu}, on_gpu


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


def batch_bytes(batch: int, height: int, width: int, patch_size: int, embed_dim: int) -> int:
    """Images of a batch and the activations of one layer, about sixteen times its features."""
    patches = (height // patch_size) * (width // patch_size)
    per_image = 3 * height * width + 16 * patches * embed_dim
    return batch * per_image * 4


def gigabytes(n_bytes: int) -> str:
    """Bytes for people."""
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e7 else f"{n_bytes / 1e6:.2f} MB"
