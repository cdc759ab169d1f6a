"""The one table of datasets: official archives, what is taken out of them, terms and citations."""

from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, model_validator

from densebench.cards import Card, read_toml, suggestion, validate
from densebench.host.errors import DensebenchError


class Bytes(Card):
    """A table that counts bytes."""

    largest: ClassVar[int] = 1 << 50


class Archive(Bytes):
    """One file that the owners publish; without an address it is behind an account.

    ``size`` is exact, ``about`` a rough size where the exact one is not public, and ``unpacked``
    roughly what its pieces take on disk while they are unpacked, all in bytes.
    """

    url: str | None = Field(default=None, pattern=r"^https?://")
    size: int | None = Field(default=None, gt=0)
    about: int | None = Field(default=None, gt=0)
    checksum: str | None = Field(default=None, pattern=r"^(md5|sha1|sha256):[0-9a-f]{32,64}$")
    unpacked: int = Field(gt=0)

    @model_validator(mode="after")
    def _one_size(self) -> "Archive":
        if (self.size is None) == (self.about is None):
            raise ValueError("give either size or about")
        return self

    @property
    def n_bytes(self) -> int:
        """The size, or what it is roughly."""
        return self.size or self.about or 0


class Piece(Card):
    """Members of an archive, and the place below the root where they go.

    ``members`` is a folder of the archive (ending in a slash, or empty for all) or one file;
    ``inner`` a pattern of archives within the archive that hold the members, each in a folder of
    its own name with ``inner_folders``.
    """

    archive: str
    members: str
    target: str
    suffix: str = ""
    files: int = Field(default=1, gt=0)
    inner: str | None = None
    inner_folders: bool = False

    @property
    def is_folder(self) -> bool:
        """Whether the target is a folder, not one file."""
        return not self.members or self.members.endswith("/")


class Source(Card):
    """One dataset. Without a ``kind`` it is images alone, for post-training.

    One that nobody can fetch has no pieces; ``by_hand`` says what must lie where below the root.
    """

    title: str
    home: str
    licence: str
    terms: str
    citations: tuple[str, ...]
    account: str | None = None
    kind: str | None = None
    n_train: int | None = None
    n_val: int | None = None
    pieces: tuple[str, ...]
    by_hand: str | None = None

    @model_validator(mode="after")
    def _labelled_or_not(self) -> "Source":
        if any((value is None) != (self.kind is None) for value in (self.n_train, self.n_val)):
            raise ValueError("kind, n_train and n_val go together")
        if bool(self.pieces) == bool(self.by_hand):
            raise ValueError("give either pieces or by_hand")
        return self


class Table(Bytes):
    """Archives by file name, pieces and datasets by name."""

    archives: dict[str, Archive]
    pieces: dict[str, Piece]
    datasets: dict[str, Source]

    @model_validator(mode="after")
    def _names_exist(self) -> "Table":
        unknown = [p.archive for p in self.pieces.values() if p.archive not in self.archives]
        unknown += [n for s in self.datasets.values() for n in s.pieces if n not in self.pieces]
        if unknown:
            raise ValueError(f"'{unknown[0]}' is not in the table")
        return self

    def source(self, name: str) -> Source:
        """A dataset by name.

        Raises:
            DensebenchError: there is none of this name.
        """
        if name not in self.datasets:
            raise DensebenchError(
                f"no dataset named '{name}'{suggestion(name, self.datasets)}; "
                f"there are {', '.join(self.datasets)}"
            )
        return self.datasets[name]

    def pieces_of(self, name: str) -> dict[str, Piece]:
        """The pieces of a dataset by name."""
        return {piece: self.pieces[piece] for piece in self.source(name).pieces}


@cache
def official_table() -> Table:
    """The table ``sources.toml`` beside this file."""
    path = Path(__file__).with_name("sources.toml")
    values: dict[str, Any] = read_toml(path)
    return validate(Table, values, str(path))
