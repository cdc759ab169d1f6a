"""The leaderboard as one self-contained page for people.

Template, style and script are files beside this one, in ``page``; the numbers are a block of JSON,
and the panels of each image a block of its own, which the script reads when it is looked at. The
page's policy allows no other script than its own, and nothing from any network.
"""

import base64
import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import Any

from densebench import __version__
from densebench.report.pictures import dataset_name, embedded, kept_images
from densebench.report.tables import Board, Row, Table, load_board, relative_link
from densebench.results import write_atomically

SCRIPTS = ("core.js", "tables.js", "plots.js", "panels.js", "start.js")
POLICY = (
    "default-src 'none'; img-src data:; style-src '{style}'; script-src '{script}'; "
    "base-uri 'none'; form-action 'none'"
)
# Inside <script>, `</script` or `<!--` would end or change the block; these escapes are JSON too.
ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def write_page(results: Path, page: Path, partial: bool = False, images: bool = True) -> int:
    """Write the page of all records under ``results``; returns the number of tables.

    Args:
        results: Folder of records.
        page: File to write.
        partial: Show runs on a part of the images too.
        images: Embed panels, which show images of the datasets.

    Raises:
        DensebenchError: there is no such folder, or a file in it is no record, index or picture.
    """
    board = load_board(results, partial)
    write_atomically(page, html_page(board, page.parent, images))
    return len(board.tables)


def html_page(board: Board, folder: Path, images: bool = True) -> str:
    """The page, whose links to records start from ``folder``."""
    examples = embedded(board.tables) if images else [[] for _ in board.tables]
    style, script = _part("page.css"), "\n".join(_part(name) for name in SCRIPTS)
    blocks = [_block("data", board_data(board, folder, examples))]
    blocks += [
        _block(f"example-{table}-{number}", example)
        for table, found in enumerate(examples)
        for number, example in enumerate(found)
    ]
    text = _part("page.html").replace("@VERSION@", __version__)
    text = text.replace("@POLICY@", POLICY.format(style=_digest(style), script=_digest(script)))
    text = text.replace("@STYLE@", style).replace("@SCRIPT@", script)
    return text.replace("@DATA@", "\n".join(blocks))  # last: names in it may look like a mark


def board_data(
    board: Board, folder: Path, examples: Sequence[Sequence[dict[str, Any]]]
) -> dict[str, Any]:
    """All numbers of the page. Scores are in [0, 1]."""
    curves = _curves(board.tables)
    number = {id(table): t for t, table in enumerate(board.tables)}
    return {
        "tables": [
            {
                **_table(table, folder),
                "curves": curves[_curve_key(table)],
                "examples": [example["name"] for example in found],
                "kept": kept_images(table) if found else 0,
            }
            for table, found in zip(board.tables, examples, strict=True)
        ],
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
                if found
            )
        ),
    }


def _table(table: Table, folder: Path) -> dict[str, Any]:
    record = table.record
    data, protocol = record.dataset, record.protocol
    names = [row.record.backbone.name for row in table.rows]
    return {
        "title": table.title,
        "partial": record.partial,
        "dataset": dataset_name(table),
        "about": f"{protocol.name} protocol on {data.kind}: {data.n_train:,} training and "
        f"{data.n_val:,} validation images, {len(data.classes)} classes; "
        f"masks at {record.score.resolution} size",
        "classes": list(data.classes),
        "params": {key: str(value) for key, value in protocol.params.items()},
        "hashes": {"protocol": protocol.hash[:12], "dataset": data.fingerprint[:12]},
        "rows": [_row(rank, row, folder, names) for rank, row in enumerate(table.rows, start=1)],
    }


def _row(rank: int, row: Row, folder: Path, names: Sequence[str]) -> dict[str, Any]:
    record = row.record
    backbone, score = record.backbone, record.score
    base = backbone.card.get("adapted_from")
    return {
        "label": row.label,
        "notice": row.notice,
        "rank": rank,
        "miou": row.miou,
        "low": score.interval.low if row.deviation is None else None,
        "high": score.interval.high if row.deviation is None else None,
        "deviation": row.deviation,
        "seeds": len(row.found),
        "accuracy": row.pixel_accuracy,
        "published": [[number.miou, number.source] for number in row.published],
        "patch": backbone.patch_size,
        "width": backbone.embed_dim,
        "parameters": backbone.parameters,
        "base": names.index(base) if base in names else None,
        "iou": [_mean_iou(row, name) for name in record.dataset.classes],
        "record": relative_link(row.found[0][0], folder),
        "circumstances": _circumstances(row),
    }


def _mean_iou(row: Row, name: str) -> float | None:
    """IoU of a class over the seeds in which it is there."""
    found = [record.score.iou[name] for _, record in row.found]
    there = [iou for iou in found if iou is not None]
    return sum(there) / len(there) if there else None


def _circumstances(row: Row) -> str:
    record = row.record
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    return (
        f"input {record.protocol.input_size}, {record.precision} on {record.device}, "
        f"{sum(record.seconds.values()):.0f} s, weights {record.backbone.fingerprint[:12]}; "
        f"{versions}"
    )


def _curve_key(table: Table) -> tuple[Any, ...]:
    """What tables share that differ in their training images alone."""
    record = table.record
    data = record.dataset
    return table.task, record.protocol.hash, data.kind, data.n_val, data.classes, record.partial


def _curves(tables: Sequence[Table]) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Per protocol and validation set the curve of each backbone over shares of the training set.

    A point is the share's 1/N as N, and the mIoU: over several draws of one share, the mean, the
    lowest and the highest.
    """
    found: dict[tuple[Any, ...], dict[str, dict[int, list[float]]]] = {}
    for table in tables:
        backbones = found.setdefault(_curve_key(table), defaultdict(lambda: defaultdict(list)))
        for row in table.rows:
            backbones[row.label][_parts(row)].append(row.miou)
    return {
        key: [
            {
                "label": label,
                "points": [
                    [parts, sum(mious) / len(mious), min(mious), max(mious), len(mious)]
                    for parts, mious in sorted(points.items())
                ],
            }
            for label, points in backbones.items()
        ]
        for key, backbones in found.items()
    }


def _parts(row: Row) -> int:
    """The N of a share 1/N of the training images; 1 for all of them."""
    subset = row.record.dataset.subset
    return Fraction(subset.partition(",")[0]).denominator if subset else 1


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
