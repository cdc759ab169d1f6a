"""The leaderboard as one self-contained page for people.

Template, style and script are files beside this one, in ``page``; the numbers are a block of JSON,
and the panels of each image a block of its own, which the script reads when it is looked at. The
page's policy allows no other script than its own, and nothing from any network.
"""

import base64
import hashlib
import html
import json
import statistics
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from densebench import __version__
from densebench.files.atomic import write_atomically
from densebench.report.board.board import Board, OverallRow, Table, marks, relative_link
from densebench.report.board.ranking import SHARPER, STATEMENT
from densebench.report.board.rows import Row
from densebench.report.board.shares import ShareTable, parts, share_tables
from densebench.report.formats.pictures import Examples, dataset_name, embedded

SCRIPTS = ("core.js", "tables.js", "plots.js", "panels.js", "start.js")
POLICY = (
    "default-src 'none'; img-src data:; style-src '{style}'; script-src '{script}'; "
    "base-uri 'none'; form-action 'none'"
)
# Inside <script>, `</script` or `<!--` would end or change the block; these escapes are JSON too.
ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def write_page(board: Board, page: Path, images: bool = True) -> None:
    """Write the page of a board.

    Args:
        board: What it shows.
        page: File to write.
        images: Embed panels, which show images of the datasets.

    Raises:
        DensebenchError: an index of panels or a picture cannot be read.
    """
    write_atomically(page, html_page(board, page.parent, images))


def html_page(board: Board, folder: Path, images: bool = True) -> str:
    """The page, whose links to records start from ``folder``."""
    examples = embedded(board.tables if images else [])
    examples += [Examples([], 0)] * (len(board.tables) - len(examples))
    style, script = _part("page.css"), "\n".join(_part(name) for name in SCRIPTS)
    blocks = [_block("data", board_data(board, folder, examples))]
    blocks += [
        _block(f"example-{table}-{number}", example)
        for table, found in enumerate(examples)
        for number, example in enumerate(found.shown)
    ]
    text = _part("page.html").replace("@VERSION@", __version__)
    text = text.replace("@POLICY@", POLICY.format(style=_digest(style), script=_digest(script)))
    text = text.replace("@TESTS@", html.escape(f"{STATEMENT} {SHARPER}".replace("`", "")))
    text = text.replace("@STYLE@", style).replace("@SCRIPT@", script)
    return text.replace("@DATA@", "\n".join(blocks))  # last: names in it may look like a mark


def board_data(board: Board, folder: Path, examples: Sequence[Examples]) -> dict[str, Any]:
    """All numbers of the page. Scores are in [0, 1]."""
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
        "overall": [
            {
                "variant": overall.variant,
                "tables": [number[id(table)] for table in overall.tables],
                "headings": overall.headings,
                "rows": [
                    {
                        "label": row.label,
                        "mean": row.mean,
                        "cells": [None if cell is None else cell.miou for cell in row.cells],
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
    best = marks([row.miou for row in table.rows])
    return {
        "title": table.title,
        "partial": record.partial,
        "dataset": dataset_name(table),
        "about": f"{protocol.name} protocol on {data.kind}: {data.n_train:,} training and "
        f"{data.n_val:,} validation images, {len(data.classes)} classes; "
        f"masks at {record.score.resolution} size; intervals and tests over {table.over}",
        "classes": list(data.classes),
        "params": {key: str(value) for key, value in protocol.params.items()},
        "hashes": {"protocol": protocol.hash[:12], "dataset": data.fingerprint[:12]},
        "untested": table.untested,
        "skipped": table.skipped,
        "device": table.profile_device,
        "rows": [
            {**_row(row, folder), "base": _base(row, labels), "mark": mark}
            for row, mark in zip(table.rows, best, strict=True)
        ],
    }


def _row(row: Row, folder: Path) -> dict[str, Any]:
    record = row.record
    backbone, interval, standing = record.backbone, row.interval, row.standing
    profile = row.profile[1] if row.profile else None
    return {
        "label": row.label,
        "remarks": [[remark.mark, remark.sentence] for remark in row.remarks],
        "better": standing and standing.better_than,
        "worse": standing and standing.worse_than,
        "miou": row.miou,
        "low": interval and interval.low,
        "high": interval and interval.high,
        "deviation": row.deviation,
        "spread": row.spread,
        "accuracy": row.pixel_accuracy,
        "published": [[number.miou, number.told] for number in row.published],
        "patch": backbone.patch_size,
        "width": backbone.embed_dim,
        "parameters": backbone.parameters,
        "speed": profile.images_per_second if profile else None,
        "gflops": (profile.gflops or None) if profile else None,  # 0: none that are counted
        "iou": [row.iou(name) for name in record.dataset.classes],
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
        f"input {record.protocol.input_size}, {record.precision} on {record.device}, "
        f"{sum(record.seconds.values()):.0f} s, weights {record.backbone.fingerprint[:12]}; "
        f"{versions}"
    )


def _curves(table: ShareTable) -> list[dict[str, Any]]:
    """The curve of each backbone over the shares of the training images, the smallest first.

    A point is the N of the share 1/N, and the mIoU: over several draws of one share, the mean, the
    lowest and the highest.
    """
    return [
        {
            "label": label,
            "points": [
                [*_point(share, row.mious if "draw" in row.varied else (row.miou,)), _marks_of(row)]
                for share, row in zip(table.shares, cells, strict=True)
                if row is not None
            ],
        }
        for label, cells in table.rows
    ]


def _point(share: str, mious: Sequence[float]) -> list[float]:
    return [
        parts(share).denominator,
        statistics.mean(mious),
        min(mious),
        max(mious),
        len(mious),
    ]


def _curves_of(table: Table, shares: Sequence[ShareTable]) -> int | None:
    """Which of the tables of shares a table is part of."""
    for number, of_shares in enumerate(shares):
        if any(cell is row for _, cells in of_shares.rows for cell in cells for row in table.rows):
            return number
    return None


def _block(name: str, value: Any) -> str:
    """A block of data that no name in it can end."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character, escape in ESCAPES.items():
        text = text.replace(character, escape)
    return f'<script type="application/json" id="{name}">{text}</script>'


def _part(name: str) -> str:
    return files("densebench.report").joinpath("page", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """The source by which a policy names an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
