"""Records in a folder of results: one JSON file per run, written whole or not at all."""

import json
from pathlib import Path
from typing import Any

from densebench.cards import validate
from densebench.files.atomic import write_atomically
from densebench.host.errors import DensebenchError
from densebench.records.schema import PROFILE_ENDING, ProfileRecord, RunRecord, safe_name

DEFAULT_RESULTS = Path("leaderboard") / "results"
PANELS_ENDING = ".panels"  # of the folder beside a record


def save_record(record: RunRecord | ProfileRecord, results: Path) -> Path:
    """Write the record atomically, and return its path."""
    path = record.path(results)
    write_atomically(path, record.model_dump_json(indent=1) + "\n")
    return path


def load_record(path: Path) -> RunRecord:
    """Read one record.

    Raises:
        DensebenchError: the file is no record, or of a schema that this version does not know.
    """
    return validate(RunRecord, _json_object(path, "a run record"), str(path))


def load_records(results: Path) -> list[tuple[Path, RunRecord]]:
    """Every run record under a folder with its file, in the order of the files' names."""
    files = sorted(
        file
        for file in results.rglob("*.json")
        if not file.name.endswith(PROFILE_ENDING) and file.parent.suffix != PANELS_ENDING
    )
    return [(path, load_record(path)) for path in files]


def load_profiles(results: Path) -> list[tuple[Path, ProfileRecord]]:
    """Every profile under a folder with its file, in the order of the files' names.

    Raises:
        DensebenchError: a file is no profile, or of a schema that this version does not know.
    """
    files = sorted(results.rglob(f"*{PROFILE_ENDING}"))
    values = ((path, _json_object(path, "a profile")) for path in files)
    return [(path, validate(ProfileRecord, value, str(path))) for path, value in values]


def _json_object(path: Path, what: str) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DensebenchError(f"{path}: not {what}: {error}") from error
    if not isinstance(values, dict):
        raise DensebenchError(f"{path}: not {what}: it holds no JSON object")
    return values


def find_record(results: Path, backbone: str, task: str, run_id: str) -> Path | None:
    """The file of a run that was already done."""
    folder = results / safe_name(backbone) / safe_name(task)
    return next(iter(sorted(folder.glob(f"*-{run_id}.json"))), None)
