"""The folder of a submission: records as they lie in the leaderboard, and what a pull request says.

``SHA256SUMS`` in it lists all that was written, as ``sha256sum --check`` reads it. By it alone a
later submission knows what it may write over: a file that is not in it, or that is another by now,
is somebody's, and ends it.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from densebench.files.atomic import require_writable
from densebench.files.regular import read_bytes
from densebench.host.errors import DensebenchError
from densebench.records.called import DEFAULT_RESULTS, safe_name
from densebench.records.identity import Stored
from densebench.records.schema import RunRecord
from densebench.records.store import PANELS, beside
from densebench.report.board.board import Board, load_board
from densebench.report.formats.eval_results import FILE as EVAL_RESULTS
from densebench.report.formats.eval_results import HUB_DATASET, eval_results
from densebench.report.formats.model_index import model_index
from densebench.submission.checking import Checked, check_records, found_records
from densebench.submission.provenance import brought_card
from densebench.submission.request_text import request_text

DEFAULT_OUT = Path("submission")
SUMS, TEXT, HUB = "SHA256SUMS", "PULL_REQUEST.md", "huggingface"


@dataclass(frozen=True)
class Submission:
    """What became of records that were to be submitted.

    Attributes:
        checked: each record, with what is wrong with it.
        folder: where all was written; none where something is wrong, or nothing was to be written.
    """

    checked: tuple[Checked, ...]
    folder: Path | None = None

    @property
    def problems(self) -> list[str]:
        """Everything that is wrong, each in a line that names the file."""
        return [line for one in self.checked for line in one.problems]

    @property
    def stored(self) -> list[Stored]:
        """The records that could be read."""
        return [(one.path, one.record) for one in self.checked if one.record is not None]


def submit(
    places: Sequence[Path], out: Path | None = DEFAULT_OUT, hub_dataset: str = HUB_DATASET
) -> Submission:
    """Check records, and write the folder of a pull request where all of them may join.

    Args:
        places: Files of records, and folders that hold some.
        out: The folder to write; without one they are only checked, and have to lie in their places
            in a folder of results.
        hub_dataset: The benchmark's dataset on the Hugging Face hub.

    Raises:
        DensebenchError: there are no records, or the folder is not to be written to.
    """
    paths = found_records(places)
    if out is not None:
        _check_place(out, places)
    found = Submission(tuple(check_records(paths, in_place=out is None)))
    if found.problems or out is None:
        return found
    with _new_folder(out) as new:
        _fill(new, found.stored, hub_dataset)
    return Submission(found.checked, out)


def _fill(new: Path, records: Sequence[Stored], hub_dataset: str) -> None:
    results = new / DEFAULT_RESULTS
    placed = [(_copied(path, record, record.path(results)), record) for path, record in records]
    relative = [(path.relative_to(new), record) for path, record in placed]
    _write(new / TEXT, request_text(relative))
    for _, record in records:
        if (card := brought_card(record)) is not None:
            _write(new / "backbones" / f"{safe_name(card.card.name)}.toml", read_bytes(card.file))
    board = load_board(results)
    for name in dict.fromkeys(record.backbone.name for _, record in records):
        _for_the_hub(new / HUB / safe_name(name), board, name, hub_dataset)
    files = sorted(file for file in new.rglob("*") if file.is_file())
    sums = [f"{_sha256(file)}  {file.relative_to(new).as_posix()}\n" for file in files]
    _write(new / SUMS, "".join(sums))


def _copied(path: Path, record: RunRecord, place: Path) -> Path:
    """A record in its place, with what lies beside it but pictures of the dataset's images."""
    _write(place, read_bytes(path))
    for ending in record.companions:
        if ending != PANELS:
            _write(beside(place, ending), read_bytes(beside(path, ending)))
    return place


def _for_the_hub(folder: Path, board: Board, name: str, dataset: str) -> None:
    """What a model's repository there takes: its card's front matter, and its results."""
    _write(folder / "README.md", model_index(board, name))
    _write(folder / EVAL_RESULTS, eval_results(board, name, dataset))


def _write(file: Path, content: str | bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)


def _check_place(out: Path, places: Sequence[Path]) -> None:
    """Refuse, before any work is done, what holds anything but an earlier submission.

    Raises:
        DensebenchError: it does, or it lies among the records, or cannot be written.
    """
    inside = next(
        (p for p in places if p.is_dir() and out.resolve().is_relative_to(p.resolve())), None
    )
    if inside is not None:
        raise DensebenchError(f"{out} lies in {inside}, among the records; choose another folder")
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise DensebenchError(f"{out} is there and is no folder; choose another name")
    require_writable(out.parent)
    known = _known(out)
    for file in sorted(out.rglob("*")) if out.is_dir() else ():
        if file.is_symlink() or not (file.is_dir() or _is_ours(file, out, known)):
            raise DensebenchError(
                f"{file} is there and is not of an earlier submission as it was written; choose "
                "another folder, or move it away"
            )


def _known(out: Path) -> dict[str, str]:
    """The hash of each file that an earlier submission wrote, by its place."""
    try:
        lines = read_bytes(out / SUMS).decode().splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    return {place: digest for digest, gap, place in (li.partition("  ") for li in lines) if gap}


def _is_ours(file: Path, out: Path, known: dict[str, str]) -> bool:
    place = file.relative_to(out).as_posix()
    if place == SUMS:
        return bool(known)
    try:
        return place in known and _sha256(file) == known[place]
    except OSError:
        return False


def _sha256(file: Path) -> str:
    return hashlib.sha256(read_bytes(file)).hexdigest()


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A hidden folder, which takes the place of an earlier submission when all went well."""
    out.parent.mkdir(parents=True, exist_ok=True)
    hidden = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".unfinished"))
    try:
        new = hidden / "new"
        new.mkdir()
        yield new
        if out.exists():
            out.rename(hidden / "old")
        new.rename(out)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
