"""Preparing a dataset: terms, space, archives, pieces, conversion, check; each step once."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from densebench.files.download import Network, UnreachableError
from densebench.files.locks import held
from densebench.files.partial import Part
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.prepare.fetch import check_archive, fetch
from densebench.prepare.licences import Ask, require_acceptance
from densebench.prepare.pieces import is_done, own_folder, require_vacant, unpack_pieces
from densebench.prepare.sources import Archive, Piece, Source, Table, official_table
from densebench.prepare.verify import Report, has_expected_counts, is_there, verify
from densebench.prepare.voc_augmented import build_voc

# Small files take more than their bytes, and other programs want some too.
RESERVE = 256 << 20


@dataclass(frozen=True)
class Options:
    """How a dataset is prepared.

    Attributes:
        given: a folder with archives that the user has.
        accept: the owners' terms are accepted.
        ask: asks the user a question; None where nobody can answer.
        keep_archives: keep downloads in `archives` below the root once they are unpacked.
        table: the datasets.
        network: how patient downloads are.
        reserve: bytes that must stay free.
    """

    given: Path | None = None
    accept: bool = False
    ask: Ask | None = None
    keep_archives: bool = False
    table: Table = field(default_factory=official_table)
    network: Network = field(default_factory=Network)
    reserve: int = RESERVE


def prepare(
    name: str, root: Path, options: Options | None = None, watcher: Watcher | None = None
) -> Report:
    """Bring a dataset under ``root`` into the layout that densebench reads, and check it.

    What is there already is left as it is. Any step may be interrupted, and is then repeated.

    Returns:
        the report of a check of its counts and of a sample of its files.

    Raises:
        DensebenchError: it cannot be prepared; the message says what to do.
    """
    options, watcher = options or Options(), watcher or Watcher()
    source = options.table.source(name)
    _check_given(options.given)
    require_acceptance(name, source, root, options.accept, options.ask, watcher)
    with _alone(root):
        _Preparation(name, root, options, watcher).run()
    return verify(name, root, quick=True, table=options.table, watcher=watcher)


class _Preparation:
    def __init__(self, name: str, root: Path, options: Options, watcher: Watcher) -> None:
        self._name, self._root = name, root
        self._options, self._watcher = options, watcher
        self._table = options.table
        self._folder = own_folder(root) / "downloads"
        self._kept = root / "archives"

    def run(self) -> None:
        source = self._table.source(self._name)
        if source.by_hand is not None:
            self._require_there(source)
            return
        pending = self._pending()
        if pending and has_expected_counts(self._name, self._root, self._table):
            self._watcher.say(f"{self._name}: is there already, in another layout")
            return
        for pieces in pending.values():
            for piece in pieces.values():
                require_vacant(piece, self._root)
        if source.account is not None:
            self._require_given(source, pending)
        self._require_space(pending)
        for file, pieces in pending.items():
            self._work_on(file, self._table.archives[file], pieces)
        for file in {piece.archive for piece in self._table.pieces_of(self._name).values()}:
            self._put_away(file)  # what an interrupted run may have left
        if source.kind == "voc" and source.n_train is not None:
            build_voc(self._root, source.n_train, self._watcher)

    def _require_there(self, source: Source) -> None:
        """Nothing, where a dataset that cannot be fetched was put by hand."""
        if not is_there(self._name, self._root, self._table):
            raise DensebenchError(
                f"{self._name} cannot be fetched: get it by {source.home}, and put into "
                f"{self._root}: {source.by_hand}"
            )

    def _pending(self) -> dict[str, dict[str, Piece]]:
        """The pieces that are not there, by the archive that holds them."""
        pending: dict[str, dict[str, Piece]] = {}
        for name, piece in self._table.pieces_of(self._name).items():
            if not is_done(name, piece, self._root):
                pending.setdefault(piece.archive, {})[name] = piece
        return pending

    def _work_on(self, file: str, archive: Archive, pieces: dict[str, Piece]) -> None:
        given = self._given(file)
        if given is not None:
            check_archive(given, archive, self._watcher)
        path = given or self._fetch(file, archive)
        free = max(0, self._free() - self._options.reserve)
        unpack_pieces(path, archive, pieces, self._root, free, self._watcher)
        self._put_away(file)

    def _fetch(self, file: str, archive: Archive) -> Path:
        try:
            return fetch(file, archive, self._folder, self._watcher, self._options.network)
        except UnreachableError:
            self._tell_what_to_get()
            raise

    def _tell_what_to_get(self) -> None:
        for line in instructions(self._name, self._root, self._table):
            self._watcher.say(line)

    def _put_away(self, file: str) -> None:
        """A download of which all is unpacked is kept for the next time, or removed."""
        download = self._folder / file
        if self._options.keep_archives and download.is_file():
            self._kept.mkdir(exist_ok=True)
            download.replace(self._kept / file)
        download.unlink(missing_ok=True)

    def _given(self, file: str) -> Path | None:
        """The archive in the folder that the user named, or kept from an earlier time."""
        folders = (self._options.given, self._kept)
        paths = (folder / file for folder in folders if folder is not None)
        return next((path for path in paths if path.is_file()), None)

    def _free(self) -> int:
        return self._options.network.free(self._root)

    def _require_given(self, source: Source, pending: dict[str, dict[str, Piece]]) -> None:
        missing = [file for file in pending if self._given(file) is None]
        if not missing:
            return
        self._tell_what_to_get()
        raise DensebenchError(
            f"{self._name} needs an account ({source.account}): get {', '.join(missing)} there, "
            f"then run `densebench data prepare {self._name} --root {self._root} --from DIR`"
        )

    def _require_space(self, pending: dict[str, dict[str, Piece]]) -> None:
        """Archives are worked on one after another, and removed in between unless kept."""
        kept, peak = 0, 0
        for file in pending:
            archive = self._table.archives[file]
            coming = 0
            if self._given(file) is None:
                coming = max(0, archive.n_bytes - Part(self._folder / file).n_bytes())
            peak = max(peak, kept + coming + archive.unpacked)
            kept += archive.unpacked + (coming if self._options.keep_archives else 0)
        needed = peak + self._options.reserve if pending else 0
        free = self._free()
        if needed > free:
            raise DensebenchError(
                f"{self._name} needs about {needed / 1e9:.2f} GB in {self._root} for archives and "
                f"what they unpack to, and {free / 1e9:.2f} GB are free; free some, or choose "
                "another --root"
            )


def instructions(name: str, root: Path, table: Table) -> list[str]:
    """What to get by hand, and where each part must lie in the end."""
    pieces = table.pieces_of(name)
    lines = [f"{name}: either put these archives into one folder and give it with --from DIR:"]
    for file in dict.fromkeys(piece.archive for piece in pieces.values()):
        archive = table.archives[file]
        where = archive.url or table.source(name).home
        lines.append(f"  {file}  ({archive.n_bytes / 1e9:.1f} GB, from {where})")
    lines.append("or put their content here:")
    for piece in pieces.values():
        what = f"{piece.files:,} files NAME{piece.suffix}" if piece.is_folder else "one file"
        lines.append(f"  {root / piece.target}  ({what})")
    return lines


def _check_given(given: Path | None) -> None:
    if given is not None and not given.is_dir():
        raise DensebenchError(f"--from {given}: no such folder")


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Two processes never prepare below one root at once."""
    folder = own_folder(root)
    folder.mkdir(parents=True, exist_ok=True)
    busy = DensebenchError(
        f"{root}: another `densebench data prepare` is at work there; wait for it to end"
    )

    def refuse() -> None:
        raise busy

    with held(folder / "lock", taken=refuse):
        yield
