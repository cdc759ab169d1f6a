"""The leaderboard as comma-separated values: a line for each backbone of each table."""

import csv
import io
from pathlib import Path

from densebench.records.identity import seeds
from densebench.report.board.board import Board, Table, relative_link
from densebench.report.board.rows import Row

Cell = str | int | float | None


def csv_lines(board: Board, folder: Path) -> str:
    """All tables of a board; the records' paths start from ``folder``. Scores are in per cent."""
    lines = [_line(table, row, folder) for table in board.tables for row in table.rows]
    if not lines:
        return ""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()


def _line(table: Table, row: Row, folder: Path) -> dict[str, Cell]:
    record = row.record
    data, protocol, backbone = record.dataset, record.protocol, record.backbone
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
        "miou": _percent(row.miou),
        "deviation": _percent(row.deviation),
        "deviation_over": row.spread,
        **_interval(row),
        **_standing(row),
        **_remarks(row),
        "pixel_accuracy": _percent(row.pixel_accuracy),
        **_base(row),
        "published_miou": " ".join(f"{number.miou}" for number in row.published),
        "published_source": "; ".join(number.told for number in row.published),
        "patch_size": backbone.patch_size,
        "embed_dim": backbone.embed_dim,
        "parameters": backbone.parameters,
        **_profile(row),
        "records": " ".join(relative_link(path, folder) for path, _ in row.found),
    }


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
        "low": _percent(low),
        "high": _percent(high),
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
        values[:2] = row.base.label, _percent(row.base.difference)
        if (found := row.base.comparison) is not None:
            values[2:] = _percent(found.low), _percent(found.high), found.p
    return dict(zip(names, values, strict=True))


def _profile(row: Row) -> dict[str, Cell]:
    names = ("images_per_second", "gflops", "profile_device")
    if row.profile is None:
        return dict.fromkeys(names)
    profile = row.profile[1]
    return dict(
        zip(names, (profile.images_per_second, profile.gflops, profile.device), strict=True)
    )


def _percent(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 4)
