"""Which processor this is."""

import platform
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
MODEL = "model name"


@cache
def processor_name() -> str:
    """The processor's model, or its architecture where the system does not tell."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith(MODEL)]
    return next(filter(None, models), platform.machine())
