"""All that is wrong with records that are to be submitted, each thing in a line."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from densebench.cards import validate
from densebench.host.errors import DensebenchError
from densebench.measures.base import Evidence
from densebench.records.evidence import opened
from densebench.records.schema import RunRecord
from densebench.records.store import (
    EVIDENCE,
    PANELS,
    beside,
    checksum_of,
    json_object,
    record_files,
    sha256_of,
)
from densebench.submission.numbers import number_problems
from densebench.submission.official_images import image_problems
from densebench.submission.provenance import weight_problems
from densebench.submission.shipped_rules import own_task, rule_problems

SCHEMA = 2


@dataclass(frozen=True)
class Checked:
    """A file that is to be a record.

    Attributes:
        path: the file.
        record: what it holds; none where that cannot be told.
        problems: why it cannot be submitted, each in a line that names the file.
    """

    path: Path
    record: RunRecord | None
    problems: tuple[str, ...]


def found_records(places: Sequence[Path]) -> list[Path]:
    """The records that are given, and those of the folders that are given.

    Raises:
        DensebenchError: nothing is there, or no record is.
    """
    found: dict[Path, None] = {}
    for place in places:
        if place.is_dir():
            found |= dict.fromkeys(record_files(place))
        elif place.suffix != ".json" or not (place.exists() or place.is_symlink()):
            raise DensebenchError(f"{place}: no record (a .json file), and no folder of records")
        else:
            found[place] = None
    if not found:
        raise DensebenchError(f"{places[0]}: no record lies there; `densebench run` leaves one")
    return list(found)


def check_records(paths: Sequence[Path], in_place: bool = False) -> list[Checked]:
    """Look at every record, and at all of them together.

    Args:
        paths: Their files.
        in_place: Whether they are to lie as in a leaderboard already.
    """
    checked = [_checked(path, in_place) for path in paths]
    first: dict[str, Path] = {}
    told = []
    for one in checked:
        known = None if one.record is None else first.setdefault(one.record.run_id, one.path)
        again = known not in (None, one.path)
        more = (f"{one.path}: the same run as {known}; submit one of them",) if again else ()
        told.append(Checked(one.path, one.record, one.problems + more))
    return told


def _checked(path: Path, in_place: bool) -> Checked:
    try:
        record, problems = _read(path)
    except DensebenchError as error:
        return Checked(path, None, (str(error),))
    problems += _of_record(path, record)
    if in_place and record.path(Path()).parts != path.absolute().parts[-3:]:
        problems.append(f"its place is {record.path(Path())} in a folder of results")
    start = f"{path}: "
    lines = (
        line if line.startswith(str(path.with_suffix(""))) else start + line for line in problems
    )
    return Checked(path, record, tuple(lines))


def _read(path: Path) -> tuple[RunRecord, list[str]]:
    """A record, be it edited or not, and whether it was.

    Raises:
        DensebenchError: it cannot be read, or is no record that could be submitted.
    """
    if path.is_symlink():
        raise DensebenchError(f"{path}: a link; give the record itself")
    values = json_object(path, "a run record")
    if values.get("schema_version") != SCHEMA:
        raise DensebenchError(
            f"{path}: of schema {values.get('schema_version')}, and schema {SCHEMA} has checksums; "
            "repeat the run with --overwrite"
        )
    record = validate(RunRecord, values, str(path))
    edited = record.checksum != checksum_of(values)
    return record, ["edited: its checksum is not of what it says"] if edited else []


def _of_record(path: Path, record: RunRecord) -> list[str]:
    problems = list(_beside(path, record))
    evidence = _evidence(path, record, problems)
    task = own_task(record.task)
    problems += rule_problems(record)
    if evidence is not None:
        problems += number_problems(record, evidence)
        problems += image_problems(record, task.card if task else None, evidence)
    problems += weight_problems(record)
    return problems


def _beside(path: Path, record: RunRecord) -> Iterator[str]:
    """Of the files that the record names; panels show images of the dataset, and stay at home."""
    for ending, wanted in record.companions.items():
        file = beside(path, ending)
        if ending == PANELS:
            continue
        if file.is_symlink():
            yield f"{file}: a link; give the file itself"
        elif not file.exists():
            yield f"{file}: missing, and the record names it"
        else:
            yield from _content(file, wanted)


def _content(file: Path, wanted: str) -> Iterator[str]:
    try:
        if file.is_dir() or sha256_of(file) != wanted:
            yield f"{file}: edited: not the file that the record was made with"
    except (DensebenchError, OSError) as error:
        yield f"{file}: cannot be read: {error}"


def _evidence(path: Path, record: RunRecord, problems: list[str]) -> Evidence | None:
    """The evidence, edited or not; why there is none is added to the problems."""
    file = beside(path, EVIDENCE)
    if EVIDENCE not in record.companions:
        problems.append("has no evidence, so its numbers cannot be computed again; repeat the run")
        return None
    if not file.is_file() or file.is_symlink():
        return None
    try:
        evidence, run_id = opened(file)
    except DensebenchError as error:
        problems.append(str(error))
        return None
    if run_id != record.run_id:
        problems.append(f"{file}: the evidence of the run {run_id}")
    return evidence
