"""What the weights were when they were first used: SHA-256 and the hub's commit, by source.

One small JSON file in the cache. What is recorded is never replaced by itself, so that weights
that change behind a name are noticed.
"""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from densebench.files.atomic import write_atomically
from densebench.files.locks import held
from densebench.files.regular import read_bytes
from densebench.host.errors import DensebenchError
from densebench.host.paths import cache_home


class Entry(BaseModel):
    """One source as it was found first; ``commit`` is the hub's, where it is a repository."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int
    recorded: date
    commit: str | None = None


_ENTRIES = TypeAdapter(dict[str, Entry])


def ledger_path() -> Path:
    """The file."""
    return cache_home() / "weights.json"


def entries() -> dict[str, Entry]:
    """Everything that was recorded, by source.

    Raises:
        DensebenchError: the file is damaged.
    """
    path = ledger_path()
    try:
        return _ENTRIES.validate_json(read_bytes(path))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValidationError) as error:
        raise DensebenchError(
            f"{path}: not a readable record of weights; delete it, and they are recorded anew"
        ) from error


def record(source: str, sha256: str, size: int, commit: str | None) -> Entry:
    """Remember a source, unless it was recorded before; returns what counts from now on."""
    found = Entry(sha256=sha256, size=size, recorded=date.today(), commit=commit)
    try:
        with _locked():
            known = entries()
            kept = known.setdefault(source, found)
            content = {name: entry.model_dump(mode="json") for name, entry in known.items()}
            write_atomically(ledger_path(), json.dumps(content, indent=1, sort_keys=True) + "\n")
            return kept
    except OSError as error:
        warnings.warn(
            f"the weights cannot be recorded in {ledger_path()} ({error.strerror}); a later "
            "change of them will not be noticed",
            stacklevel=2,
        )
        return found


@contextmanager
def _locked() -> Iterator[None]:
    path = ledger_path().with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with held(path, taken=lambda: None):
        yield
