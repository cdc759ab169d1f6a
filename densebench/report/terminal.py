"""One record as a table on the terminal."""

from rich.table import Table

from densebench.results import RunRecord, Score


def record_table(record: RunRecord) -> Table:
    """Scores at every resolution, with what they stand on, and the IoU of every class."""
    partial = " (partial run)" if record.partial else ""
    title = f"{record.backbone.name} on {record.task}, {record.protocol.variant}{partial}"
    table = Table(title=title, title_justify="left", show_lines=False)
    for column in ("masks", "mIoU %", "95% interval", "absent left out %", "pixel accuracy %"):
        table.add_column(column, justify="left" if column == "masks" else "right")
    for score in record.scores:
        interval = f"{100 * score.interval.low:.2f} to {100 * score.interval.high:.2f}"
        table.add_row(
            str(score.resolution),
            f"{100 * score.miou:.2f}" + _deviation(score),
            interval,
            f"{100 * score.miou_absent_left_out:.2f}",
            f"{100 * score.pixel_accuracy:.2f}",
        )
    present = {name: iou for name, iou in record.score.iou.items() if iou is not None}
    ranked = sorted(present.items(), key=lambda item: -item[1])
    table.caption = "IoU %: " + ", ".join(f"{name} {100 * iou:.1f}" for name, iou in ranked)
    table.caption_justify = "left"
    return table


def _deviation(score: Score) -> str:
    return "" if score.deviation is None else f" ± {100 * score.deviation:.2f}"
