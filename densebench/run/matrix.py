"""Every backbone on every task with every seed, one run after the other, and a table of them.

A run that fails becomes a row that says why, and the rest goes on.
"""

import statistics
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from densebench.host.watcher import Watcher
from densebench.records.remarks import Remark, remarks, with_marks
from densebench.run.apart import Outcome
from densebench.run.jobs import wanted_runs, work
from densebench.run.options import RunOptions


def run_matrix(
    base: RunOptions,
    backbones: Sequence[str],
    tasks: Sequence[str],
    seeds: Sequence[int],
    watcher: Watcher,
    subset_seeds: Sequence[int] | None = None,
) -> list[Outcome]:
    """Every backbone on every task with every seed; what ``base`` says holds for all.

    With ``subset_seeds``, on each of these parts of the training images.
    """
    return list(work(wanted_runs(base, backbones, tasks, seeds, subset_seeds), watcher))


def matrix_table(outcomes: Sequence[Outcome]) -> Table:
    """A row for each backbone and task: mIoU, over seeds its mean and deviation."""
    table = Table(title="runs", title_justify="left")
    for column in ("backbone", "task", "mIoU %", "95% interval or deviation"):
        table.add_column(column, overflow="fold")
    pairs = dict.fromkeys((o.options.backbone, o.options.task) for o in outcomes)
    told: dict[str, None] = {}
    for backbone, task in pairs:
        of_pair = [o for o in outcomes if (o.options.backbone, o.options.task) == (backbone, task)]
        said = [r for o in of_pair for r in _remarks(o)]
        told |= dict.fromkeys(f"{r.mark} {backbone}: {r.sentence}" for r in said)
        cells = with_marks(backbone, dict.fromkeys(said)), task, *_cells(of_pair)
        table.add_row(*map(Text, cells))  # as a string, what stands in brackets would be a style
    if told:
        table.caption = Text("\n".join(told), "table.caption")
    table.caption_justify = "left"
    return table


def _remarks(outcome: Outcome) -> tuple[Remark, ...]:
    if outcome.record is None or outcome.path is None:
        return ()
    return remarks([(outcome.path, outcome.record)])


def _cells(outcomes: Sequence[Outcome]) -> tuple[str, str]:
    failed = [o.reason for o in outcomes if o.record is None]
    if failed:
        return "failed", failed[0]
    scores = [o.record.score for o in outcomes if o.record is not None]
    main, values = scores[0].main, [score.value for score in scores]
    if len(values) > 1:
        parts = {(o.options.subset, o.options.subset_seed) for o in outcomes}
        what = "seeds" if len(parts) == 1 else "subsets" if len(parts) == len(values) else "runs"
        return (
            main.text(statistics.mean(values)),
            f"± {main.text(statistics.stdev(values))} ({len(values)} {what})",
        )
    return main.text(values[0]), main.interval_text
