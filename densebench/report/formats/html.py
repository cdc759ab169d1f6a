"""The leaderboard as one self-contained page for people.

Template, style, script and views are files in ``page``; the numbers are a block of JSON,
and the panels of each image a block of its own, which the script reads when it is looked at. The
page's policy allows no other script than its own, and nothing from any network.
"""

import base64
import hashlib
import html
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from densebench import __version__
from densebench.records.schema import MetricScore
from densebench.report.board.board import Board
from densebench.report.board.columns import class_title, described, marks
from densebench.report.board.overall import OverallRow
from densebench.report.board.pairs import METRIC_FACTS
from densebench.report.board.ranking import SHARPER, STATEMENT
from densebench.report.board.rows import Row
from densebench.report.board.shares import ShareTable, parts, share_tables
from densebench.report.board.tables import Table
from densebench.report.formats.links import relative_link
from densebench.report.formats.pictures import Examples, dataset_name, embedded
from densebench.report.page.parts import load_page

GENERATED = '<meta name="generator" content="densebench '
POLICY = (
    "default-src 'none'; img-src data:; style-src '{style}'; script-src '{script}'; "
    "base-uri 'none'; form-action 'none'"
)
# Inside <script>, `</script` or `<!--` would end or change the block; these escapes are JSON too.
ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def html_page(board: Board, folder: Path, images: bool = True) -> str:
    """The page of a board.

    Args:
        board: What it shows.
        folder: Where it is to lie; links to records start from there.
        images: Embed panels, which show images of the datasets.

    Raises:
        DensebenchError: an index of panels or a picture cannot be read.
    """
    examples = embedded(board.tables if images else [])
    examples += [Examples([], 0)] * (len(board.tables) - len(examples))
    page = load_page()
    blocks = [_block("data", board_data(board, folder, examples))]
    blocks += [
        _block(f"example-{table}-{number}", example)
        for table, found in enumerate(examples)
        for number, example in enumerate(found.shown)
    ]
    text = page.template.replace("@VERSION@", __version__)
    policy = POLICY.format(style=_digest(page.style), script=_digest(page.script))
    text = text.replace("@POLICY@", policy).replace("@NUMBERS@", html.escape(_numbers(board)))
    text = text.replace("@TESTS@", html.escape(f"{STATEMENT} {SHARPER}".replace("`", "")))
    text = text.replace("@STYLE@", page.style).replace("@SCRIPT@", page.script)
    return text.replace("@DATA@", "\n".join(blocks))  # last: names in it may look like a mark


def _numbers(board: Board) -> str:
    """What the numbers are, and in which order."""
    if not board.tables:
        return ""
    with_classes = (t.metric for t in board.tables if t.record.score.classes)
    of_classes = {m.name: m.model_copy(update={"title": class_title(m)}) for m in with_classes}
    mains = [part for m in board.mains for part in (m, of_classes.get(m.name)) if part]
    titles = " or ".join(metric.title for metric in board.mains)
    return (
        f"{described([*mains, *board.metrics[len(board.mains) :]])}; every {titles} leads to its "
        f"record; rows are in the order of {titles} until a heading sorts them."
    )


def board_data(board: Board, folder: Path, examples: Sequence[Examples]) -> dict[str, Any]:
    """All numbers of the page, as records have them; the metrics say how they print."""
    shares = share_tables(board.tables)
    number = {id(table): t for t, table in enumerate(board.tables)}
    return {
        "tables": [
            {
                **_table(table, folder),
                "curves": _curves_of(table, shares),
                "examples": [example["name"] for example in found.shown],
                "kept": found.kept,
            }
            for table, found in zip(board.tables, examples, strict=True)
        ],
        "curves": [_curves(table) for table in shares],
        "ladders": [ladder.model_dump(mode="json") for ladder in board.ladders],
        "overall": [
            {
                "title": overall.title,
                "metric": _metric(overall.metric),
                "tables": [number[id(table)] for table in overall.tables],
                "headings": overall.headings,
                "rows": [
                    {
                        "label": row.label,
                        "mean": row.mean,
                        "cells": [None if cell is None else cell.value for cell in row.cells],
                        "marks": [_marks_of(cell) for cell in row.cells],
                        "remarks": _all_remarks(row),
                    }
                    for row in overall.rows
                ],
            }
            for overall in board.overall
        ],
        "shown": list(
            dict.fromkeys(
                dataset_name(table)
                for table, found in zip(board.tables, examples, strict=True)
                if found.shown
            )
        ),
    }


def _table(table: Table, folder: Path) -> dict[str, Any]:
    record = table.record
    data, protocol = record.dataset, record.protocol
    labels = [row.label for row in table.rows]
    best = marks(table.metric, [row.value for row in table.rows])
    others = [metric.name for metric in table.others]
    return {
        "title": table.title,
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
            {**_row(row, others, folder), "base": _base(row, labels), "mark": mark}
            for row, mark in zip(table.rows, best, strict=True)
        ],
    }


def _metric(metric: MetricScore) -> dict[str, Any]:
    return metric.model_dump(include=METRIC_FACTS)


def _row(row: Row, others: Sequence[str], folder: Path) -> dict[str, Any]:
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
        "record": relative_link(row.found[0][0], folder),
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
        f"input {record.protocol.input_text}, {record.precision} on {record.device}, "
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


def _block(name: str, value: Any) -> str:
    """A block of data that no name in it can end."""
    text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character, escape in ESCAPES.items():
        text = text.replace(character, escape)
    return f'<script type="application/json" id="{name}">{text}</script>'


def _finite(value: Any) -> Any:
    """The value with nothing where JSON has no number for it."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _digest(text: str) -> str:
    """The source by which a policy names an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
