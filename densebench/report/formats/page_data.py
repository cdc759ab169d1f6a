"""The numbers of a board as the page's script reads them: tables, several side by side, curves."""

import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from densebench.records.schema import MetricScore
from densebench.report.board.board import Board
from densebench.report.board.columns import class_title, marks
from densebench.report.board.overall import Overall, OverallRow, apart
from densebench.report.board.pairs import METRIC_FACTS
from densebench.report.board.rows import Row
from densebench.report.board.shares import ShareTable, parts, share_tables
from densebench.report.board.tables import Table
from densebench.report.formats.kept_records import KeptRecords
from densebench.report.formats.pictures import Examples, dataset_name


def board_data(board: Board, folder: Path, examples: Sequence[Examples]) -> dict[str, Any]:
    """All numbers of the page, as records have them; the metrics say how they print.

    Raises:
        DensebenchError: a record's file that was there is gone.
    """
    shares = share_tables(board.tables)
    records = KeptRecords(folder)
    return {
        "tables": [
            {
                **_table(table, records),
                "title": title,
                "curves": _curves_of(table, shares),
                "examples": [example["name"] for example in found.shown],
                "kept": found.kept,
                "palette": found.palette,
            }
            for table, title, found in zip(
                board.tables, _titles(board.tables), examples, strict=True
            )
        ],
        "curves": [_curves(table) for table in shares],
        "ladders": [ladder.model_dump(mode="json") for ladder in board.ladders],
        "overall": [_overall(overall, board) for overall in board.overall],
        "records": records.packed,  # filled by the tables above
        "shown": list(
            dict.fromkeys(
                dataset_name(table)
                for table, found in zip(board.tables, examples, strict=True)
                if found.shown
            )
        ),
    }


def _titles(tables: Sequence[Table]) -> list[str]:
    """A name for each, which the address has: of two that are called alike, with what differs."""
    known = Counter(table.title for table in tables)
    return [
        table.title if known[table.title] == 1 else f"{table.title} ({apart(table)})"
        for table in tables
    ]


def _overall(overall: Overall, board: Board) -> dict[str, Any]:
    """Several tables side by side: each cell is the place of a row in its table."""
    number = {id(table): t for t, table in enumerate(board.tables)}
    best = marks(overall.metric, [row.mean for row in overall.rows])
    return {
        "title": overall.title,
        "metric": _metric(overall.metric),
        "tables": [number[id(table)] for table in overall.tables],
        "headings": overall.headings,
        "rows": [
            {**_overall_row(row, overall), "mark": mark}
            for row, mark in zip(overall.rows, best, strict=True)
        ],
    }


def _overall_row(row: OverallRow, overall: Overall) -> dict[str, Any]:
    first = next(cell for cell in row.cells if cell is not None).record.backbone
    places = [
        None if cell is None else table.rows.index(cell)
        for cell, table in zip(row.cells, overall.tables, strict=True)
    ]
    return {
        "label": row.label,
        "value": row.mean,
        "cells": places,
        "missing": row.missing,
        "marks": [_marks_of(cell) for cell in row.cells],
        "remarks": _all_remarks(row),
        "patch": first.patch_size,
        "parameters": first.parameters,
    }


def _table(table: Table, records: KeptRecords) -> dict[str, Any]:
    record = table.record
    data, protocol = record.dataset, record.protocol
    labels = [row.label for row in table.rows]
    best = marks(table.metric, [row.value for row in table.rows])
    others = [metric.name for metric in table.others]
    return {
        "task": table.task,
        "partial": record.partial,
        "dataset": dataset_name(table),
        "about": table.about,
        "metric": _metric(table.metric),
        "others": [_metric(metric) for metric in table.others],
        "class_title": class_title(table.metric) if record.score.classes else None,
        "classes": list(record.score.classes or data.classes),
        "params": {key: str(value) for key, value in protocol.params.items()},
        "hashes": {"protocol": protocol.hash[:12], "dataset": data.fingerprint[:12]},
        "untested": table.untested,
        "skipped": table.skipped,
        "device": table.profile_device,
        "rows": [
            {
                **_row(row, others),
                "records": records.add(row),
                "base": _base(row, labels),
                "mark": mark,
            }
            for row, mark in zip(table.rows, best, strict=True)
        ],
    }


def _metric(metric: MetricScore) -> dict[str, Any]:
    return metric.model_dump(include=METRIC_FACTS)


def _row(row: Row, others: Sequence[str]) -> dict[str, Any]:
    record = row.record
    backbone, interval, standing = record.backbone, row.interval, row.standing
    profile = row.profile[1] if row.profile else None
    return {
        "label": row.label,
        "remarks": [[remark.mark, remark.sentence] for remark in row.remarks],
        "better": standing and standing.better_than,
        "worse": standing and standing.worse_than,
        "value": row.value,
        "low": interval and interval.low,
        "high": interval and interval.high,
        "deviation": row.deviation,
        "spread": row.spread,
        "others": [row.of(name) for name in others],
        "published": [[number.value, number.told] for number in row.published],
        "patch": backbone.patch_size,
        "width": backbone.embed_dim,
        "parameters": backbone.parameters,
        "speed": profile.images_per_second if profile else None,
        "gflops": (profile.gflops or None) if profile else None,  # 0: none that are counted
        "classes": [row.class_value(name) for name in record.score.classes],
        "circumstances": _circumstances(row),
    }


def _base(row: Row, labels: Sequence[str]) -> dict[str, Any] | None:
    """The row that a backbone was adapted from, by its place, and the difference to it."""
    if row.base is None:
        return None
    found = row.base.comparison
    told = {} if found is None else {"low": found.low, "high": found.high, "p": found.p}
    return {"row": labels.index(row.base.label), "difference": row.base.difference, **told}


def _marks_of(row: Row | None) -> str:
    return "" if row is None else "".join(remark.mark for remark in row.remarks)


def _all_remarks(row: OverallRow) -> list[list[str]]:
    """What must be said of a backbone over all tasks, each sentence once."""
    said = [(r.mark, r.sentence) for cell in row.cells if cell for r in cell.remarks]
    return [list(remark) for remark in dict.fromkeys(said)]


def _circumstances(row: Row) -> str:
    record = row.record
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    return (
        f"input {record.protocol.input_text}, {record.precision} on {record.place}, "
        f"{sum(record.seconds.values()):.0f} s, weights {record.backbone.fingerprint[:12]}; "
        f"{versions}"
    )


def _curves(table: ShareTable) -> list[dict[str, Any]]:
    """The curve of each backbone over the shares of the training images, the smallest first.

    A point is the N of the share 1/N, and the value: over several draws of one share, the mean, the
    lowest and the highest.
    """
    return [
        {
            "label": label,
            "points": [
                [
                    *_point(share, row),
                    _marks_of(row),
                ]
                for share, row in zip(table.shares, cells, strict=True)
                if row is not None
            ],
        }
        for label, cells in table.rows
    ]


def _point(share: str, row: Row) -> list[float]:
    values = row.values if "draw" in row.varied else (row.value,)
    return [
        parts(share).denominator,
        statistics.mean(values),
        min(values),
        max(values),
        len(values),
    ]


def _curves_of(table: Table, shares: Sequence[ShareTable]) -> int | None:
    """Which of the tables of shares a table is part of."""
    for number, of_shares in enumerate(shares):
        if any(cell is row for _, cells in of_shares.rows for cell in cells for row in table.rows):
            return number
    return None
