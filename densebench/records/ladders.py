"""A ladder that was climbed: each rung's number, and what the change that it makes is worth.

``<results>/<backbone>/ladders/<ladder>-seed<seed>.ladder.json``: made of the records that it names,
and made again by every ``densebench ladder``. The file carries a checksum of itself.
"""

import json
from pathlib import Path

from pydantic import Field

from densebench.cards import validate
from densebench.cards.models import QuotedNumber
from densebench.files.atomic import write_atomically
from densebench.files.hashes import content_hash
from densebench.files.regular import read_json
from densebench.host.errors import DensebenchError
from densebench.records.called import safe_name
from densebench.records.schema import LADDER_ENDING, MetricScore, Part

CHECKSUM = "checksum"


class StepRecord(Part):
    """A rung's number less the one before it, on the same images, and what that may be."""

    difference: float
    low: float
    high: float
    p: float
    level: float
    over: str
    n: int


class RungRecord(Part):
    """One rung.

    ``told`` has both values of each change. ``metric`` and ``record``, relative to the folder of
    results, are there once the run is; else ``failed`` says why it is not, or ``skipped`` what the
    backbone cannot do.
    """

    name: str
    protocol: str
    task: str
    variant: str
    factor: str
    changes: tuple[str, ...]
    told: tuple[str, ...]
    published: tuple[QuotedNumber, ...] = ()
    resolution: int | str | None = None
    metric: MetricScore | None = None
    run_id: str = ""
    record: str = ""
    step: StepRecord | None = None
    failed: str = ""
    skipped: str = ""


class LadderRecord(Part):
    """Every rung of one backbone on one ladder."""

    ladder: str
    description: str
    backbone: str
    seed: int
    partial: bool
    rungs: tuple[RungRecord, ...] = Field(min_length=1)

    def path(self, results: Path) -> Path:
        """Where it lies; limited runs beside whole ones."""
        part = "-partial" if self.partial else ""
        file = f"{safe_name(self.ladder)}-seed{self.seed}{part}{LADDER_ENDING}"
        return results / safe_name(self.backbone) / "ladders" / file


def save_ladder(record: LadderRecord, results: Path) -> Path:
    """Write it atomically, and return its path."""
    path, values = record.path(results), json.loads(record.model_dump_json())
    sealed = {**values, CHECKSUM: content_hash(values)}
    write_atomically(path, json.dumps(sealed, indent=1, ensure_ascii=False) + "\n")
    return path


def load_ladders(results: Path) -> list[LadderRecord]:
    """Every ladder under a folder, in the order of the files' names.

    Raises:
        DensebenchError: a file is no ladder, or not as it was written.
    """
    found = []
    for path in sorted(results.rglob(f"*{LADDER_ENDING}")):
        try:
            values = read_json(path)
        except (OSError, ValueError) as error:
            raise DensebenchError(
                f"{path}: not a ladder: {error}; repeat `densebench ladder`"
            ) from error
        written = values.pop(CHECKSUM, None) if isinstance(values, dict) else None
        found.append(validate(LadderRecord, values, str(path)))
        if content_hash(values) != written:
            raise DensebenchError(
                f"{path}: not as it was written, its checksum differs; repeat `densebench ladder`"
            )
    return found
