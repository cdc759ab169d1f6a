"""Base and post-trained backbone on the same tasks."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from densebench.errors import DensebenchError
from densebench.evaluate import RunOptions, Watcher
from densebench.matrix import matrix_table, run_matrix
from densebench.posttrain.session import PosttrainOptions
from densebench.results import DEFAULT_RESULTS


def compared(
    options: PosttrainOptions,
    tasks: Sequence[str],
    results: Path | None,
    data_root: Path | None,
    limit: int | None,
    watcher: Watcher,
) -> Table:
    """Run both on every task, and set them side by side; runs that exist are read.

    Raises:
        DensebenchError: a run failed; the others are recorded.
    """
    base = RunOptions(
        options.backbone,
        tasks[0],
        weights=options.weights,
        data_root=data_root,
        limit=limit,
        device=options.device,
        offline=options.offline,
        results=results or DEFAULT_RESULTS,
    )
    outcomes = run_matrix(base, [options.backbone], tasks, [base.seed], watcher)
    new = replace(base, backbone=options.name, weights=None)
    outcomes += run_matrix(new, [options.name], tasks, [base.seed], watcher)
    failed = [f"{outcome.run}: {outcome.reason}" for outcome in outcomes if outcome.record is None]
    if failed:
        raise DensebenchError("; ".join(failed))
    return matrix_table(outcomes)
