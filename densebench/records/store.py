"""Records in a folder of results, and all that lies beside one: this module alone knows what.

A run leaves ``NAME.json`` and, beside it, ``NAME.evidence.npz``, files of its protocol such as
``NAME.head.safetensors``, and the folder ``NAME.panels``. The record holds the SHA-256 of each, and
a checksum of itself. It comes last, and one that it replaces goes before anything beside it does:
so a record that is there is whole, whenever a process was killed.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from densebench.cards import validate
from densebench.files.atomic import write_atomically
from densebench.files.hashes import content_hash
from densebench.files.locks import is_free
from densebench.files.regular import read_bytes, read_json
from densebench.host.errors import DensebenchError
from densebench.measures.base import Evidence
from densebench.records.called import safe_name
from densebench.records.evidence import packed, read
from densebench.records.older import converted
from densebench.records.schema import LADDER_ENDING, PROFILE_ENDING, ProfileRecord, RunRecord

EVIDENCE, COUNTS, PANELS = "evidence.npz", "counts.npz", "panels"  # the second is of schema 1
INDEX = "index.json"  # of a folder of panels
CHECKSUM = "checksum"
RECORD, UNFINISHED = "record", ".unfinished"  # out of sight, while all is written
MEND = "take it from where it was made, or repeat the run with --overwrite"


@dataclass(frozen=True)
class Companions:
    """What a run leaves beside its record.

    Attributes:
        evidence: of every image.
        files: what the protocol keeps, by the ending of the file's name.
        panels: writes the folder of pictures that it is given, whole or not at all.
    """

    evidence: Evidence | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    panels: Callable[[Path], None] | None = None


NONE = Companions()


def beside(record: Path, ending: str) -> Path:
    """Where a companion of a record lies."""
    return record.with_suffix(f".{ending}")


def save_record(record: RunRecord, results: Path, companions: Companions = NONE) -> Path:
    """Leave a record and what belongs to it: all of it, or nothing in the place of an older one.

    Everything is written out of sight first. Then the older record goes, the companions take their
    places, and the record takes its own. Of the older record's companions those stay that are not
    written anew and still are what it named.

    Returns:
        The record's path.

    Raises:
        DensebenchError: it holds what a record cannot; nothing was written.
    """
    path = record.path(results)
    _sealed(record, path, {})  # found out before anything is written
    with _out_of_sight(path) as hidden:
        made = _write_companions(hidden / path.name, record, companions)
        hashes = {ending: sha256_of(beside(hidden / path.name, ending)) for ending in made}
        kept = {ending: digest for ending, digest in _vouched(path).items() if ending not in made}
        write_atomically(hidden / RECORD, _sealed(record, path, kept | hashes))
        path.unlink(missing_ok=True)
        _put_in_place(hidden, path, made, kept)
        (hidden / RECORD).replace(path)
    return path


def save_profile(record: ProfileRecord, results: Path) -> Path:
    """Write a profile atomically, and return its path."""
    path = record.path(results)
    write_atomically(path, record.model_dump_json(indent=1) + "\n")
    return path


def load_record(path: Path) -> RunRecord:
    """Read one record, and check it and what lies beside it.

    Raises:
        DensebenchError: the file is no record, or of a schema that this version does not know; it
            or a file beside it is not what was written. The message names the file.
    """
    record = _read_record(path)
    if record.checksum:
        _check_companions(path, record)
    return record


def load_settled(path: Path) -> RunRecord:
    """Read one record that another process may be putting in its place just now.

    Raises:
        DensebenchError: as ``load_record``, after a second and a half.
    """
    for pause in (0.1, 0.4, 1.0):
        with suppress(DensebenchError):
            return load_record(path)
        time.sleep(pause)
    return load_record(path)


def load_records(results: Path) -> list[tuple[Path, RunRecord]]:
    """Every run record under a folder with its file, in the order of the files' names."""
    return [(path, load_record(path)) for path in record_files(results)]


def record_files(results: Path) -> list[Path]:
    """The files of a folder that are to be run records, in the order of their names."""
    return sorted(
        file
        for file in results.rglob("*.json")
        if not file.name.endswith((PROFILE_ENDING, LADDER_ENDING))
        and file.parent.suffix != f".{PANELS}"
    )


def load_evidence(path: Path, record: RunRecord) -> Evidence | None:
    """The evidence beside a record; none where it is not there, or was never kept.

    A record of schema 1, which alone has no checksum, is read with the counts of schema 1, and any
    other with its evidence: the other file is not of this record.

    Raises:
        DensebenchError: the file cannot be read, is of another run, or the record's numbers do not
            follow from it.
    """
    file = beside(path, EVIDENCE if record.checksum else COUNTS)
    return read(file, record) if file.exists() else None


def load_profiles(results: Path) -> list[tuple[Path, ProfileRecord]]:
    """Every profile under a folder with its file, in the order of the files' names.

    Raises:
        DensebenchError: a file is no profile, or of a schema that this version does not know.
    """
    files = sorted(results.rglob(f"*{PROFILE_ENDING}"))
    values = ((path, json_object(path, "a profile")) for path in files)
    return [(path, validate(ProfileRecord, value, str(path))) for path, value in values]


def find_record(results: Path, backbone: str, task: str, run_id: str) -> Path | None:
    """The file of a run that was already done."""
    folder = results / safe_name(backbone) / safe_name(task)
    return next(iter(sorted(folder.glob(f"*-{run_id}.json"))), None)


@contextmanager
def _out_of_sight(path: Path) -> Iterator[Path]:
    """A hidden folder beside a record, removed in the end; so are those of killed processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    start = f".{path.stem}."
    for entry in list(path.parent.iterdir()):
        if entry.name.startswith(start) and entry.suffix == UNFINISHED and is_free(entry):
            shutil.rmtree(entry, ignore_errors=True)
    hidden = Path(tempfile.mkdtemp(dir=path.parent, prefix=start, suffix=UNFINISHED))
    descriptor = os.open(hidden, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems have no locks; nobody removes folders there
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield hidden
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        os.close(descriptor)


def _write_companions(path: Path, record: RunRecord, companions: Companions) -> list[str]:
    """Write each beside a path, and return the endings of their names."""
    contents = dict(companions.files)
    if companions.evidence is not None:
        contents[EVIDENCE] = packed(companions.evidence, record.run_id)
    for ending, content in contents.items():
        write_atomically(beside(path, ending), content)
    if companions.panels is None:
        return list(contents)
    companions.panels(beside(path, PANELS))
    return [*contents, PANELS]


def _put_in_place(hidden: Path, path: Path, made: Iterable[str], kept: Container[str]) -> None:
    """Move companions beside a path, and away what lies there in their name."""
    gone = {*made, *(ending for ending in (EVIDENCE, PANELS) if ending not in kept)}
    gone |= {COUNTS} if EVIDENCE in made else set()
    for ending in sorted(gone):
        if os.path.lexists(file := beside(path, ending)):
            file.rename(hidden / f"old.{ending}")
    for ending in made:
        beside(hidden / path.name, ending).rename(beside(path, ending))


def _vouched(path: Path) -> dict[str, str]:
    """The companions of a record at that path that are still as it names them."""
    if not path.exists():
        return {}
    try:
        named = _read_record(path).companions
    except DensebenchError:
        return {}
    files = {ending: beside(path, ending) for ending in named}
    there = {ending for ending, file in files.items() if _content(file).exists()}
    return {
        e: digest for e, digest in named.items() if e in there and sha256_of(files[e]) == digest
    }


def _read_record(path: Path) -> RunRecord:
    """A record that is as it was written; what lies beside it is not looked at."""
    values = json_object(path, "a run record")
    try:
        present = converted(values)
    except (LookupError, TypeError, AttributeError) as error:
        raise DensebenchError(f"{path}: not a run record of schema 1: {error!r}") from error
    record = validate(RunRecord, present, str(path))
    if present is values and record.checksum != checksum_of(values):
        raise DensebenchError(f"{path}: not as it was written, its checksum differs; {MEND}")
    return record


def _sealed(record: RunRecord, path: Path, companions: Mapping[str, str]) -> str:
    """The record's text, with the hashes of its companions and its own checksum.

    Raises:
        DensebenchError: it could not be read again, such as one with a number that is none.
    """
    known = record.model_copy(update={"companions": dict(companions), CHECKSUM: ""})
    try:
        values = json.loads(known.model_dump_json())
    except ValueError as error:
        told = " ".join(str(error).split())
        raise DensebenchError(f"{path}: the record cannot be written: {told}") from error
    sealed = {**values, CHECKSUM: checksum_of(values)}
    validate(RunRecord, sealed, f"{path}: the record cannot be written")
    return json.dumps(sealed, indent=1, ensure_ascii=False) + "\n"


def checksum_of(values: Mapping[str, Any]) -> str:
    """A record's, of what its file says, not of what a later version of the schema reads in it."""
    return content_hash({key: value for key, value in values.items() if key != CHECKSUM})


def _check_companions(path: Path, record: RunRecord) -> None:
    """A file that is missing is not refused: records are shown without their pictures and heads."""
    for ending, wanted in record.companions.items():
        file = beside(path, ending)
        if _content(file).exists() and sha256_of(file) != wanted:
            raise DensebenchError(f"{file}: not the file that the record was made with; {MEND}")
    if EVIDENCE not in record.companions and beside(path, EVIDENCE).exists():
        raise DensebenchError(f"{beside(path, EVIDENCE)}: not of the record beside it; {MEND}")


def sha256_of(file: Path) -> str:
    """The hash of a companion: of a file's content; of a folder that of all its files, with names.

    Raises:
        DensebenchError: something there cannot be read.
    """
    try:
        if not file.is_dir():
            return hashlib.sha256(read_bytes(file)).hexdigest()
        files = [part for part in sorted(file.rglob("*")) if not part.is_dir()]
        hashes = {part.relative_to(file).as_posix(): sha256_of(part) for part in files}
    except OSError as error:
        raise DensebenchError(f"{file}: cannot be read: {error}") from error
    return content_hash(hashes)


def _content(file: Path) -> Path:
    """What must be there of a companion: of a folder its index."""
    return file / INDEX if file.is_dir() else file


def json_object(path: Path, what: str) -> dict[str, Any]:
    """What a JSON file says that is to be a record of some kind.

    Raises:
        DensebenchError: it cannot be read, or holds no object.
    """
    try:
        values = read_json(path)
    except (OSError, ValueError) as error:
        raise DensebenchError(f"{path}: not {what}: {error}") from error
    if not isinstance(values, dict):
        raise DensebenchError(f"{path}: not {what}: it holds no JSON object")
    return values
