"""Records and comparisons as tables on the terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from densebench.records.remarks import Remark, remarks, with_marks
from densebench.records.schema import ProfileRecord, RunRecord, Score
from densebench.report.board.pairs import ClassDifference, Pair
from densebench.report.board.rows import Row, interval_over


def record_table(record: RunRecord) -> Table:
    """Scores at every resolution, with what they stand on, and the IoU of every class."""
    partial = " (partial run)" if record.partial else ""
    said = remarks([(Path(), record)])
    name = with_marks(record.backbone.name, said)
    title = f"{name} on {record.task}, {record.protocol.variant}{partial}"
    table = Table(title=title, title_justify="left", show_lines=False)
    over = interval_over(record)
    for column in (
        "masks",
        "mIoU %",
        f"95% interval over {over}",
        "absent left out %",
        "pixel accuracy %",
    ):
        table.add_column(column, justify="left" if column == "masks" else "right")
    for score in record.scores:
        table.add_row(
            str(score.resolution),
            f"{100 * score.value:.2f}" + _deviation(score),
            score.main.interval_text,
            _of(score, "miou_absent_left_out"),
            _of(score, "pixel_accuracy"),
        )
    present = {name: iou for name, iou in record.score.classes.items() if iou is not None}
    ranked = sorted(present.items(), key=lambda item: -item[1])
    told = "IoU %: " + ", ".join(f"{name} {100 * iou:.1f}" for name, iou in ranked)
    table.caption = "\n".join([*_sentences(said), told])
    table.caption_justify = "left"
    return table


def profile_table(profile: ProfileRecord) -> Table:
    """What was measured of a backbone."""
    table = Table(title=f"{profile.backbone} at {profile.size}x{profile.size}", show_header=False)
    table.title_justify = "left"
    table.add_column()
    table.add_column(justify="right", overflow="fold")
    peak = profile.peak_cuda_bytes or profile.peak_rss_bytes or 0
    kind = "of the GPU" if profile.peak_cuda_bytes else "above the loaded backbone"
    for name, value in (
        ("device", f"{profile.device}, {profile.precision}"),
        (f"images/s in batches of {profile.batch_size}", f"{profile.images_per_second:.1f}"),
        ("latency of one image, median", f"{1000 * profile.latency_median:.1f} ms"),
        ("latency of one image, 95th percentile", f"{1000 * profile.latency_p95:.1f} ms"),
        (f"peak memory of a batch, {kind}", f"{peak / 1e6:.0f} MB"),
        ("operations of one image", f"{profile.gflops:.2f} GFLOPs"),
        ("parameters", f"{profile.parameters / 1e6:.2f} M"),
    ):
        table.add_row(name, value)
    return table


def pair_tables(pair: Pair) -> list[Table]:
    """The difference of two backbones with its interval, then every class, gains first."""
    return [_summary(pair), _classes(pair)]


def _summary(pair: Pair) -> Table:
    record, found = pair.first.record, pair.comparison
    partial = " (partial runs)" if record.partial else ""
    table = Table(title=f"{record.task}, {record.protocol.variant}{partial}", title_justify="left")
    for column in ("", "mIoU %", f"{100 * found.level:.0f}% interval", "p"):
        table.add_column(column, justify="left" if not column else "right", overflow="fold")
    for side in (pair.first, pair.second):
        name = with_marks(side.label, side.remarks)
        table.add_row(name, f"{100 * side.miou:.2f}", _seeds(side), "")
    table.add_section()
    table.add_row(
        "difference",
        f"{100 * found.difference:+.2f}",
        f"{100 * found.low:+.2f} to {100 * found.high:+.2f}",
        f"{found.p:.3f}" if found.p >= 0.001 else "< 0.001",
        style=_colour(found.difference if found.p < 1 - found.level else 0),
    )
    said = dict.fromkeys((*pair.first.remarks, *pair.second.remarks))
    about = (
        f"each of {found.n:,} {found.over} left out in turn, the same for both; about other "
        f"{found.over}, not other seeds"
    )
    table.caption = "\n".join([*_sentences(list(said)), about])
    table.caption_justify = "left"
    return table


def _classes(pair: Pair) -> Table:
    table = Table(title="IoU % of the classes, gains first", title_justify="left")
    table.add_column("class", overflow="fold")
    for column in (pair.first.label, pair.second.label, "difference"):
        table.add_column(column, justify="right", overflow="fold")
    for row in pair.classes:
        table.add_row(row.name, *_class_cells(row), style=_colour(row.difference or 0))
    return table


def _class_cells(row: ClassDifference) -> list[str]:
    sides = ["absent" if iou is None else f"{100 * iou:.2f}" for iou in (row.first, row.second)]
    return [*sides, "" if row.difference is None else f"{100 * row.difference:+.2f}"]


def _seeds(side: Row) -> str:
    return f"mean of {side.spread}" if side.spread else ""


def _sentences(said: Sequence[Remark]) -> list[str]:
    return [f"{remark.mark} {remark.sentence}" for remark in said]


def _colour(difference: float) -> str:
    return "green" if difference > 0 else "red" if difference < 0 else ""


def _deviation(score: Score) -> str:
    return "" if score.deviation is None else f" ± {100 * score.deviation:.2f}"


def _of(score: Score, name: str) -> str:
    found = score.of(name)
    return "" if found is None else found.text(found.value)
