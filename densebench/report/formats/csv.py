"""The leaderboard as comma-separated values: a line for each backbone of each table."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from densebench.records.identity import seeds
from densebench.records.schema import MetricScore
from densebench.report.board.board import Board
from densebench.report.board.rows import Row
from densebench.report.board.tables import Table
from densebench.report.formats.escapes import csv_cell
from densebench.report.formats.links import relative_link

GENERATED = "task,variant,protocol,protocol_hash,"  # its header: it has no line for remarks
Cell = str | int | float | None


def csv_lines(board: Board, folder: Path) -> str:
    """All tables of a board; the records' paths start from ``folder``.

    Values are in the unit of their metric: shares in per cent. A metric has a column of its own,
    empty where a row has not got it; ``metric``, ``unit`` and ``better`` say what a row is ranked
    by, unless that is a share of which more is better in every table.
    """
    lines = [_line(board, table, row, folder) for table in board.tables for row in table.rows]
    if not lines:
        return ""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: csv_cell(cell) if isinstance(cell, str) else cell for name, cell in line.items()}
        for line in lines
    )
    return buffer.getvalue()


def _line(board: Board, table: Table, row: Row, folder: Path) -> dict[str, Cell]:
    record = row.record
    data, protocol, backbone = record.dataset, record.protocol, record.backbone
    mains, metric = board.mains, row.metric
    return {
        "task": table.task,
        "variant": table.variant,
        "protocol": protocol.name,
        "protocol_hash": protocol.hash,
        "dataset": data.kind,
        "dataset_fingerprint": data.fingerprint,
        "subset": data.subset,
        "n_train": data.n_train,
        "n_val": data.n_val,
        "partial": str(record.partial).lower(),
        "skipped": len(data.skipped),
        "backbone": row.record.backbone.name,
        "label": row.label,
        "weights": backbone.fingerprint,
        "precision": record.precision,
        **_seeds(row),
        **_ranked_by(mains, metric),
        **{main.name: _value(main, row.of(main.name)) for main in mains},
        "deviation": _value(metric, row.deviation),
        "deviation_over": row.spread,
        **_interval(row),
        **_standing(row),
        **_remarks(row),
        **{m.name: _value(m, row.of(m.name)) for m in board.metrics[len(mains) :]},
        **_base(row),
        **{f"published_{main.name}": _published(main, row) for main in mains},
        "published_source": "; ".join(number.told for number in row.published),
        "patch_size": backbone.patch_size,
        "embed_dim": backbone.embed_dim,
        "parameters": backbone.parameters,
        **_profile(row),
        "records": " ".join(relative_link(path, folder) for path, _ in row.found),
    }


def _ranked_by(mains: Sequence[MetricScore], metric: MetricScore) -> dict[str, Cell]:
    """What the row is ranked by, where the columns' names alone do not say it."""
    if len(mains) == 1 and metric.unit == "%" and metric.higher:
        return {}
    better = "higher" if metric.higher else "lower"
    return {"metric": metric.name, "unit": metric.unit, "better": better}


def _published(main: MetricScore, row: Row) -> str:
    return " ".join(f"{number.value}" for number in row.published if number.metric == main.name)


def _seeds(row: Row) -> dict[str, Cell]:
    """Of the run, of the share of the training images, and of the post-training."""
    names = ("training_seeds", "subset_seeds", "seeds")
    columns = zip(*(seeds(record) for _, record in row.found), strict=True)
    cells = [" ".join(map(str, column)) for column in columns]
    of_row = dict[str, Cell](zip(names, cells, strict=True))
    of_row["training_seeds"] = cells[0] if row.record.backbone.training else None
    of_row["subset_seeds"] = cells[1] if row.record.dataset.subset_seed is not None else None
    return of_row


def _interval(row: Row) -> dict[str, Cell]:
    """Of one run; that of several is a deviation."""
    found, of_run = row.interval, row.record.score.interval
    low, high = (found.low, found.high) if found else (None, None)
    return {
        "low": _value(row.metric, low),
        "high": _value(row.metric, high),
        "interval_over": of_run.over,
        "interval_n": of_run.n,
    }


def _standing(row: Row) -> dict[str, Cell]:
    """How many rows of the table a row is significantly better and worse than."""
    found = row.standing
    return {
        "better_than": len(found.better_than) if found else None,
        "worse_than": len(found.worse_than) if found else None,
    }


def _remarks(row: Row) -> dict[str, Cell]:
    known = [record.contamination for _, record in row.found if record.contamination]
    return {
        "remarks": "; ".join(remark.word for remark in row.remarks),
        "val_images_seen": max((c.seen for c in known), default=None),
    }


def _base(row: Row) -> dict[str, Cell]:
    names = ("base", "against_base", "against_base_low", "against_base_high", "against_base_p")
    values: list[Cell] = [None] * len(names)
    if row.base is not None:
        metric = row.metric
        values[:2] = row.base.label, _value(metric, row.base.difference)
        if (found := row.base.comparison) is not None:
            values[2:] = _value(metric, found.low), _value(metric, found.high), found.p
    return dict(zip(names, values, strict=True))


def _profile(row: Row) -> dict[str, Cell]:
    names = ("images_per_second", "gflops", "profile_device")
    if row.profile is None:
        return dict.fromkeys(names)
    profile = row.profile[1]
    return dict(
        zip(names, (profile.images_per_second, profile.gflops or None, profile.device), strict=True)
    )


def _value(metric: MetricScore, value: float | None) -> float | None:
    """With two decimals more than are printed."""
    return None if value is None else round(metric.scale * value, metric.decimals + 2)
