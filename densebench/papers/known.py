"""Which of the records that are there answer a row of a suite."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from densebench.cards import BackboneCard, TaskCard
from densebench.protocols import load_protocol, task_params
from densebench.records.schema import ProfileRecord, RunRecord
from densebench.report.board.reproduced import Missing, ReproducedRow
from densebench.run.options import RunOptions

# What describes a card to its reader, and changes no feature.
DESCRIPTIVE = {"description", "license", "training_data", "adapted_from", "citation"}


@dataclass(frozen=True)
class SuiteTask:
    """A task of the suite, and what is known of its data.

    Attributes:
        name: as the suite names it.
        images: of both splits, once the data are here.
        missing: what its data lack.
    """

    name: str
    card: TaskCard
    file: Path
    images: int | None
    missing: Missing | None


@dataclass(frozen=True)
class Kept:
    """The records and profiles that a folder of results holds."""

    records: list[tuple[Path, RunRecord]]
    profiles: list[ProfileRecord]


def records_like(
    row: ReproducedRow,
    task: SuiteTask,
    base: RunOptions,
    records: Iterable[tuple[Path, RunRecord]],
) -> list[tuple[Path, RunRecord]]:
    """The records of a row's task by its own rules, of this backbone."""
    return [
        (path, record)
        for path, record in records
        if record.backbone.name == row.label and same_rules(record, task, base)
    ]


def same_rules(record: RunRecord, task: SuiteTask, base: RunOptions) -> bool:
    """Whether a record is of a task by the task card's own parameters."""
    protocol, rules = record.protocol, load_protocol(task.card.protocol)
    params = rules.resolve(task_params(task.card, str(task.file)), base.variant)
    return (
        (record.task, protocol.name) == (task.card.name, task.card.protocol)
        and (protocol.version, protocol.variant) == (rules.version, base.variant)
        and protocol.params == params.model_dump(mode="json")
        and record.precision == base.precision
    )


def is_whole(record: RunRecord, card: BackboneCard | None, base: RunOptions) -> bool:
    """Whether a record is of the whole of the data, and of the backbone as it is."""
    chosen = record.dataset.train_names is not None and record.dataset.subset is None
    whole = not (record.partial or chosen or record.dataset.skipped)
    return whole and record.seed == base.seed and _same_card(record, card)


def _same_card(record: RunRecord, card: BackboneCard | None) -> bool:
    """Whether the card says what it said; of a plug-in, only a run itself can tell."""
    if card is None or not record.backbone.card:
        return False
    try:
        before = BackboneCard.model_validate(record.backbone.card)
    except ValueError:
        return False
    return before.model_dump(exclude=DESCRIPTIVE) == card.model_dump(exclude=DESCRIPTIVE)
