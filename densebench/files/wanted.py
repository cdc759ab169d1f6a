"""What is known of a file before it is there, and whether it is that file."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from densebench.files.regular import open_regular
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher

# A size of which one knows the order alone.
ROUGHLY = 2


@dataclass(frozen=True)
class Wanted:
    """What is known of a file before it is there, and what to say when it is not that file.

    Attributes:
        size: exactly, in bytes.
        about: roughly, in bytes, where the exact size is not known.
        checksum: its kind and hexadecimal digits, as ``sha256:...``.
        called: what has that size and checksum.
        mismatch: what another checksum means, and what to do.
        instead: what to do where the file cannot be had.
        elsewhere: what to choose where there is no space.
    """

    size: int | None = None
    about: int | None = None
    checksum: str | None = None
    called: str = "official file"
    mismatch: str = "it is damaged or another release"
    instead: str = "get it in another way"
    elsewhere: str = "another folder"

    @property
    def most(self) -> int | None:
        """Bytes that it may have, as far as that is known."""
        return self.size or (None if self.about is None else ROUGHLY * self.about)


def check(path: Path, wanted: Wanted, watcher: Watcher) -> None:
    """Compare a file with the size and the checksum that it should have.

    Raises:
        DensebenchError: it is another file.
    """
    size = path.stat().st_size
    if wanted.size is not None and size != wanted.size:
        raise DensebenchError(
            f"{path}: has {size:,} bytes, but the {wanted.called} has {wanted.size:,}; "
            "it is incomplete or another release"
        )
    if wanted.checksum is None:
        return
    kind, _, known = wanted.checksum.partition(":")
    digest = hashlib.new(kind, usedforsecurity=False)
    with (
        open_regular(path) as file,
        watcher.phase(f"checking {path.name}", size, "bytes") as advance,
    ):
        while block := file.read(1 << 20):
            digest.update(block)
            advance(len(block))
    if digest.hexdigest() != known:
        raise DensebenchError(
            f"{path}: its {kind.upper()} is {digest.hexdigest()}, but the {wanted.called}'s is "
            f"{known}; {wanted.mismatch}"
        )
