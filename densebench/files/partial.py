"""What is there of a file that is still being fetched, and of which version it is."""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from densebench.files.atomic import write_atomically
from densebench.files.regular import read_json


@dataclass(frozen=True)
class Version:
    """What tells one content of an address from another."""

    url: str
    etag: str | None
    modified: str | None
    size: int | None


class Part:
    """The bytes of a file that have come, beside it, and a note that vouches for their version."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self.file = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")

    def n_bytes(self) -> int:
        """How much is there already, of the file or else of its part."""
        for path in (self._target, self.file):
            with suppress(OSError):
                return path.stat().st_size
        return 0

    def version(self) -> Version | None:
        """What the part is of; None where nothing readable says so."""
        try:
            return Version(**read_json(self._note))
        except (OSError, ValueError, TypeError):
            return None

    def begin(self, version: Version, from_start: bool) -> None:
        """Note the version of what is to come."""
        if from_start:
            self.file.unlink(missing_ok=True)  # before the note that would vouch for it
        write_atomically(self._note, json.dumps(asdict(version)))

    def finish(self) -> None:
        """Make the part the file."""
        self.file.replace(self._target)
        self._note.unlink(missing_ok=True)

    def discard(self) -> None:
        """Forget what has come."""
        self.file.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
