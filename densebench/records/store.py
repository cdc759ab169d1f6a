"""Records in a folder of results, and all that lies beside one: this module alone knows what.

A run leaves ``NAME.json`` and, beside it, ``NAME.evidence.npz``, files of its protocol such as
``NAME.head.safetensors``, and the folder ``NAME.panels``. The record is written last, so that one
that is there is whole; it holds the SHA-256 of each, and a checksum of itself.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from densebench.cards import validate
from densebench.files.atomic import write_atomically
from densebench.files.hashes import content_hash
from densebench.files.regular import read_bytes, read_json
from densebench.host.errors import DensebenchError
from densebench.measures.base import Evidence
from densebench.records.evidence import packed, read
from densebench.records.older import converted
from densebench.records.schema import PROFILE_ENDING, ProfileRecord, RunRecord, safe_name

DEFAULT_RESULTS = Path("leaderboard") / "results"
EVIDENCE, COUNTS, PANELS = "evidence.npz", "counts.npz", "panels"  # the second is of schema 1
INDEX = "index.json"  # of a folder of panels
CHECKSUM = "checksum"
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
    """Write all that a run leaves, each file whole or not at all, and the record last.

    What lies beside an older record of the same run and is not written anew stays.

    Returns:
        The record's path.
    """
    path = record.path(results)
    contents = dict(companions.files)
    if companions.evidence is not None:
        contents[EVIDENCE] = packed(companions.evidence, record.run_id)
        beside(path, COUNTS).unlink(missing_ok=True)
    for ending, content in contents.items():
        write_atomically(beside(path, ending), content)
    if companions.panels is not None:
        companions.panels(beside(path, PANELS))
    write_atomically(path, _sealed(record, path))
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
    values = _json_object(path, "a run record")
    try:
        present = converted(values)
    except (LookupError, TypeError, AttributeError) as error:
        raise DensebenchError(f"{path}: not a run record of schema 1: {error!r}") from error
    record = validate(RunRecord, present, str(path))
    if present is values:
        if record.checksum != _checksum(values):
            raise DensebenchError(f"{path}: not as it was written, its checksum differs; {MEND}")
        _check_companions(path, record)
    return record


def load_records(results: Path) -> list[tuple[Path, RunRecord]]:
    """Every run record under a folder with its file, in the order of the files' names."""
    files = sorted(
        file
        for file in results.rglob("*.json")
        if not file.name.endswith(PROFILE_ENDING) and file.parent.suffix != f".{PANELS}"
    )
    return [(path, load_record(path)) for path in files]


def load_evidence(path: Path, record: RunRecord) -> Evidence | None:
    """The evidence beside a record; none where it is not there, or was never kept.

    Raises:
        DensebenchError: the file cannot be read, is of another run, or the record's numbers do not
            follow from it.
    """
    files = (beside(path, ending) for ending in (EVIDENCE, COUNTS))
    file = next((file for file in files if file.exists()), None)
    return None if file is None else read(file, record)


def load_profiles(results: Path) -> list[tuple[Path, ProfileRecord]]:
    """Every profile under a folder with its file, in the order of the files' names.

    Raises:
        DensebenchError: a file is no profile, or of a schema that this version does not know.
    """
    files = sorted(results.rglob(f"*{PROFILE_ENDING}"))
    values = ((path, _json_object(path, "a profile")) for path in files)
    return [(path, validate(ProfileRecord, value, str(path))) for path, value in values]


def find_record(results: Path, backbone: str, task: str, run_id: str) -> Path | None:
    """The file of a run that was already done."""
    folder = results / safe_name(backbone) / safe_name(task)
    return next(iter(sorted(folder.glob(f"*-{run_id}.json"))), None)


def _sealed(record: RunRecord, path: Path) -> str:
    """The record's text, with the hashes of its companions and its own checksum."""
    start = f"{path.stem}."
    files = [f for f in sorted(path.parent.glob(f"{start}*")) if f != path and _content(f).exists()]
    found = {file.name.removeprefix(start): _sha256(file) for file in files}
    known = record.model_copy(update={"companions": found, CHECKSUM: ""})
    values = json.loads(known.model_dump_json())
    sealed = {**values, CHECKSUM: _checksum(values)}
    return json.dumps(sealed, indent=1, ensure_ascii=False) + "\n"


def _checksum(values: Mapping[str, Any]) -> str:
    """Of what the file says, not of what a later version of the schema reads in it."""
    return content_hash({key: value for key, value in values.items() if key != CHECKSUM})


def _check_companions(path: Path, record: RunRecord) -> None:
    """A file that is missing is not refused: records are shown without their pictures and heads."""
    for ending, wanted in record.companions.items():
        file = beside(path, ending)
        if _content(file).exists() and _sha256(file) != wanted:
            raise DensebenchError(f"{file}: not the file that the record was made with; {MEND}")
    if EVIDENCE not in record.companions and beside(path, EVIDENCE).exists():
        raise DensebenchError(f"{beside(path, EVIDENCE)}: not of the record beside it; {MEND}")


def _sha256(file: Path) -> str:
    return hashlib.sha256(read_bytes(_content(file))).hexdigest()


def _content(file: Path) -> Path:
    """What stands for a companion: of a folder its index."""
    return file / INDEX if file.is_dir() else file


def _json_object(path: Path, what: str) -> dict[str, Any]:
    try:
        values = read_json(path)
    except (OSError, ValueError) as error:
        raise DensebenchError(f"{path}: not {what}: {error}") from error
    if not isinstance(values, dict):
        raise DensebenchError(f"{path}: not {what}: it holds no JSON object")
    return values
