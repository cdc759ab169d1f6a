"""The leaderboard as comma-separated values: a line for each backbone of each table."""

import csv
import io
from pathlib import Path

from densebench.report.tables import Board, Row, Table, relative_link

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
        "rank": row.rank,
        "backbone": backbone.name,
        "weights": backbone.fingerprint,
        "precision": record.precision,
        "seeds": " ".join(str(r.seed) for _, r in row.found),
        "miou": _percent(row.miou),
        "seed_deviation": _percent(row.deviation),
        **_interval(row),
        "pixel_accuracy": _percent(row.pixel_accuracy),
        **_base(row),
        "published_miou": " ".join(f"{number.miou}" for number in row.published),
        "published_source": "; ".join(number.source for number in row.published),
        "patch_size": backbone.patch_size,
        "embed_dim": backbone.embed_dim,
        "parameters": backbone.parameters,
        **_profile(row),
        "records": " ".join(relative_link(path, folder) for path, _ in row.found),
    }


def _interval(row: Row) -> dict[str, Cell]:
    """Of one seed; that of several is a deviation."""
    interval = row.record.score.interval
    low, high = (interval.low, interval.high) if len(row.found) == 1 else (None, None)
    return {"low": _percent(low), "high": _percent(high)}


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
