"""What works here and what does not: each finding with the command that mends it.

Nothing here is imported before it is examined, so that a broken torch is told like anything else.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from densebench.doctor import machine, software, stock
from densebench.doctor.findings import Finding, reason, remedy_for
from densebench.host.paths import cache_home, data_home
from densebench.records.called import DEFAULT_RESULTS

__all__ = ["Finding", "examine"]


def examine(data: Path | None = None, results: Path | None = None) -> list[Finding]:
    """Examine everything; nothing is changed, downloaded or read at length.

    Args:
        data: the folder of datasets; the usual one if not given.
        results: the folder of results; the usual one if not given.
    """
    places = {"cache": cache_home(), "data": data or data_home()}
    places["results"] = results or DEFAULT_RESULTS
    sections: dict[str, Callable[[], Iterable[Finding]]] = {
        "python": software.python,
        "packages": software.packages,
        "gpu": software.gpu,
        "memory": machine.memory,
        "workers": machine.workers,
        "disk": lambda: machine.disk(places),
        "datasets": lambda: stock.datasets(places["data"]),
        "cards": stock.card_files,
        "weights": stock.weights,
    }
    return [finding for name, look in sections.items() for finding in _guarded(name, look)]


def _guarded(section: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """A part that cannot be examined does not keep the others from being told."""
    found: list[Finding] = []
    try:
        found.extend(look())
    except Exception as error:  # the doctor is for what nobody thought of
        found.append(Finding(section, section, "broken", reason(error), remedy_for(error)))
    return found
