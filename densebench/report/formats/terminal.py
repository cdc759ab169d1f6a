"""Records and comparisons as tables on the terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.table import Table

from densebench.records.remarks import Remark, remarks, with_marks
from densebench.records.schema import NOT_COUNTED, MetricScore, ProfileRecord, RunRecord, Score
from densebench.report.board.columns import class_title, gain, signed
from densebench.report.board.pairs import ClassDifference, Pair
from densebench.report.board.rows import Row, interval_over
from densebench.report.board.tables import Table as BoardTable
from densebench.report.formats.escapes import literal


def record_table(record: RunRecord) -> Table:
    """Scores at every resolution, with what they stand on, and the value of every class."""
    partial = " (partial run)" if record.partial else ""
    said = remarks([(Path(), record)])
    name = with_marks(record.backbone.name, said)
    title = f"{name} on {record.task}, {record.protocol.variant}{partial}"
    table = Table(title=literal(title, "table.title"), title_justify="left", show_lines=False)
    first, others = record.score.main, _others(record.score)
    table.add_column("masks")
    over = f"95% interval over {interval_over(record)}"
    for column in (_head(first), over, *map(_head, others)):
        table.add_column(literal(column), justify="right")
    for score in record.scores:
        found = (score.of(metric.name) for metric in others)
        values = ("" if metric is None else metric.text(metric.value) for metric in found)
        main = score.main.text(score.value) + _deviation(score)
        table.add_row(str(score.resolution), main, literal(score.main.interval_text), *values)
    table.caption = literal(
        "\n".join([*_sentences(said), *_of_classes(record.score)]), "table.caption"
    )
    table.caption_justify = "left"
    return table


def _head(metric: MetricScore) -> str:
    """A title with its unit, as a column of a terminal has it: ``mIoU %``."""
    return f"{metric.title} {metric.unit}".strip()


def _others(score: Score) -> list[MetricScore]:
    """All but the ranked metric, and but what is the same number under the same rule."""
    same = f"{score.main.name}_"
    return [
        metric
        for metric in score.metrics[1:]
        if not (metric.name.startswith(same) and metric.parameters == score.main.parameters)
    ]


def _of_classes(score: Score) -> list[str]:
    """The classes that are there, the best first; nothing where a score has none."""
    there = {name: value for name, value in score.classes.items() if value is not None}
    ranked = sorted(there.items(), key=lambda item: -gain(score.main, item[1]))
    told = ", ".join(f"{name} {score.main.scale * value:.1f}" for name, value in ranked)
    return [f"{class_title(score.main)} {score.main.unit}: {told}"] if score.classes else []


def profile_table(profile: ProfileRecord) -> Table:
    """What was measured of a backbone."""
    title = literal(f"{profile.backbone} at {profile.size}x{profile.size}", "table.title")
    table = Table(title=title, show_header=False)
    table.title_justify = "left"
    table.add_column()
    table.add_column(justify="right", overflow="fold")
    peak = profile.peak_cuda_bytes or profile.peak_rss_bytes
    kind = "of the GPU" if profile.peak_cuda_bytes else "above the loaded backbone"
    for name, value in (
        ("device", f"{profile.device}, {profile.precision}"),
        (f"images/s in batches of {profile.batch_size}", f"{profile.images_per_second:.1f}"),
        ("latency of one image, median", f"{1000 * profile.latency_median:.1f} ms"),
        ("latency of one image, 95th percentile", f"{1000 * profile.latency_p95:.1f} ms"),
        (f"peak memory of a batch, {kind}", f"{peak / 1e6:.0f} MB" if peak else NOT_COUNTED),
        ("operations of one image", profile.operations + " GFLOPs" * bool(profile.gflops)),
        ("parameters", f"{profile.parameters / 1e6:.2f} M"),
    ):
        table.add_row(name, literal(value))
    return table


def board_table(table: BoardTable) -> Table:
    """The rows of a leaderboard's table, the best first, and what each gained over its base."""
    told = Table(title=literal(table.title, "table.title"), title_justify="left")
    told.add_column("backbone", overflow="fold")
    for column in (_head(table.metric), "95% interval", "against its base"):
        told.add_column(literal(column), justify="right", overflow="fold")
    for row in table.rows:
        bounds = row.spread if row.interval is None else row.metric.interval_text
        base = row.base
        gained = "" if base is None else f"{signed(row.metric, base.difference)} {base.label}"
        told.add_row(*map(literal, (row.label, row.metric.text(row.value), bounds, gained)))
    return told


def pair_tables(pair: Pair) -> list[Table]:
    """The difference of two backbones with its interval, then every class, gains first."""
    return [_summary(pair), *([_classes(pair)] if pair.classes else [])]


def _summary(pair: Pair) -> Table:
    record, found, metric = pair.first.record, pair.comparison, pair.metric
    partial = " (partial runs)" if record.partial else ""
    title = literal(f"{record.task}, {record.protocol.variant}{partial}", "table.title")
    table = Table(title=title, title_justify="left")
    for column in ("", _head(metric), f"{100 * found.level:.0f}% interval", "p"):
        justify: Literal["left", "right"] = "right" if column else "left"
        table.add_column(literal(column), justify=justify, overflow="fold")
    for side in (pair.first, pair.second):
        name = literal(with_marks(side.label, side.remarks))
        table.add_row(name, metric.text(side.value), _seeds(side), "")
    table.add_section()
    significant = found.p < 1 - found.level
    table.add_row(
        "difference",
        signed(metric, found.difference),
        f"{signed(metric, found.low)} to {signed(metric, found.high)}",
        f"{found.p:.3f}" if found.p >= 0.001 else "< 0.001",
        style=_colour(metric, found.difference if significant else 0),
    )
    said = dict.fromkeys((*pair.first.remarks, *pair.second.remarks))
    about = (
        f"each of {found.n:,} {found.over} left out in turn, the same for both; about other "
        f"{found.over}, not other seeds"
    )
    better = [] if metric.higher else [f"{metric.title}: lower is better"]
    table.caption = literal("\n".join([*_sentences(list(said)), *better, about]), "table.caption")
    table.caption_justify = "left"
    return table


def _classes(pair: Pair) -> Table:
    metric = pair.metric
    of = f"{class_title(metric)} {metric.unit}".strip()
    table = Table(
        title=literal(f"{of} of the classes, gains first", "table.title"), title_justify="left"
    )
    table.add_column("class", overflow="fold")
    for column in (pair.first.label, pair.second.label, "difference"):
        table.add_column(literal(column), justify="right", overflow="fold")
    for row in pair.classes:
        cells = _class_cells(metric, row)
        table.add_row(literal(row.name), *cells, style=_colour(metric, row.difference or 0))
    return table


def _class_cells(metric: MetricScore, row: ClassDifference) -> list[str]:
    sides = ["absent" if value is None else metric.text(value) for value in (row.first, row.second)]
    return [*sides, "" if row.difference is None else signed(metric, row.difference)]


def _seeds(side: Row) -> str:
    return f"mean of {side.spread}" if side.spread else ""


def _sentences(said: Sequence[Remark]) -> list[str]:
    return [f"{remark.mark} {remark.sentence}" for remark in said]


def _colour(metric: MetricScore, difference: float) -> str:
    better = gain(metric, difference)
    return "green" if better > 0 else "red" if better < 0 else ""


def _deviation(score: Score) -> str:
    return "" if score.deviation is None else f" ± {score.main.text(score.deviation)}"
