"""The text of a pull request, from the template ``pull_request.md`` beside this file."""

from collections.abc import Sequence
from pathlib import Path
from string import Template

from densebench import __version__
from densebench.records.identity import Stored
from densebench.records.schema import RunRecord
from densebench.report.formats.escapes import markdown as escape
from densebench.report.formats.escapes import markdown_row

COLUMNS = ("backbone", "task", "variant", "number", "95% interval", "record")
TEMPLATE = Path(__file__).with_name("pull_request.md")


def request_text(records: Sequence[Stored]) -> str:
    """The text: a row for each record, with its place in the pull request.

    Args:
        records: Each with its file, relative to the text.
    """
    names = list(dict.fromkeys(record.backbone.name for _, record in records))
    lines = [markdown_row(list(COLUMNS)), markdown_row(["---"] * len(COLUMNS))]
    lines += [_row(path, record) for path, record in records]
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=f"{_count(len(records), 'record')} of {escape(', '.join(names))}",
        table="\n".join(lines),
        version=__version__,
        made="\n".join(_made(record) for _, record in records),
    )


def _row(path: Path, record: RunRecord) -> str:
    main = record.score.main
    number = f"{main.title} {main.text(main.value)} {main.unit}".strip()
    cells = record.backbone.name, record.task, record.protocol.variant, number, main.interval_text
    link = f"[{record.run_id}]({path.as_posix()})"
    return markdown_row([*map(escape, cells), link])


def _made(record: RunRecord) -> str:
    """Where, when and with what a record was made."""
    card, seconds = record.backbone.card, sum(record.seconds.values())
    known = [("weights", record.backbone.fingerprint[:12]), ("licence", card.get("license"))]
    known += [("trained on", card.get("training_data")), ("adapted from", card.get("adapted_from"))]
    told = [f"{name} {value}" for name, value in known if value]
    place = f"{record.created[:10]}, {record.place}, {record.precision}, {seconds:.0f} s"
    return f"- {record.run_id}: " + escape("; ".join([place, *told]))


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"
